package dev.hone.cli;

import dev.hone.kernel.Kernels;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.kernel.device.Devices;
import dev.hone.kernel.selftest.SelfTest;
import java.io.PrintStream;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code hone selftest}: every op of a device against the reference. */
@Command(
    name = "selftest",
    description = "Check every op of a device against the plain f32 reference.",
    footer = {"", "Example: hone selftest --device cuda", "Exit code 0: all within their bounds; 1: not."})
final class SelfTestCommand implements Callable<Integer> {
  @Mixin private DeviceOptions device;

  @Option(names = "--all", description = "Print every row, not only the worst of each op and those out of bounds.")
  private boolean all;

  private final PrintStream out;

  SelfTestCommand(PrintStream out) {
    this.out = out;
  }

  @Override
  public Integer call() {
    try (Kernels kernels = Devices.open(device.choice(), 0, Devices.Use.ADAPTERS_OR_GENERATION, device.compute());
        CpuKernels reference = new CpuKernels()) {
      out.println(kernels.describe());
      out.println("error and bound are relative to the largest value; bound: 2x (gradients 3x) naive rounding");
      out.printf("%-22s %-44s %-17s %-5s %10s %10s %9s%n", "op", "shape", "output", "dtype", "error", "bound", "ms");
      Summary summary = new Summary();
      List<SelfTest.Row> rows = new SelfTest(kernels, reference).run(row -> {
        if (all || !row.good()) {
          print(row);
        }
        summary.add(row);
      });
      if (!all) {
        summary.worst.values().forEach(this::print);
      }
      long bad = rows.stream().filter(row -> !row.good()).count();
      out.printf(Locale.ROOT, "%d outputs checked, %s%n", rows.size(), bad == 0 ? "all good" : bad + " out of bounds");
      return bad == 0 ? Main.DONE : Main.USER_ERROR;
    }
  }

  /** The row nearest to its bound of each op and dtype. */
  private static final class Summary {
    private final Map<String, SelfTest.Row> worst = new LinkedHashMap<>();

    void add(SelfTest.Row row) {
      if (row.good()) {
        worst.merge(row.op() + row.dtype(), row, (a, b) -> share(b) > share(a) ? b : a);
      }
    }

    private static double share(SelfTest.Row row) {
      return row.bound() == 0 ? 0 : row.error() / row.bound();
    }
  }

  private void print(SelfTest.Row row) {
    if (row.problem() != null) {
      out.printf(Locale.ROOT, "%-22s %-44s %-17s %-5s %s%n", row.op(), row.shape(), "", row.dtype(), row.problem());
      return;
    }
    out.printf(
        Locale.ROOT, "%-22s %-44s %-17s %-5s %10.2e %10.2e %9.2f%s%n", row.op(), row.shape(), row.output(), row.dtype(),
        row.error(), row.bound(), row.millis(), row.good() ? "" : "  OUT OF BOUNDS");
  }
}
