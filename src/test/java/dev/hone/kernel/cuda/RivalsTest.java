package dev.hone.kernel.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import com.sun.management.ThreadMXBean;
import dev.hone.config.Rivalry;
import dev.hone.config.UserError;
import dev.hone.kernel.cuda.redist.CublasLt;
import dev.hone.kernel.cuda.redist.FakeCublasLt;
import dev.hone.kernel.cuda.redist.Nvrtc;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.StandIn;
import java.lang.foreign.Arena;
import java.lang.management.ManagementFactory;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.Assumptions;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** cuBLASLt and NVRTC in the place of shipped kernels, on the stand-in driver. */
class RivalsTest {
  private static final Map<String, String> NONE = Map.of(Nvrtc.VARIABLE, "none", CublasLt.VARIABLE, "none");
  private static final int M = 24;
  private static final int N = 40;
  private static final int K = 48;

  @TempDir Path cache;
  private Path driver;

  @BeforeEach
  void findDriver() {
    driver = StandIn.library("cc=8.0");
  }

  private CudaKernels open(Rivalry rivalry, Map<String, String> environment) {
    return CudaKernels.open(driver.toString(), 0, rivalry, DType.F32, cache, environment);
  }

  private Map<String, String> withCublasLt() {
    FakeCublasLt fake = FakeCublasLt.open();
    fake.useDriver(driver);
    return Map.of(Nvrtc.VARIABLE, "none", CublasLt.VARIABLE, fake.environment().get(CublasLt.VARIABLE));
  }

  private static Map<String, String> withNvrtc() {
    Map<String, String> environment = Map.of(
        Nvrtc.VARIABLE, System.getenv().getOrDefault("HONE_TEST_NVRTC", ""), CublasLt.VARIABLE, "none");
    boolean there = Nvrtc.find(environment).isPresent();
    if (!there) {
      System.out.println(
          "skipped: no NVRTC on the class path (mvn -P cuda-redist), on the library path or in HONE_TEST_NVRTC");
    }
    Assumptions.assumeTrue(there, "no NVRTC");
    return environment;
  }

  /** Of sixteenths: products and sums of them are exact in f32, results are rounded once. */
  private static Tensor matrix(CudaKernels card, Arena arena, String name, long rows, long columns, int seed) {
    return bf16(card, arena, name, seed, rows, columns);
  }

  private static Tensor bf16(CudaKernels card, Arena arena, String name, int seed, long... shape) {
    Tensor tensor = Tensor.allocate(card.memory(), arena, name, DType.BF16, shape);
    float[] values = new float[Math.toIntExact(tensor.elements())];
    Random random = new Random(seed);
    for (int i = 0; i < values.length; i++) {
      values[i] = (random.nextInt(31) - 15) / 16.0f;
    }
    card.cast(tensor, Tensor.allocate(card.memory(), arena, name + "32", DType.F32, shape).set(values));
    return tensor;
  }

  /** y = x w^T and dx = dx + dy w by this card; and y's reference from the very inputs. */
  private record Products(float[] y, float[] dx, double[] reference) {
    static Products by(CudaKernels card) {
      try (Arena arena = Arena.ofShared()) {
        Tensor x = matrix(card, arena, "x", M, K, 1);
        Tensor w = matrix(card, arena, "w", N, K, 2);
        Tensor y = matrix(card, arena, "y", M, N, 3);
        Tensor dx = matrix(card, arena, "dx", M, K, 4);
        Tensor dy = matrix(card, arena, "dy", M, N, 5);
        card.linearForward(y, x, w, null, false);
        card.linearBackwardInput(dx, dy, w, true);
        float[] xs = x.toFloats();
        float[] ws = w.toFloats();
        double[] reference = new double[M * N];
        for (int i = 0; i < M * N; i++) {
          for (int k = 0; k < K; k++) {
            reference[i] += (double) xs[i / N * K + k] * ws[i % N * K + k];
          }
        }
        return new Products(y.toFloats(), dx.toFloats(), reference);
      }
    }
  }

