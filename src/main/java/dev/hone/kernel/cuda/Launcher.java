package dev.hone.kernel.cuda;

import dev.hone.kernel.cuda.Program.Kernel;
import dev.hone.kernel.cuda.Program.Op;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Objects;

/**
 * Launches kernels: {@code begin(op)}, the op's arguments in order, then the grid. Each argument is checked against the
 * manifest's type as it is given, and their number before the launch. Everything lies in one parameter block that the
 * driver reads during the launch, so a launch allocates nothing.
 */
final class Launcher {
  private static final int MOST = 40;
  /** Work of a tile's edges beside its area: what loading BM + BN rows costs, in multiply-adds of one element pair. */
  private static final long EDGE = 32;
  /** Cost of a tile that is read element by element, in tiles read 16 bytes at a time. */
  private static final long ELEMENTWISE = 3;
  /** Masks at the edges cost one part in so many. */
  private static final long MASKED = 8;

  /** Elements up to which a warp makes a row. */
  private static final long SHORT_ROW = 1024;

  /** HONE_CUDA_WAIT=1 waits for each kernel, so that a fault names the kernel that made it and not a later one. */
  static final boolean WAIT = "1".equals(System.getenv("HONE_CUDA_WAIT"));

  private static final String WAIT_HINT = "HONE_CUDA_WAIT=1 tells whether it was this one";

  private final CudaDevice device;
  private final MemorySegment values;
  private final MemorySegment pointers;
  private final Tensor[] tensors = new Tensor[MOST];
  private Op op;
  private Kernel kernel;
  private int given;

  Launcher(CudaDevice device) {
    this.device = device;
    Arena arena = Arena.global();
    values = arena.allocate(ValueLayout.JAVA_LONG, MOST);
    pointers = arena.allocate(ValueLayout.ADDRESS, MOST);
    for (int i = 0; i < MOST; i++) {
      pointers.setAtIndex(ValueLayout.ADDRESS, i, values.asSlice(8L * i, 8));
    }
  }

  Launcher begin(Op next) {
    op = next;
    kernel = null;
    given = 0;
    return this;
  }

  /** A tensor's address; null becomes 0. */
  Launcher tensor(Tensor tensor) {
    return tensor(tensor, 0);
  }

  /** A tensor's address and {@code bytes} more; null becomes 0. */
  Launcher tensor(Tensor tensor, long bytes) {
    if (tensor != null && tensor.memory() != device.memory()) {
      throw new IllegalArgumentException(op.name() + ": " + tensor + " lies in " + tensor.memory());
    }
    tensors[given] = tensor;
    return put("u64", tensor == null ? 0 : tensor.data().address() + bytes);
  }

  /** An address on the card. */
  Launcher address(long address) {
    tensors[given] = null;
    return put("u64", address);
  }

  /** A number that is 64 bits wide without a sign, such as a seed. */
  Launcher bits(long value) {
    tensors[given] = null;
    return put("u64", value);
  }

  Launcher count(long value) {
    tensors[given] = null;
    return put("s64", value);
  }

  /**
   * A dimension.
   *
   * @throws IllegalArgumentException when it has more than 31 bits
   */
  Launcher dim(long value) {
    if (value != (int) value) {
      throw new IllegalArgumentException(op.name() + ": " + op.parameters().get(given).name() + " = " + value);
    }
    tensors[given] = null;
    return put("s32", value);
  }

  Launcher flag(boolean value) {
    return dim(value ? 1 : 0);
  }

  Launcher real(float value) {
    tensors[given] = null;
    return put("f32", Float.floatToRawIntBits(value) & 0xffffffffL);
  }

  private Launcher put(String type, long bits) {
    if (given >= op.parameters().size() || !op.parameters().get(given).type().equals(type)) {
      throw new IllegalStateException(
          op.name() + ": argument " + (given + 1) + " is " + type + ", the manifest has " + op.parameters());
    }
    values.setAtIndex(ValueLayout.JAVA_LONG, given++, bits);
    return this;
  }

  /** One block for each ROWS rows; where kernels differ in ROWS, many for short rows, whose work fills no block. */
  void rows(long rows, long columns) {
    Kernel chosen = op.kernels().getFirst();
    for (int i = 1; i < op.kernels().size(); i++) {
      Kernel other = op.kernels().get(i);
      boolean more = other.entry().constant("ROWS") > chosen.entry().constant("ROWS");
      if (more == columns <= SHORT_ROW) {
        chosen = other;
      }
    }
    launch(chosen, Math.ceilDiv(rows, (long) chosen.entry().constant("ROWS")), 1);
  }

  /** One block for each PER_BLOCK elements. */
  void flat(long elements) {
    Kernel chosen = op.only();
    launch(chosen, Math.ceilDiv(elements, (long) chosen.entry().constant("PER_BLOCK")), 1);
  }

  /** The op's only kernel over the given blocks. */
  void blocks(long x, long y) {
    launch(op.only(), x, y);
  }

  /** Tiles over a result of rows x columns, by the kernel that suits the arguments and wastes least. */
  void tiles(long rows, long columns) {
    Kernel chosen = choose(rows, columns, 1, "", 0, -1);
    launch(chosen, tilesOf(chosen, rows, columns), 1);
  }

