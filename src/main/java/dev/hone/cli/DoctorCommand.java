package dev.hone.cli;

import com.sun.management.OperatingSystemMXBean;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.kernel.cuda.redist.OptionalLibraries;
import java.io.PrintStream;
import java.lang.management.ManagementFactory;
import java.util.Locale;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;

/** {@code hone doctor}: what Hone finds on this machine. */
@Command(name = "doctor", description = "Show what Hone finds on this machine: JDK, CPU, memory, native library.")
final class DoctorCommand implements Callable<Integer> {
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
    try (CpuKernels kernels = new CpuKernels()) {
      line("libhone", CpuKernels.libraryPath().toString());
      line("kernels", kernels.describe() + " (best of this CPU: " + kernels.bestIsa() + ")");
    } catch (LinkageError e) {
      Throwable cause = e.getCause() == null ? e : e.getCause();
      line("libhone", "cannot be used: " + cause.getMessage());
      return Main.INTERNAL_FAULT;
    }
    OptionalLibraries.report(System.getenv()).forEach(this::line);
    return Main.DONE;
  }

  private void line(String name, String value) {
    out.printf(Locale.ROOT, "%-8s %s%n", name, value);
  }

  private static String gib(long bytes) {
    return String.format(Locale.ROOT, "%.1f GiB", bytes / (double) (1L << 30));
  }
}
