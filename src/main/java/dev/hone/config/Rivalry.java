package dev.hone.config;

/**
 * Who may replace the kernels that Hone brings for a card, and their launches one by one.
 *
 * @param products dense products: cuBLASLt
 * @param kernels the others: their sources, compiled for the card and the shapes by NVRTC
 * @param graphs CUDA graphs, which replay the launches of a step whose shape returns
 */
public record Rivalry(Use products, Use kernels, Use graphs) {
  /** When what was found is used. */
  public enum Use {
    /** Where it measures faster. */
    AUTO,
    NEVER,
    /** Wherever it takes the work. */
    ALWAYS
  }

  /** Whatever measures faster. */
  public static final Rivalry AUTO = new Rivalry(Use.AUTO, Use.AUTO, Use.AUTO);

  /** The kernels of this build alone, launched one by one. */
  public static final Rivalry NONE = new Rivalry(Use.NEVER, Use.NEVER);

  /** Libraries alone: kernels are launched one by one. */
  public Rivalry(Use products, Use kernels) {
    this(products, kernels, Use.NEVER);
  }

  /**
   * The words of {@code cuda_products}, {@code cuda_kernels} and {@code cuda_graphs}.
   *
   * @param products auto, ptx or cublaslt
   * @param kernels auto, ptx or nvrtc
   * @param graphs auto, on or off
   */
  public static Rivalry of(String products, String kernels, String graphs) {
    return new Rivalry(use(products, "cublaslt"), use(kernels, "nvrtc"), use(graphs, "on"));
  }

  private static Use use(String word, String always) {
    return word.equals("auto") ? Use.AUTO : word.equals(always) ? Use.ALWAYS : Use.NEVER;
  }
}
