package dev.hone.config;

/**
 * Who may replace the kernels that Hone brings for a card.
 *
 * @param products dense products: cuBLASLt
 * @param kernels the others: their sources, compiled for the card and the shapes by NVRTC
 */
public record Rivalry(Use products, Use kernels) {
  /** When a library that was found is used. */
  public enum Use {
    /** Where it measures faster. */
    AUTO,
    NEVER,
    /** Wherever it takes the work. */
    ALWAYS
  }

  /** Whatever measures faster. */
  public static final Rivalry AUTO = new Rivalry(Use.AUTO, Use.AUTO);

  /** The kernels of this build alone. */
  public static final Rivalry NONE = new Rivalry(Use.NEVER, Use.NEVER);

  /**
   * The words of {@code cuda_products} and {@code cuda_kernels}.
   *
   * @param products auto, ptx or cublaslt
   * @param kernels auto, ptx or nvrtc
   */
  public static Rivalry of(String products, String kernels) {
    return new Rivalry(use(products, "cublaslt"), use(kernels, "nvrtc"));
  }

  private static Use use(String word, String always) {
    return word.equals("auto") ? Use.AUTO : word.equals(always) ? Use.ALWAYS : Use.NEVER;
  }
}
