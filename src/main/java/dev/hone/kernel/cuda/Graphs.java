package dev.hone.kernel.cuda;

import dev.hone.config.Rivalry.Use;
import dev.hone.config.Sizes;
import dev.hone.kernel.NativeException;
import dev.hone.kernel.Replays;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * Replays by CUDA graphs. The first run of a shape launches kernel by kernel: PTX is loaded and rivals are chosen then,
 * which a recording forbids. With {@link Use#AUTO} the next {@value #TIMED} runs are timed, then as many of the graph,
 * and the faster way stays; with {@link Use#ALWAYS} the second run records.
 *
 * <p>A replay runs the work against the {@link Tape}, which launches nothing but tells the graph's nodes what changed,
 * and begins the graph: one call for the driver instead of one for each kernel. Kernels, order and arguments are the
 * same, and so are the numbers.
 *
 * <p>A graph takes memory on the card that no plan knows, some hundred bytes a kernel; at most {@value #MOST_GRAPHS}
 * are kept, of the shapes used last, and none that takes what the plan needs ({@link GraphMemory}).
 */
final class Graphs implements Replays {
  private static final int TIMED = 3;
  private static final int MOST_GRAPHS = 8;
  private static final int MOST_SHAPES = 64;
  /** Shapes whose choice is told of. */
  private static final int MOST_REMARKS = 6;
  /** What a graph must win by: more than two equal ways differ by. */
  private static final double MARGIN = 0.98;

  private final CudaDevice device;
  private final GraphDriver driver;
  private final GraphMemory memory;
  private final String what;
  private final Use use;
  private final List<String> remarks;
  private final List<Shape> shapes = new ArrayList<>();
  private final MemorySegment from;
  private final MemorySegment to;
  private Shape timed;
  private boolean given;
  private long clock;
  private int told;

  /** A shape's way: counts its runs until it is decided. */
  private static final class Shape {
    private final int tokens;
    private final int documents;
    private int runs;
    private long used;
    private double launched = Double.MAX_VALUE;
    private double replayed = Double.MAX_VALUE;
    private boolean eager;
    private Tape tape;
    private MemorySegment graph;
    private MemorySegment executable;
    private long bytes;

    Shape(int tokens, int documents) {
      this.tokens = tokens;
      this.documents = documents;
    }

    @Override
    public String toString() {
      return tokens + (tokens == 1 ? " token" : " tokens") + (documents > 1 ? " in " + documents + " documents" : "");
    }
  }

  /** @param remarks where choices are told */
  Graphs(CudaDevice device, Use use, String what, List<String> remarks) {
    this.device = device;
    this.use = use;
    this.what = what;
    this.remarks = remarks;
    driver = device.use().graphs();
    memory = device.graphMemory();
    from = device.driver().createEvent();
    to = device.driver().createEvent();
  }

  @Override
  public void run(int tokens, int documents, Runnable work) {
    if (given) {
      work.run();
      return;
    }
    collect();
    Shape shape = shape(tokens, documents);
    shape.used = ++clock;
    int run = shape.runs++;
    int recording = use == Use.ALWAYS ? 1 : 1 + TIMED;
    if (shape.eager || run < recording) {
      boolean measured = use == Use.AUTO && !shape.eager && run > 0;
      begin(measured);
      work.run();
      end(shape, measured);
    } else if (shape.executable == null) {
      record(shape, work);
    } else {
      boolean measured = use == Use.AUTO && run <= recording + TIMED;
      begin(measured);
      replay(shape, work);
      end(shape, measured);
    }
  }

  private void begin(boolean measured) {
    if (measured) {
      device.use().record(from, device.stream());
    }
  }

  private void end(Shape shape, boolean measured) {
    if (measured) {
      device.use().record(to, device.stream());
      timed = shape;
    }
  }

  /** The time between the two events of the run before: its kernels, and what they waited for the host. */
  private void collect() {
    if (timed == null) {
      return;
    }
    Shape shape = timed;
    timed = null;
    device.use().synchronizeEvent(to);
    double milliseconds = device.driver().elapsed(from, to);
    if (shape.executable == null) {
      shape.launched = Math.min(shape.launched, milliseconds);
      return;
    }
    shape.replayed = Math.min(shape.replayed, milliseconds);
    if (shape.runs == 2 + 2 * TIMED) {
      boolean wins = shape.replayed < MARGIN * shape.launched;
      tell(shape, wins
          ? String.format(
              Locale.ROOT, "%s, %.2f ms instead of %.2f (cuda_graphs: off turns it off)", graph(shape), shape.replayed,
              shape.launched)
          : String.format(
              Locale.ROOT, "kernels one by one, %.2f ms instead of %.2f (cuda_graphs: on forces it)", shape.launched,
              shape.replayed));
      if (!wins) {
        shape.eager = true;
        drop(shape);
      }
    }
  }

  /** A shape's choice, instead of what was told of it before. */
  private void tell(Shape shape, String remark) {
    String about = what + ", " + shape + ": ";
    remarks.removeIf(line -> line.startsWith(about));
    if (told++ < MOST_REMARKS) {
      remarks.add(about + remark);
    }
  }

  private Shape shape(int tokens, int documents) {
    Shape oldest = null;
    for (int i = 0; i < shapes.size(); i++) {
      Shape shape = shapes.get(i);
      if (shape.tokens == tokens && shape.documents == documents) {
        return shape;
      }
      oldest = oldest == null || shape.used < oldest.used ? shape : oldest;
    }
    if (shapes.size() == MOST_SHAPES) {
      drop(oldest);
      shapes.remove(oldest);
    }
    Shape shape = new Shape(tokens, documents);
    shapes.add(shape);
    return shape;
  }

  /** Records the work and begins what was recorded; where that fails, the work is done as ever. */
  private void record(Shape shape, Runnable work) {
    makeRoom();
    Tape tape = new Tape(driver, device.stream());
    try {
      shape.graph = capture(tape, work);
      memory.look();
      shape.executable = driver.instantiate(shape.graph);
      shape.bytes = memory.take();
    } catch (Tape.Changed | NativeException e) {
      drop(shape);
      remarks.add(what + ": kernels one by one, as no graph could be made: " + e.getMessage());
      given = true;
      work.run();
      return;
    }
    if (memory.isExceeded()) {
      giveUp(shape);
      work.run();
      return;
    }
    tape.replays(shape.executable);
    shape.tape = tape;
    launch(shape);
    shape.bytes += memory.take();
    if (memory.isExceeded()) {
      device.synchronize();
      giveUp(shape);
    } else if (use == Use.ALWAYS) {
      tell(shape, graph(shape) + " (cuda_graphs: on)");
    }
  }

  /** A graph in words. */
  private static String graph(Shape shape) {
    return "a graph of " + shape.tape.kernels() + " kernels in " + Sizes.text(shape.bytes);
  }

  private void giveUp(Shape shape) {
    shape.eager = true;
    tell(shape, "kernels one by one, as " + memory.refusal(shape.bytes));
    drop(shape);
  }

  private MemorySegment capture(Tape tape, Runnable work) {
    driver.beginCapture(device.stream());
    device.tape(tape);
    boolean whole = false;
    try {
      work.run();
      whole = true;
    } finally {
      device.tape(null);
      if (!whole) {
        abandon();
      }
    }
    return driver.endCapture(device.stream());
  }

  /** Ends a recording that failed; what the driver says about it matters less than why it did. */
  private void abandon() {
    try {
      driver.destroyGraph(driver.endCapture(device.stream()));
    } catch (NativeException ignored) {
      // CUDA_ERROR_STREAM_CAPTURE_INVALIDATED: there is no graph then
    }
  }

  private void replay(Shape shape, Runnable work) {
    shape.tape.rewind();
    device.tape(shape.tape);
    try {
      work.run();
      shape.tape.finish();
    } catch (Tape.Changed e) {
      device.tape(null);
      drop(shape);
      shape.eager = true;
      tell(shape, "kernels one by one, as they vary: " + e.getMessage());
      work.run();
      return;
    } finally {
      device.tape(null);
    }
    launch(shape);
  }

  private void launch(Shape shape) {
    int code = driver.launch(shape.executable, device.stream());
    if (code != 0) {
      throw device.fault("cuGraphLaunch", code);
    }
  }

  private void makeRoom() {
    int graphs = 0;
    Shape oldest = null;
    for (Shape shape : shapes) {
      if (shape.executable != null) {
        graphs++;
        oldest = oldest == null || shape.used < oldest.used ? shape : oldest;
      }
    }
    if (graphs == MOST_GRAPHS) {
      drop(oldest);
      shapes.remove(oldest);
    }
  }

  private void drop(Shape shape) {
    if (!device.isLost()) {
      device.use();
      if (shape.executable != null) {
        driver.destroyExecutable(shape.executable);
      }
      if (shape.graph != null) {
        driver.destroyGraph(shape.graph);
      }
    }
    memory.give(shape.bytes);
    shape.bytes = 0;
    shape.executable = null;
    shape.graph = null;
    shape.tape = null;
  }

  @Override
  public void close() {
    shapes.forEach(this::drop);
    if (!device.isLost()) {
      device.driver().destroyEvent(from);
      device.driver().destroyEvent(to);
    }
  }
}
