package dev.hone.kernel.cuda.redist;

import dev.hone.kernel.cuda.redist.Nvrtc.Version;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Compiles kernels of this build for one card, in a form that its driver loads, and keeps them.
 *
 * <p>A driver of NVRTC's own major version or a later one gets a cubin for the card's architecture. An older one gets
 * PTX for the tier, its version line lowered to {@value #PTX_VERSION} as {@code kernels/build.py} does with the shipped
 * PTX, which the driver compiles for the card itself; should it refuse, the shipped kernel stays.
 */
public final class KernelCompiler {
  private static final String PTX_VERSION = "8.0";

  private final Nvrtc nvrtc;
  private final KernelCache cache;
  private final List<String> options;
  private final int capability;
  private final int tier;
  private final boolean cubin;

  private KernelCompiler(Nvrtc nvrtc, Path folder, List<String> include, Version driver, int capability, int tier) {
    this.nvrtc = nvrtc;
    this.capability = capability;
    this.tier = tier;
    cache = new KernelCache(folder.resolve("kernels"));
    options = new ArrayList<>(List.of("--std=c++17", "-DHONE_SM=" + tier));
    options.addAll(include);
    cubin = driver.major() >= nvrtc.version().major();
  }

  /**
   * The compiler for a card.
   *
   * @param folder of the user's cache
   * @param driver the CUDA version that the driver serves
   * @param capability of the card, such as 89
   * @param tier 75 or 80: which of the kernels' two types
   * @throws IllegalStateException that says why there is none
   */
  public static KernelCompiler open(Nvrtc nvrtc, Path folder, Version driver, int capability, int tier) {
    Optional<List<String>> include = CudaHeaders.options(nvrtc, folder);
    if (include.isEmpty()) {
      throw new IllegalStateException("no CUDA headers (cuda_fp16.h) inside NVRTC " + nvrtc.version()
          + " or beside it");
    }
    KernelCompiler compiler = new KernelCompiler(nvrtc, folder, include.get(), driver, capability, tier);
    if (!nvrtc.knows(compiler.cubin ? capability : tier)) {
      throw new IllegalStateException("NVRTC " + nvrtc.version() + " does not compile for compute capability "
          + capability / 10 + "." + capability % 10);
    }
    return compiler;
  }

  /** Compiler and form, for records and logs. */
  public String describe() {
    return "nvrtc " + nvrtc.version() + (cubin ? " sm_" + capability : " compute_" + tier);
  }

  /**
   * A module with the kernel, whose arguments of these names are always these values: a cubin, or PTX with a closing
   * zero.
   *
   * @param text of the source file
   * @param headers of this project that it includes
   */
  public byte[] module(
      String name, String text, Map<String, String> headers, String op, String variant, Map<String, Long> values) {
    Map<String, String> all = new HashMap<>(headers);
    all.putAll(CudaHeaders.STDINT);
    KernelSource source = FixedArguments.in(new KernelSource(name, text, all, options), op, variant, values);
    String target = cubin ? "sm_" + capability : "compute_" + tier;
    return cache.get(
        KernelCache.key(nvrtc.version(), target, source),
        () -> cubin ? nvrtc.cubin(source, capability) : lowered(nvrtc.ptx(source, tier)));
  }

  private static byte[] lowered(byte[] ptx) {
    String text = new String(ptx, StandardCharsets.US_ASCII);
    return text.replaceFirst("(?m)^\\.version \\S+", ".version " + PTX_VERSION).getBytes(StandardCharsets.US_ASCII);
  }
}
