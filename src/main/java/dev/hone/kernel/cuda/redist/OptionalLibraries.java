package dev.hone.kernel.cuda.redist;

import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.function.Supplier;

/** What {@code hone doctor} says about the libraries that Hone uses where they are. */
public final class OptionalLibraries {
  private OptionalLibraries() {}

  /** A line for each library, by its short name. */
  public static Map<String, String> report(Map<String, String> environment) {
    Map<String, String> lines = new LinkedHashMap<>();
    lines.put("nvrtc", describe(
        Nvrtc.LIBRARY, environment, "compiles kernels for a card, used where they measure faster (cuda_kernels)",
        () -> Nvrtc.find(environment).map(nvrtc -> nvrtc.version() + ", " + nvrtc.where())));
    lines.put("cublaslt", describe(
        CublasLt.LIBRARY, environment, "multiplies on a card, used where it measures faster (cuda_products)",
        () -> CublasLt.find(environment).map(found -> found.release() + ", " + found.where())));
    return lines;
  }

  private static String describe(
      OptionalLibrary library, Map<String, String> environment, String purpose,
      Supplier<Optional<String>> find) {
    if (environment.getOrDefault(library.variable(), "").equals("none")) {
      return "turned off by " + library.variable() + "=none; not needed";
    }
    try {
      return find.get().map(found -> found + ": " + purpose)
          .orElse("not found, not needed; looked for " + library.names().getFirst()
          + " on the class path, the library path, in"
              + " CUDA_PATH and by " + library.variable());
    } catch (IllegalArgumentException | UnsatisfiedLinkError e) {
      return "cannot be used, not needed: " + e.getMessage();
    }
  }
}