  @Test
  void cublasLtMultipliesWhenItMust() {
    try (CudaKernels card = open(new Rivalry(Rivalry.Use.ALWAYS, Rivalry.Use.NEVER), withCublasLt())) {
      Products products = Products.by(card);
      for (int i = 0; i < M * N; i++) {
        // One rounding of the result, to 8 bits.
        double bound = Math.abs(products.reference[i]) / 256 + 1e-6;
        assertThat((double) products.y[i]).isCloseTo(products.reference[i], within(bound));
      }
      assertThat(card.remarks()).isEmpty();
    }
  }

  /** Measuring runs each product nine times: an accumulated gradient must still be added once. */
  @Test
  void measuringTouchesNoTensorOfTheRun() throws Exception {
    Products shipped;
    try (CudaKernels card = open(Rivalry.NONE, NONE)) {
      shipped = Products.by(card);
      assertThat(card.remarks()).isEmpty();
    }
    try (CudaKernels card = open(Rivalry.AUTO, withCublasLt())) {
      Products chosen = Products.by(card);
      assertThat(card.remarks()).hasSize(2)
          .allMatch(line -> line.contains("(measured; cuda_products overrules)"))
          .anyMatch(line -> line.startsWith("linear_fwd/bf16/32x40x48/48,48,40 hone_linear_fwd_bf16"))
          .anyMatch(line -> line.startsWith("linear_bwd_input+/bf16/32x40x48/40,48,48 "));
      // Exact sums, rounded once: the same bits whoever multiplies.
      assertThat(chosen.y).isEqualTo(shipped.y);
      assertThat(chosen.dx).isEqualTo(shipped.dx);
    }
    try (CudaKernels card = open(Rivalry.AUTO, withCublasLt())) {
      Products.by(card);
      assertThat(card.remarks()).hasSize(2).allMatch(line -> line.contains("(remembered; cuda_products overrules)"));
    }
  }

  /** Batches differ in their rows from step to step, and a loss in its labelled ones. */
  @Test
  void otherRowsOfKnownWorkTakeNoMemoryToMeasure() {
    try (Arena arena = Arena.ofShared(); CudaKernels card = open(Rivalry.AUTO, withCublasLt())) {
      Tensor x = matrix(card, arena, "x", M, K, 1);
      Tensor w = matrix(card, arena, "w", N, K, 2);
      Tensor y = matrix(card, arena, "y", M, N, 3);
      card.linearForward(y, x, w, null, false);
      long before = StandIn.counter("allocations");
      card.linearForward(y.rows(M - 3), x.rows(M - 3), w, null, false);
      card.synchronize();
      assertThat(StandIn.counter("allocations")).isEqualTo(before);
      assertThat(card.remarks()).hasSize(1);
    }
  }

  @Test
  void aProductOfCublasLtAllocatesNothingOnTheHeap() {
    boolean counts = ManagementFactory.getThreadMXBean() instanceof ThreadMXBean bean
        && bean.isThreadAllocatedMemorySupported();
    Assumptions.assumeTrue(counts, "skipped: this JVM does not count a thread's allocations");
    ThreadMXBean meter = (ThreadMXBean) ManagementFactory.getThreadMXBean();
    Rivalry rivalry = new Rivalry(Rivalry.Use.ALWAYS, Rivalry.Use.NEVER);
    try (Arena arena = Arena.ofShared(); CudaKernels card = open(rivalry, withCublasLt())) {
      Tensor x = matrix(card, arena, "x", M, K, 1);
      Tensor w = matrix(card, arena, "w", N, K, 2);
      Tensor y = matrix(card, arena, "y", M, N, 3);
      long least = Long.MAX_VALUE;
      for (int i = 0; i < 30; i++) {
        long before = meter.getCurrentThreadAllocatedBytes();
        for (int product = 0; product < 100; product++) {
          card.linearForward(y, x, w, null, false);
        }
        least = Math.min(least, meter.getCurrentThreadAllocatedBytes() - before);
      }
      System.out.printf("100 products of cuBLASLt: %d bytes%n", least);
      assertThat(least).as("of 100 products").isLessThan(100);
    }
  }

