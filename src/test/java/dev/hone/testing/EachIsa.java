package dev.hone.testing;

import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.kernel.cpu.CpuKernels.Isa;
import java.util.function.Consumer;

/** Runs a check on every instruction set that this machine has, from the plain C reference upwards. */
public final class EachIsa {
  private EachIsa() {}

  /** Runs {@code check} on each set; the set in use before is in use again afterwards. */
  public static void run(CpuKernels kernels, Consumer<Isa> check) {
    Isa before = kernels.isa();
    try {
      for (Isa isa : Isa.values()) {
        if (isa.compareTo(kernels.bestIsa()) <= 0) {
          kernels.useIsa(isa);
          check.accept(isa);
        }
      }
    } finally {
      kernels.useIsa(before);
    }
  }
}
