package dev.hone.kernel.device;

import dev.hone.config.DeviceChoice;
import dev.hone.config.UserError;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.NativeException;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.kernel.cuda.CudaKernels;
import dev.hone.tensor.DType;

/** Opens the device that was asked for; above this nothing knows which it is. */
public final class Devices {
  private Devices() {}

  /** What a run is going to do with the device. */
  public enum Use {
    /** Whole weights train: the CPU only. */
    FULL_TRAINING,
    ADAPTERS_OR_GENERATION
  }

  /**
   * Opens a device.
   *
   * @param threads of the CPU; 0: one for each core
   * @param wanted dtype of activations; what is computed in, {@link Kernels#computeDtype} tells
   * @throws UserError when the card that was asked for is not there, too old, or cannot do it
   */
  public static Kernels open(DeviceChoice choice, int threads, Use use, DType wanted) {
    return switch (choice.where()) {
      case CPU -> cpu(threads);
      case CARD -> card(choice, use, wanted);
      case AUTO -> automatic(choice, threads, use, wanted);
    };
  }

  private static Kernels cpu(int threads) {
    CpuKernels kernels = new CpuKernels();
    if (threads > 0) {
      kernels.useThreads(threads);
    }
    return kernels;
  }

  private static Kernels card(DeviceChoice choice, Use use, DType wanted) {
    if (use == Use.FULL_TRAINING) {
      throw new UserError("a card trains adapters, not whole weights; use finetuning_type: lora, or --device cpu");
    }
    try {
      return CudaKernels.open(choice.driver().orElse(null), choice.ordinal(), choice.rivalry(), wanted);
    } catch (NativeException e) {
      throw new UserError("the card cannot be opened: " + e.getMessage(), e);
    }
  }

  /** A driver that was named must serve; the system's own may be missing, or have no card for Hone. */
  private static Kernels automatic(DeviceChoice choice, int threads, Use use, DType wanted) {
    if (use == Use.FULL_TRAINING) {
      return cpu(threads);
    }
    try {
      return CudaKernels.open(choice.driver().orElse(null), choice.ordinal(), choice.rivalry(), wanted);
    } catch (UserError | NativeException e) {
      if (choice.driver().isPresent()) {
        throw e instanceof UserError ? e : new UserError("the card cannot be opened: " + e.getMessage(), e);
      }
      return cpu(threads);
    }
  }
}
