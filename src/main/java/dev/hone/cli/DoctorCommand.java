package dev.hone.cli;

import com.sun.management.OperatingSystemMXBean;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.kernel.cuda.CudaProbe;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** {@code hone doctor}: what Hone finds on this machine. */
@Command(
    name = "doctor",
    description = "Show what Hone finds on this machine: JDK, CPU, memory, native library, cards, and what would run where.")
final class DoctorCommand implements Callable<Integer> {
  @Mixin private DeviceOptions device;

  private final PrintStream out;

  DoctorCommand(PrintStream out) {
    this.out = out;
  }

  @Override
  public Integer call() {
    line("hone", Main.VERSION);
    line("jdk", Runtime.version() + ", " + System.getProperty("java.vendor") + ", " + System.getProperty("java.home"));
    line("system", System.getProperty("os.name") + " " + System.getProperty("os.version") + ", "
        + System.getProperty("os.arch"));
    line("cores", Integer.toString(Runtime.getRuntime().availableProcessors()));
    OperatingSystemMXBean system = ManagementFactory.getPlatformMXBean(OperatingSystemMXBean.class);
    line("memory", gib(system.getTotalMemorySize()) + ", free " + gib(system.getFreeMemorySize())
        + "; Java heap at most " + gib(Runtime.getRuntime().maxMemory()));
    boolean usable = cpu();
    boolean card = cards();
    line("runs on", card
        ? "the card; full fine-tuning on the CPU. `hone selftest` checks the card's ops"
        : "the CPU");
    return usable ? Main.DONE : Main.INTERNAL_FAULT;
  }

  private boolean cpu() {
    try (CpuKernels kernels = new CpuKernels()) {
      line("libhone", CpuKernels.libraryPath().toString());
      line("kernels", kernels.describe() + " (best of this CPU: " + kernels.bestIsa() + ")");
      return true;
    } catch (LinkageError e) {
      Throwable cause = e.getCause() == null ? e : e.getCause();
      line("libhone", "cannot be used: " + cause.getMessage());
      return false;
    }
  }

  /** Tells about the driver and its cards; whether one of them can serve. */
  private boolean cards() {
    CudaProbe probe = CudaProbe.of(device.choice().driver().orElse(null));
    line("driver", probe.library() + (probe.problem() == null ? "" : ": " + probe.problem()));
    boolean usable = false;
    for (CudaProbe.Found found : probe.cards()) {
      if (found.problem() != null) {
        line("card", found.card().describe() + ": " + found.problem());
        continue;
      }
      usable = true;
      line("card", found.card().describe());
      line("", String.format(
          Locale.ROOT, "%s free, activations in %s, link %.1f GB/s to the card, %.1f GB/s from it", gib(found.free()),
          found.compute(), found.toCard() / 1e9, found.fromCard() / 1e9));
    }
    return usable;
  }

  private void line(String name, String value) {
    out.printf(Locale.ROOT, "%-8s %s%n", name, value);
  }

  private static String gib(long bytes) {
    return String.format(Locale.ROOT, "%.1f GiB", bytes / (double) (1L << 30));
  }
}
