package dev.hone.kernel.cuda;

import dev.hone.config.Rivalry;
import dev.hone.config.UserError;
import dev.hone.kernel.NativeException;
import dev.hone.kernel.cuda.Program.Kernel;
import dev.hone.kernel.cuda.redist.Choices;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.function.Supplier;
import java.util.stream.IntStream;

/**
 * Stands between the launcher and the shipped kernels: for each kernel and each set of integer arguments it decides
 * once who does the work, the shipped kernel or a rival. Deciding may take a second; a decided launch costs one look-up
 * and allocates nothing.
 *
 * <p>Work that differs in its number of rows alone is measured for ranges of it. To measure, both do the work some times over with their outputs sent to memory of their own, so that no tensor of
 * the run is touched and sums are not added to twice. Where that memory cannot be had, the shipped kernel runs.
 */
final class Rivals implements AutoCloseable {
  /** Parts of a tensor that a kernel is to work on: they change from slab to slab, and nothing depends on them. */
  private static final List<String> PLACES = List.of("row0", "col0");

  private static final Rival.Work SHIPPED = (launch, gridX, gridY) -> {
    throw new IllegalStateException("the shipped kernel is launched by the launcher");
  };

  private final CudaDevice device;
  private final List<Rival> rivals;
  private final boolean haveProducts;
  private final Choices choices;
  private final List<String> remarks = new ArrayList<>();
  private final Map<Kernel, Table> tables = new HashMap<>();

  /**
   * @param rivals of which at most one does the work of any kernel
   * @param cache folder of the user, for what is measured
   */
  Rivals(CudaDevice device, List<Rival> rivals, Path cache) {
    this.device = device;
    this.rivals = List.copyOf(rivals);
    haveProducts = rivals.stream().anyMatch(ProductRival.class::isInstance);
    String card = device.card().name() + ", driver for CUDA " + device.card().cudaVersion();
    choices = new Choices(cache, card, remarks::add);
  }

  /**
   * The rivals that are found on this machine and may be used on the card.
   *
   * @param environment may name or turn off libraries
   * @throws UserError when one must be used and cannot
   */
  static Rivals of(CudaDevice device, Rivalry rivalry, Path cache, Map<String, String> environment) {
    List<Rival> found = new ArrayList<>();
    List<String> missing = new ArrayList<>();
    add(found, missing, rivalry.products(), "cuda_products: cublaslt",
        () -> ProductRival.find(device, rivalry, environment));
    add(found, missing, rivalry.kernels(), "cuda_kernels: nvrtc",
        () -> CompiledRival.find(device, rivalry, cache, environment));
    Rivals rivals = new Rivals(device, found, cache);
    rivals.remarks.addAll(missing);
    return rivals;
  }

  /** Adds what {@code find} finds; that nothing is there deserves no remark unless it must be there. */
  private static void add(
      List<Rival> found, List<String> missing, Rivalry.Use use, String setting, Supplier<Optional<Rival>> find) {
    if (use == Rivalry.Use.NEVER) {
      return;
    }
    String why;
    try {
      Optional<Rival> rival = find.get();
      rival.ifPresent(found::add);
      if (rival.isPresent()) {
        return;
      }
      why = "it is not on this machine (`hone doctor` says where it is looked for)";
    } catch (NativeException | IllegalArgumentException | IllegalStateException | UnsatisfiedLinkError e) {
      why = e.getMessage();
      missing.add(setting + " is not possible: " + why);
    }
    if (use == Rivalry.Use.ALWAYS) {
      throw UserError.of("%s cannot be had: %s", setting, why);
    }
  }

  /** Whether there is one for dense products, which cannot take the branch of an adapter with them. */
  boolean haveProducts() {
    return haveProducts;
  }

  /** What was decided so far, a line each. */
  List<String> remarks() {
    return List.copyOf(remarks);
  }

