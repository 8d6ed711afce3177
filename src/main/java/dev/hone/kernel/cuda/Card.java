package dev.hone.kernel.cuda;

import dev.hone.config.UserError;
import dev.hone.tensor.DType;
import java.util.Locale;

/**
 * What a card is.
 *
 * @param ordinal its number with this driver
 * @param device its CUdevice
 * @param major first part of the compute capability
 * @param minor second part
 * @param memory bytes
 * @param multiprocessors how many
 * @param clock of theirs, kHz
 * @param memoryRate bytes a second of its memory: two transfers a clock over the whole bus
 * @param sharedPerBlock the most shared memory that a block may opt in to, bytes
 * @param driverVersion the CUDA version that the driver serves: 1000 major + 10 minor
 */
public record Card(
    int ordinal, int device, String name, int major, int minor, long memory, int multiprocessors, int clock, double memoryRate,
    int sharedPerBlock, int driverVersion) {

  /** CUdevice_attribute. */
  private static final int CLOCK_RATE = 13;
  private static final int MULTIPROCESSOR_COUNT = 16;
  private static final int MEMORY_CLOCK_RATE = 36;
  private static final int MEMORY_BUS_WIDTH = 37;
  private static final int CAPABILITY_MAJOR = 75;
  private static final int CAPABILITY_MINOR = 76;
  private static final int SHARED_PER_BLOCK_OPTIN = 97;

  /** The two sets of kernels. */
  enum Tier {
    /** What Turing has, and so have all later cards: f16. */
    SM_75("sm_75", DType.F16),
    /** Ampere and later: bf16. */
    SM_80("sm_80", DType.BF16);

    private final String target;
    private final DType dtype;

    Tier(String target, DType dtype) {
      this.target = target;
      this.dtype = dtype;
    }

    /** Its name in the manifest. */
    String target() {
      return target;
    }

    /** The dtype of activations. */
    DType dtype() {
      return dtype;
    }
  }

  static Card of(Driver driver, int ordinal) {
    int device = driver.device(ordinal);
    return new Card(
        ordinal, device, driver.deviceName(device), driver.attribute(CAPABILITY_MAJOR, device),
        driver.attribute(CAPABILITY_MINOR, device), driver.deviceMemory(device),
        driver.attribute(MULTIPROCESSOR_COUNT, device), driver.attribute(CLOCK_RATE, device),
        2e3 * driver.attribute(MEMORY_CLOCK_RATE, device) * driver.attribute(MEMORY_BUS_WIDTH, device) / 8,
        driver.attribute(SHARED_PER_BLOCK_OPTIN, device),
        driver.version());
  }

  /**
   * The set of kernels for this card.
   *
   * @param wanted dtype of activations: F16 gets Turing's kernels on every card, anything else the card's own
   * @throws UserError when it is too old for any
   */
  Tier tier(DType wanted) {
    int capability = 10 * major + minor;
    if (capability < 75) {
      throw UserError.of(
          "%s has compute capability %s; Hone wants 7.5 (Turing: GTX 16, RTX 20) or newer: use --device cpu", name,
          capability());
    }
    return capability >= 80 && wanted != DType.F16 ? Tier.SM_80 : Tier.SM_75;
  }

  /**
   * Dense 16-bit tensor operations a second with f32 accumulation: multiply-adds a clock and multiprocessor as in NVIDIA's white
   * papers of each architecture, GeForce cards taken for their half rate.
   */
  double flops() {
    int capability = 10 * major + minor;
    int perClock = capability >= 100 && capability < 110 ? 4096 : capability == 90 ? 2048 : capability == 80 ? 1024 : 256;
    return 2e3 * perClock * clock * multiprocessors;
  }

  /** Such as 8.6. */
  public String capability() {
    return major + "." + minor;
  }

  /** The CUDA version that the driver serves, such as 12.4. */
  public String cudaVersion() {
    return version(driverVersion);
  }

  static String version(int encoded) {
    return encoded / 1000 + "." + encoded % 1000 / 10;
  }

  /** In words, for reports. */
  public String describe() {
    return String.format(
        Locale.ROOT, "cuda:%d, %s, compute capability %s, %.1f GiB, driver for CUDA %s", ordinal, name, capability(),
        memory / (double) (1L << 30), cudaVersion());
  }
}
