package dev.hone.kernel.cuda.redist;

import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;

/**
 * The headers that kernels include besides this project's own: {@code cuda_fp16.h} and {@code cuda_bf16.h}, which NVRTC
 * 13.3 and later carry inside themselves and a CUDA toolkit has beside the library, and {@code stdint.h}, which a
 * compiler without a host has not.
 */
final class CudaHeaders {
  /** Widths as every platform of CUDA has them; NVRTC knows no host whose header it could read. */
  static final Map<String, String> STDINT = Map.of("stdint.h", """
      #pragma once
      typedef signed char int8_t;
      typedef unsigned char uint8_t;
      typedef short int16_t;
      typedef unsigned short uint16_t;
      typedef int int32_t;
      typedef unsigned int uint32_t;
      typedef long long int64_t;
      typedef unsigned long long uint64_t;
      typedef decltype(sizeof(0)) uintptr_t;
      """);

  private CudaHeaders() {}

  /**
   * The {@code -I} options that make the CUDA headers visible; empty when this machine has none.
   *
   * @param cache folder that may hold the headers of this compiler
   */
  static Optional<List<String>> options(Nvrtc compiler, Path cache) {
    Path unpacked = cache.resolve("nvrtc-headers-" + compiler.version());
    if (compiler.installHeaders(unpacked)) {
      return Optional.of(List.of("-I" + unpacked, "-I" + unpacked.resolve("cccl")));
    }
    Path library = Path.of(compiler.where()).toAbsolutePath();
    return Stream.iterate(library.getParent(), folder -> folder != null, Path::getParent)
        .limit(3)
        .map(folder -> folder.resolve("include"))
        .filter(include -> Files.isRegularFile(include.resolve("cuda_fp16.h")))
        .findFirst()
        .map(include -> List.of("-I" + include, "-I" + include.resolve("cccl")));
  }
}
