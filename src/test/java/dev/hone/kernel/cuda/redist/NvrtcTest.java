package dev.hone.kernel.cuda.redist;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.kernel.NativeException;
import dev.hone.kernel.cuda.redist.Nvrtc.Version;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.concurrent.atomic.AtomicInteger;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** NVRTC itself, where it is: it compiles without a card. */
class NvrtcTest {
  private static final String ADD = """
      #include "one.h"
      extern "C" __global__ void add(float *x, int n) {
        int i = blockIdx.x * blockDim.x + threadIdx.x;
        if (i < n) x[i] += ONE;
      }
      """;

  /** Names the library for the tests; in all others the build turns NVRTC off. */
  private static final String NAMED = "HONE_TEST_NVRTC";

  /** An environment in which this machine's NVRTC may be used. */
  static Map<String, String> environment() {
    return Map.of(Nvrtc.VARIABLE, System.getenv().getOrDefault(NAMED, ""));
  }

  /** The test is skipped where there is no NVRTC. */
  static Nvrtc nvrtc() {
    Optional<Nvrtc> found = Nvrtc.find(environment());
    if (found.isEmpty()) {
      System.out.println("skipped: no NVRTC on the class path (mvn -P cuda-redist), on the library path or named by "
          + NAMED);
    }
    Assumptions.assumeTrue(found.isPresent(), "no NVRTC");
    return found.get();
  }

  private static KernelSource add(String one, String... options) {
    return new KernelSource("add.cu", ADD, Map.of("one.h", "#define ONE " + one + "\n"), List.of(options));
  }

  private static String text(byte[] ptx) {
    return new String(ptx, StandardCharsets.US_ASCII);
  }

  @Test
  void compilesToPtxOfAVirtualArchitecture() {
    String ptx = text(nvrtc().ptx(add("1.0f"), 80));
    assertThat(ptx).contains(".target sm_80", ".entry add(").contains("0f3F800000").endsWith("\0");
  }

  @Test
  void compilesToACubinOfEachCardThatItKnows() {
    Nvrtc nvrtc = nvrtc();
    assertThat(nvrtc.knows(80)).isTrue();
    for (int capability : List.of(75, 80, 86, 89, 90, 120)) {
      byte[] cubin = nvrtc.cubin(add("1.0f"), capability);
      // An ELF file for EM_CUDA, 190.
      assertThat(cubin).as("sm_%d", capability).startsWith((byte) 0x7f, (byte) 'E', (byte) 'L', (byte) 'F');
      assertThat(Byte.toUnsignedInt(cubin[18])).isEqualTo(190);
    }
  }

  @Test
  void anErrorNamesTheFileAndCarriesTheCompilersLog() {
    Nvrtc nvrtc = nvrtc();
    assertThatThrownBy(() -> nvrtc.ptx(add("not_declared"), 80))
        .isInstanceOf(NativeException.class)
        .hasMessageContaining("add.cu for compute_80")
        .hasMessageContaining("NVRTC_ERROR_COMPILATION")
        .hasMessageContaining("not_declared");
  }

  @Test
  void theHeadersThatComeWithItAreFound(@TempDir Path cache) {
    Nvrtc nvrtc = nvrtc();
    Optional<List<String>> include = CudaHeaders.options(nvrtc, cache);
    Assumptions.assumeTrue(include.isPresent(), "skipped: NVRTC " + nvrtc.version() + " has no CUDA headers here");
    KernelSource halves = new KernelSource("halves.cu", """
        #include <cuda_bf16.h>
        #include <cuda_fp16.h>
        #include <stdint.h>
        extern "C" __global__ void halves(__nv_bfloat16 *y, const __half *x, int64_t n) {
          static_assert(sizeof(int64_t) == 8 && sizeof(uintptr_t) == 8 && sizeof(uint32_t) == 4, "widths");
          if (threadIdx.x < n) y[threadIdx.x] = __float2bfloat16(__half2float(x[threadIdx.x]));
        }
        """, CudaHeaders.STDINT, include.get());
    assertThat(text(nvrtc.ptx(halves, 80))).contains(".entry halves(");
  }

  @Test
  void sourcesOptionsTargetAndCompilerEachMakeAnotherKey() {
    Version v = new Version(13, 3);
    KernelSource source = add("1.0f");
    String key = KernelCache.key(v, "sm_89", source);
    assertThat(key).startsWith("add.sm_89.").matches("[\\w.]+");
    assertThat(KernelCache.key(v, "sm_89", add("1.0f"))).isEqualTo(key);
    assertThat(List.of(
        KernelCache.key(new Version(13, 2), "sm_89", source), KernelCache.key(v, "sm_90", source),
        KernelCache.key(v, "sm_89", add("2.0f")), KernelCache.key(v, "sm_89", add("1.0f", "-DX")),
        KernelCache.key(v, "sm_89", add("1.0f", "-D", "X")))).doesNotContain(key).doesNotHaveDuplicates();
  }

  @Test
  void aKernelIsCompiledOnceAndADamagedFileAgain(@TempDir Path folder) throws Exception {
    KernelCache cache = new KernelCache(folder.resolve("kernels"));
    AtomicInteger compiled = new AtomicInteger();
    byte[] code = {1, 2, 3};
    for (int i = 0; i < 2; i++) {
      assertThat(cache.get("add.sm_89.00", () -> {
        compiled.incrementAndGet();
        return code;
      })).isEqualTo(code);
    }
    assertThat(compiled).hasValue(1);
    Path file = folder.resolve("kernels").resolve("add.sm_89.00");
    byte[] kept = Files.readAllBytes(file);
    kept[kept.length - 1] ^= 1;
    Files.write(file, kept);
    assertThat(cache.get("add.sm_89.00", () -> {
      compiled.incrementAndGet();
      return code;
    })).isEqualTo(code);
    assertThat(compiled).hasValue(2);
    try (var left = Files.list(file.getParent())) {
      assertThat(left).containsExactly(file);
    }
  }

  @Test
  void aFolderThatCannotBeWrittenCostsOnlyTime(@TempDir Path folder) throws Exception {
    Path file = Files.writeString(folder.resolve("file"), "in the way");
    assertThat(new KernelCache(file.resolve("kernels")).get("k", () -> new byte[] {7})).isEqualTo(new byte[] {7});
  }

  @Test
  void namesOfTheLibrariesThatMustBeLoadedBefore() {
    assertThat(OptionalLibrary.companionName("libnvrtc-builtins.so.", "libnvrtc.so.13", 3))
        .isEqualTo("libnvrtc-builtins.so.13.3");
    assertThat(OptionalLibrary.companionName("nvrtc-builtins64_", "nvrtc64_130_0.dll", 3))
        .isEqualTo("nvrtc-builtins64_133.dll");
  }

  @Test
  void aVariableTurnsItOffOrNamesTheFile(@TempDir Path folder) {
    assertThat(Nvrtc.find(Map.of(Nvrtc.VARIABLE, "none"))).isEmpty();
    assertThatThrownBy(() -> Nvrtc.find(Map.of(Nvrtc.VARIABLE, folder.resolve("libnvrtc.so.13").toString())))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessageContaining("HONE_NVRTC names").hasMessageContaining("not there");
  }
}