  @Test
  void aProductWithABiasStaysWithTheShippedKernel() {
    try (Arena arena = Arena.ofShared();
        CudaKernels card = open(new Rivalry(Rivalry.Use.ALWAYS, Rivalry.Use.NEVER), withCublasLt())) {
      Tensor bias = Tensor.allocate(card.memory(), arena, "bias", DType.F32, N).set(new float[N]);
      Tensor y = matrix(card, arena, "y", M, N, 3);
      card.linearForward(y, matrix(card, arena, "x", M, K, 1), matrix(card, arena, "w", N, K, 2), bias, false);
      float[] withBias = y.toFloats();
      card.linearForward(y, matrix(card, arena, "x", M, K, 1), matrix(card, arena, "w", N, K, 2), null, false);
      assertThat(withBias).isEqualTo(y.toFloats());
    }
  }

  @Test
  void aRivalThatMustBeThereAndIsNotIsTheUsersToKnow() {
    assertThatThrownBy(() -> open(new Rivalry(Rivalry.Use.ALWAYS, Rivalry.Use.NEVER), NONE))
        .isInstanceOf(UserError.class)
        .hasMessageContaining("cuda_products: cublaslt cannot be had: it is not on this machine");
    assertThatThrownBy(() -> open(new Rivalry(Rivalry.Use.NEVER, Rivalry.Use.ALWAYS), NONE))
        .isInstanceOf(UserError.class)
        .hasMessageContaining("cuda_kernels: nvrtc cannot be had");
    try (CudaKernels card = open(Rivalry.AUTO, NONE)) {
      assertThat(card.remarks()).isEmpty();
    }
  }

  /** y and dx of a norm, wide and narrow rows, and of a turn by RoPE. */
  private static List<float[]> rows(CudaKernels card) {
    try (Arena arena = Arena.ofShared()) {
      List<float[]> results = new java.util.ArrayList<>();
      for (long c : new long[] {200, 1536}) {
        Tensor x = matrix(card, arena, "x", 5, c, 1);
        Tensor w = Tensor.allocate(card.memory(), arena, "w", DType.F32, c).set(matrix(card, arena, "w", 1, c,
            2).toFloats());
        Tensor rstd = Tensor.allocate(card.memory(), arena, "rstd", DType.F32, 5);
        Tensor y = matrix(card, arena, "y", 5, c, 3);
        Tensor dx = matrix(card, arena, "dx", 5, c, 4);
        card.rmsNormForward(y, rstd, x, w, 1e-5f, 0);
        card.rmsNormBackward(dx, null, y, x, w, rstd, 0, true);
        results.addAll(List.of(y.toFloats(), rstd.toFloats(), dx.toFloats()));
      }
      Tensor heads = bf16(card, arena, "q", 6, 5, 3, 32);
      Tensor cos = Tensor.allocate(card.memory(), arena, "cos", DType.F32, 8, 16).set(matrix(card, arena, "c", 8, 16,
          7).toFloats());
      Tensor sin = Tensor.allocate(card.memory(), arena, "sin", DType.F32, 8, 16).set(matrix(card, arena, "s", 8, 16,
          8).toFloats());
      Tensor positions = Tensor.allocate(card.memory(), arena, "positions", DType.I32, 5).set(new int[] {0, 1, 2, 7,
          3});
      Tensor keys = bf16(card, arena, "k", 9, 5, 1, 32);
      card.ropeForward(heads, keys, cos, sin, positions);
      results.addAll(List.of(heads.toFloats(), keys.toFloats()));
      return results;
    }
  }

  /** The same source, the same order of sums: fixed arguments change no bit. */
  @Test
  void kernelsCompiledForTheCardComputeTheSame() {
    Map<String, String> environment = withNvrtc();
    List<float[]> shipped;
    try (CudaKernels card = open(Rivalry.NONE, NONE)) {
      shipped = rows(card);
    }
    try (CudaKernels card = open(new Rivalry(Rivalry.Use.NEVER, Rivalry.Use.ALWAYS), environment)) {
      List<float[]> compiled = rows(card);
      assertThat(card.remarks()).isEmpty();
      for (int i = 0; i < shipped.size(); i++) {
        assertThat(compiled.get(i)).as("result %d", i).isEqualTo(shipped.get(i));
      }
      try (var kept = Files.list(cache.resolve("kernels"))) {
        assertThat(kept.count()).isEqualTo(5);
      } catch (java.io.IOException e) {
        throw new AssertionError(e);
      }
    }
  }
}