  /**
   * The kernel whose divisibility the arguments meet and whose constant {@code least} is at least {@code wanted}, with
   * the least work: the waves of blocks over the multiprocessors times what a tile of BM x BN costs, padding included.
   *
   * @param columns 1: tiles run along the rows alone
   * @param batches how often the tiles are repeated along another axis of the grid
   * @param least name of a constant, empty none; a smaller one wins before anything else
   * @param cap value of the constant CAP; -1 any
   */
  Kernel choose(long rows, long columns, long batches, String least, int wanted, int cap) {
    Kernel best = null;
    long bestWork = Long.MAX_VALUE;
    for (int i = 0; i < op.kernels().size(); i++) {
      Kernel candidate = op.kernels().get(i);
      Manifest.Entry entry = candidate.entry();
      int size = least.isEmpty() ? 0 : entry.constant(least, Integer.MAX_VALUE);
      if (size < wanted || cap >= 0 && entry.constant("CAP", cap) != cap || !fits(candidate)) {
        continue;
      }
      long work = work(candidate, rows, columns, batches) + ((long) Math.min(size, 1 << 12) << 44);
      if (work < bestWork) {
        best = candidate;
        bestWork = work;
      }
    }
    if (best == null) {
      throw new IllegalStateException(
          op.name() + ": no kernel for " + arguments() + (least.isEmpty() ? "" : " with " + least + " >= " + wanted));
    }
    return best;
  }

  private long work(Kernel candidate, long rows, long columns, long batches) {
    Manifest.Entry entry = candidate.entry();
    long down = entry.constant("BM", 1);
    long across = entry.constant("BN", 1);
    long tiles = batches * Math.ceilDiv(rows, down) * Math.ceilDiv(columns, across);
    long tile = down * across + EDGE * (down + across);
    if (op.isElementwise(candidate)) {
      tile *= ELEMENTWISE;
    } else if (entry.constant("EXACT", 1) == 0) {
      tile += tile / MASKED;
    }
    return Math.ceilDiv(tiles, (long) device.card().multiprocessors()) * tile;
  }

  private boolean fits(Kernel candidate) {
    for (int i = 0; i < given; i++) {
      long divisor = candidate.divisor(i);
      if (divisor > 1 && values.getAtIndex(ValueLayout.JAVA_LONG, i) % divisor != 0) {
        return false;
      }
    }
    return true;
  }

  /** Tiles of a kernel over a result of rows x columns. */
  static long tilesOf(Kernel kernel, long rows, long columns) {
    return Math.ceilDiv(rows, (long) kernel.entry().constant("BM"))
        * Math.ceilDiv(columns, (long) kernel.entry().constant("BN"));
  }

  /** Begins the kernel; a grid without blocks does nothing. */
  void launch(Kernel chosen, long gridX, long gridY) {
    kernel = Objects.requireNonNull(chosen);
    if (given != op.parameters().size() || !fits(chosen)) {
      throw new IllegalStateException(
          op.name() + ": " + arguments() + " for " + chosen.entry().entry() + " " + op.parameters());
    }
    if (gridX == 0 || gridY == 0) {
      return;
    }
    if (gridX != (int) gridX || gridY > 65535) {
      throw new IllegalArgumentException(op.name() + ": a grid of " + gridX + " x " + gridY + " blocks");
    }
    Rivals rivals = device.rivals();
    if (rivals == null || !rivals.launch(this, chosen, (int) gridX, (int) gridY)) {
      run(device.program().function(chosen), chosen, (int) gridX, (int) gridY);
    }
  }

  /** Begins a function that takes the arguments of a kernel in that kernel's blocks. */
  void run(MemorySegment function, Kernel like, int gridX, int gridY) {
    for (int i = 0; i < like.entry().hidden(); i++) {
      values.setAtIndex(ValueLayout.JAVA_LONG, given + i, 0);
    }
    int block = like.entry().block();
    int shared = like.entry().shared();
    Tape tape = device.tape();
    if (tape != null && !tape.kernel(function, gridX, gridY, block, shared, values, given, pointers)) {
      return;
    }
    int code = device.use().launch(function, gridX, gridY, 1, block, shared, device.stream(), pointers);
    if (code != 0) {
      throw tape == null ? device.fault("cuLaunchKernel", code)
          : device.driver().failed("cuLaunchKernel", code, lastLaunch());
    }
    if (tape != null) {
      tape.launched();
    } else if (WAIT) {
      device.synchronize();
    }
  }

  /** An argument's bits. */
  long value(int parameter) {
    return values.getAtIndex(ValueLayout.JAVA_LONG, parameter);
  }

  /** An argument's bits by its parameter's name, which the op has. */
  long value(String parameter) {
    for (int i = 0; i < given; i++) {
      if (op.parameters().get(i).name().equals(parameter)) {
        return value(i);
      }
    }
    throw new IllegalStateException(op.name() + " has no parameter " + parameter + ": " + op.parameters());
  }

  /** Bytes that lie from an address argument to its tensor's end. */
  long bytesBehind(int parameter) {
    Tensor tensor = Objects.requireNonNull(tensors[parameter], () -> op.name() + ": argument " + parameter
        + " is no tensor");
    return tensor.data().address() + tensor.bytes() - value(parameter);
  }

  /** Sends the next launches' accesses by this argument elsewhere. */
  void redirect(int parameter, long address) {
    values.setAtIndex(ValueLayout.JAVA_LONG, parameter, address);
  }

  /** The kernel that was launched last and its arguments, for messages. */
  String lastLaunch() {
    return kernel == null
        ? "no kernel yet"
        : "last kernel " + kernel.entry().entry() + " with " + arguments() + (WAIT ? "" : "; " + WAIT_HINT);
  }

  private String arguments() {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < given; i++) {
      Manifest.Parameter parameter = op.parameters().get(i);
      long bits = values.getAtIndex(ValueLayout.JAVA_LONG, i);
      text.append(i == 0 ? "" : ", ").append(parameter.name()).append(" = ");
      switch (parameter.type()) {
        case "u64" -> text.append(tensors[i] == null ? Long.toHexString(bits) : tensors[i].toString());
        case "f32" -> text.append(Float.intBitsToFloat((int) bits));
        default -> text.append(bits);
      }
    }
    return text.toString();
  }
}