  /** Decisions about one kernel, by its integer arguments. */
  private static final class Table {
    private final Rival rival;
    private final int[] places;
    private final Map<Arguments, Rival.Work> decided = new HashMap<>();
    private final Arguments probe;

    Table(Kernel kernel, List<Rival> rivals) {
      rival = rivals.stream()
          .filter(r -> r.use() != Rivalry.Use.NEVER && r.outputs(kernel) > 0)
          .findFirst()
          .orElse(null);
      List<Manifest.Parameter> parameters = kernel.entry().parameters();
      places = IntStream.range(0, parameters.size())
          .filter(i -> List.of("s32", "s64").contains(parameters.get(i).type()))
          .filter(i -> !PLACES.contains(parameters.get(i).name()))
          .toArray();
      probe = new Arguments(new long[places.length]);
    }
  }

  /** Values to look up by; the probe's change, those in the map do not. */
  private record Arguments(long[] values) {
    @Override
    public boolean equals(Object other) {
      return other instanceof Arguments that && Arrays.equals(values, that.values);
    }

    @Override
    public int hashCode() {
      return Arrays.hashCode(values);
    }
  }

  /** Lets a rival do the launcher's work when it is the one to do it; false: the shipped kernel is. */
  boolean launch(Launcher launch, Kernel kernel, int gridX, int gridY) {
    Table table = tables.get(kernel);
    if (table == null) {
      table = new Table(kernel, rivals);
      tables.put(kernel, table);
    }
    if (table.rival == null) {
      return false;
    }
    for (int i = 0; i < table.places.length; i++) {
      table.probe.values[i] = launch.value(table.places[i]);
    }
    Rival.Work work = table.decided.get(table.probe);
    if (work == null) {
      device.requireNoTape("a choice that is still open");
      work = decide(table.rival, launch, kernel, gridX, gridY);
      table.decided.put(new Arguments(table.probe.values.clone()), work);
    }
    if (work == SHIPPED) {
      return false;
    }
    work.run(launch, gridX, gridY);
    return true;
  }

  private Rival.Work decide(Rival rival, Launcher launch, Kernel kernel, int gridX, int gridY) {
    String name = rival.work(kernel, launch);
    if (name == null) {
      return SHIPPED;
    }
    Rival.Work work;
    try {
      work = rival.prepare(kernel, launch);
    } catch (NativeException e) {
      remarks.add(name + ": the shipped kernel, as " + rival.name() + " failed: " + e.getMessage());
      return SHIPPED;
    }
    boolean wins = rival.use() == Rivalry.Use.ALWAYS || faster(rival, work, name, launch, kernel, gridX, gridY);
    return wins ? work : SHIPPED;
  }

  private boolean faster(
      Rival rival, Rival.Work work, String name, Launcher launch, Kernel kernel, int gridX, int gridY) {
    Driver driver = device.use();
    int outputs = rival.outputs(kernel);
    long[] addresses = new long[outputs];
    List<Long> scratch = new ArrayList<>();
    try {
      boolean measures = !choices.isSettled(name, rival.name());
      for (int i = 0; measures && i < outputs; i++) {
        addresses[i] = launch.value(i);
        scratch.add(driver.allocate(launch.bytesBehind(i)));
        driver.zero(scratch.getLast(), launch.bytesBehind(i), device.stream());
        launch.redirect(i, scratch.getLast());
      }
      return choices.rivalWins(
          name, rival.name(), rival.setting(),
          () -> device.microseconds(() -> launch.run(device.program().function(kernel), kernel, gridX, gridY)),
          () -> device.microseconds(() -> work.run(launch, gridX, gridY)));
    } catch (NativeException e) {
      remarks.add(
          name + ": the shipped kernel, as there is no memory to measure " + rival.name() + ": " + e.getMessage());
      return false;
    } finally {
      for (int i = 0; i < scratch.size(); i++) {
        launch.redirect(i, addresses[i]);
        driver.free(scratch.get(i));
      }
    }
  }

  @Override
  public void close() {
    rivals.forEach(Rival::close);
  }
}
