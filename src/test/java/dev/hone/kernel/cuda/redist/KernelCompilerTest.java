package dev.hone.kernel.cuda.redist;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.kernel.cuda.redist.Nvrtc.Version;
import dev.hone.testing.Golden;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** This project's kernels through NVRTC; skipped where there is none. */
class KernelCompilerTest {
  private static final Path KERNELS = Golden.root().resolve("kernels/cuda");
  private static final Version OLD = new Version(11, 8);

  @TempDir Path cache;

  private static String text(Path file) {
    try {
      return Files.readString(file);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private static Map<String, String> headers() throws IOException {
    Map<String, String> headers = new HashMap<>();
    try (Stream<Path> files = Files.list(KERNELS)) {
      files.filter(f -> f.toString().endsWith(".cuh")).forEach(f -> headers.put(f.getFileName().toString(), text(f)));
    }
    return headers;
  }

  private String rmsnorm(KernelCompiler compiler, String variant, Map<String, Long> values) throws IOException {
    byte[] module = compiler.module("rmsnorm.cu", text(KERNELS.resolve("rmsnorm.cu")), headers(), "rmsnorm_fwd",
        variant, values);
    return new String(module, StandardCharsets.ISO_8859_1);
  }

  /** The body of an entry in PTX. */
  private static String body(String ptx, String entry) {
    return ptx.split("\\.entry " + entry + "\\(")[1].split("(?m)^}")[0];
  }

  @Test
  void everyKernelOfThisProjectCompilesForTheCardItself() throws IOException {
    Nvrtc nvrtc = NvrtcTest.nvrtc();
    for (int tier : List.of(75, 80)) {
      List<String> options = Stream.concat(
          Stream.of("--std=c++17", "-DHONE_SM=" + tier), CudaHeaders.options(nvrtc,
          cache).orElseThrow().stream()).toList();
      Map<String, String> headers = headers();
      headers.putAll(CudaHeaders.STDINT);
      try (Stream<Path> files = Files.list(KERNELS)) {
        for (Path file : files.filter(f -> f.toString().endsWith(".cu")).sorted().toList()) {
          String text = text(file);
          // The tile kernels of Turing take NVRTC seconds and are no rivals of anything.
          if (text.contains("tiers: sm_75 sm_80")) {
            KernelSource source = new KernelSource(file.getFileName().toString(), text, headers, options);
            assertThat(nvrtc.cubin(source, tier == 75 ? 75 : 89)).as(file.toString()).hasSizeGreaterThan(1000);
          }
        }
      }
    }
  }

  /** A driver that is older than the compiler compiles PTX itself, of a version that it knows. */
  @Test
  void anOlderDriverGetsPtxThatItCanRead() throws IOException {
    KernelCompiler compiler = KernelCompiler.open(NvrtcTest.nvrtc(), cache, OLD, 89, 80);
    assertThat(compiler.describe()).endsWith("compute_80");
    String ptx = rmsnorm(compiler, "", Map.of("C", 4096L));
    assertThat(ptx).contains(".version 8.0\n", ".target sm_80").endsWith("\0");
  }

  @Test
  void aNewDriverGetsACubin() throws IOException {
    Nvrtc nvrtc = NvrtcTest.nvrtc();
    KernelCompiler compiler = KernelCompiler.open(nvrtc, cache, nvrtc.version(), 89, 80);
    assertThat(compiler.describe()).endsWith("sm_89");
    assertThat(rmsnorm(compiler, "", Map.of("C", 4096L))).startsWith("\u007fELF");
  }

  /** A fixed width takes the loop over it, and only of the kernel that was named. */
  @Test
  void aFixedArgumentShortensTheKernel() throws IOException {
    KernelCompiler compiler = KernelCompiler.open(NvrtcTest.nvrtc(), cache, OLD, 89, 80);
    String any = rmsnorm(compiler, "", Map.of());
    String fixed = rmsnorm(compiler, "", Map.of("C", 2048L));
    String entry = "hone_rmsnorm_fwd_bf16";
    assertThat(body(any, entry)).contains("ld.param.u32");
    assertThat(branches(body(fixed, entry))).isLessThan(branches(body(any, entry)));
    assertThat(body(fixed, entry + "_warp")).isEqualTo(body(any, entry + "_warp"));
  }

  private static long branches(String ptx) {
    return ptx.lines().filter(line -> line.contains("bra")).count();
  }

  @Test
  void aSecondRunCompilesNothing() throws IOException {
    Nvrtc nvrtc = NvrtcTest.nvrtc();
    String first = rmsnorm(KernelCompiler.open(nvrtc, cache, OLD, 89, 80), "warp", Map.of("C", 128L));
    List<Path> files;
    try (Stream<Path> kept = Files.list(cache.resolve("kernels"))) {
      files = kept.toList();
    }
    assertThat(files).hasSize(1);
    var written = Files.getLastModifiedTime(files.getFirst());
    assertThat(rmsnorm(KernelCompiler.open(nvrtc, cache, OLD, 89, 80), "warp", Map.of("C", 128L))).isEqualTo(first);
    assertThat(Files.getLastModifiedTime(files.getFirst())).isEqualTo(written);
  }

  @Test
  void whatTheSourceDoesNotDefineIsNamed() throws IOException {
    KernelSource source = new KernelSource("rmsnorm.cu", text(KERNELS.resolve("rmsnorm.cu")), Map.of(), List.of());
    assertThatThrownBy(() -> FixedArguments.in(source, "rope_fwd", "", Map.of()))
        .hasMessage("rmsnorm.cu defines no rope_fwd");
    assertThatThrownBy(() -> FixedArguments.in(source, "rmsnorm_fwd", "narrow", Map.of()))
        .hasMessage("rmsnorm.cu defines no rmsnorm_fwd, narrow");
    assertThatThrownBy(() -> FixedArguments.in(source, "rmsnorm_fwd", "", Map.of("eps", 1L)))
        .hasMessage("rmsnorm.cu: rmsnorm_fwd has no integer parameter eps");
    assertThat(FixedArguments.in(source, "rmsnorm_fwd", "warp", Map.of("C", 64L, "rows", 3L)).text())
        .contains("HONE_VARIANT(rmsnorm_fwd, warp)")
        .containsPattern("float offset\\) \\{ C = 64; rows = 3;\\s+forward<WARP>");
  }
}
