package dev.hone.kernel.cuda;

import dev.hone.config.Rivalry.Use;
import dev.hone.config.UserError;
import dev.hone.kernel.NativeException;
import dev.hone.tensor.DType;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * An opened card: its primary context, one stream on which kernels and copies follow each other, its memory and the PTX
 * loaded on it. Any thread may use it, one at a time.
 */
final class CudaDevice implements AutoCloseable {
  /** The CUDA version whose driver takes the PTX that Hone ships: 7.8, of CUDA 11.8. */
  private static final int LEAST_DRIVER = 11080;

  private final Driver driver;
  private final Card card;
  private final Card.Tier tier;
  private final MemorySegment context;
  private final MemorySegment stream;
  private final CudaMemory memory;
  private final Program program;
  private final List<String> remarks = new ArrayList<>();
  private Rivals rivals;
  private final GraphMemory graphMemory = new GraphMemory(this);
  private Use graphs = Use.NEVER;
  private Tape tape;
  private Thread user;
  /** Whether the context is gone, or spoilt by a fault: then its memory is too. */
  private boolean lost;

  /** The name by which the system finds the driver, when no other is named. */
  static String defaultLibrary() {
    String system = System.getProperty("os.name").toLowerCase(Locale.ROOT);
    return system.startsWith("windows") ? "nvcuda.dll" : "libcuda.so.1";
  }

  /** The cards of a driver. */
  static List<Card> cards(Driver driver) {
    List<Card> cards = new ArrayList<>();
    int count = driver.deviceCount();
    for (int i = 0; i < count; i++) {
      cards.add(Card.of(driver, i));
    }
    return cards;
  }

  /**
   * Opens a card.
   *
   * @param wanted dtype of activations, see {@link Card#tier}
   * @param manifest the kernels that may run on it
   * @throws UserError when card or driver is too old
   */
  CudaDevice(Driver driver, Card card, DType wanted, Manifest manifest) {
    this.driver = driver;
    this.card = card;
    tier = card.tier(wanted);
    requireRecentDriver(card);
    context = driver.retainPrimaryContext(card.device());
    use();
    stream = driver.createStream();
    memory = new CudaMemory(this);
    program = new Program(this, manifest);
  }

  private static void requireRecentDriver(Card card) {
    if (card.driverVersion() < LEAST_DRIVER) {
      throw UserError.of(
          "the NVIDIA driver serves CUDA %s; Hone wants %s or newer (driver 520): update the driver, or use"
              + " --device cpu",
          card.cudaVersion(), Card.version(LEAST_DRIVER));
    }
  }

  Card card() {
    return card;
  }

  /** The kernels that run on it. */
  Card.Tier tier() {
    return tier;
  }

  /** The driver, with this card's context current on the calling thread. */
  Driver use() {
    Thread caller = Thread.currentThread();
    if (user != caller) {
      driver.setCurrent(context);
      user = caller;
    }
    return driver;
  }

  Driver driver() {
    return driver;
  }

  MemorySegment stream() {
    return stream;
  }

  CudaMemory memory() {
    return memory;
  }

  Program program() {
    return program;
  }

  /** Who may do the kernels' work; null: nobody else. */
  Rivals rivals() {
    return rivals;
  }

  void rivals(Rivals found) {
    rivals = found;
  }

  /** When steps are replayed as graphs. */
  Use graphs() {
    return graphs;
  }

  void graphs(Use when) {
    graphs = when;
  }

  GraphMemory graphMemory() {
    return graphMemory;
  }

  /** What was decided about graphs, a line each. */
  List<String> remarks() {
    return remarks;
  }

  /** What records launches, or compares them; null: they are launched. */
  Tape tape() {
    return tape;
  }

  void tape(Tape recording) {
    tape = recording;
  }

  /** Before what a recording cannot hold. */
  void requireNoTape(String what) {
    if (tape != null) {
      throw new Tape.Changed(what + " cannot be recorded");
    }
  }

  /**
   * Waits for all work begun so far.
   *
   * @throws NativeException when a kernel failed
   */
  void synchronize() {
    requireNoTape("waiting");
    int code = use().synchronize(stream);
    if (code != 0) {
      throw fault("cuStreamSynchronize", code);
    }
  }

  /**
   * Microseconds on the card from the beginning of the first kernel to the end of the last that {@code work} launches.
   */
  double microseconds(Runnable work) {
    use();
    MemorySegment from = driver.createEvent();
    MemorySegment to = driver.createEvent();
    try {
      driver.record(from, stream);
      work.run();
      use().record(to, stream);
      synchronize();
      return driver.elapsed(from, to) * 1e3;
    } finally {
      driver.destroyEvent(from);
      driver.destroyEvent(to);
    }
  }

  /** The failure of a call that begins or awaits kernels, with the last one's name and arguments. */
  NativeException fault(String call, int code) {
    lost = true;
    return driver.failed(call, code, program.launcher().lastLaunch());
  }

  /** Whether the context is gone or spoilt, with all that was in it. */
  boolean isLost() {
    return lost;
  }

  /** Gives memory back. */
  void free(long address) {
    if (!lost) {
      use().free(address);
    }
  }

  @Override
  public void close() {
    try {
      if (!lost) {
        use();
        if (rivals != null) {
          rivals.close();
        }
        program.close();
        memory.close();
        driver.destroyStream(stream);
        lost = true;
      }
    } finally {
      driver.releasePrimaryContext(card.device());
    }
  }
}
