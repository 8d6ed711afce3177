package dev.hone.kernel;

import static dev.hone.testing.GuardedTensors.bf16;
import static dev.hone.testing.KernelCase.bytes;
import static dev.hone.testing.KernelCase.dot;
import static dev.hone.testing.KernelCase.read;
import static dev.hone.testing.KernelCase.readInts;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.hone.kernel.cpu.CpuKernels.Isa;
import dev.hone.tensor.DType;
import dev.hone.testing.KernelCase;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class EmbeddingTest {
  private static final int[][] SHAPES = {{1, 1, 2}, {5, 7, 3}, {13, 64, 40}, {3, 2051, 5}}; // M, C, V

  static java.util.stream.Stream<Isa> isas() {
    return KernelCase.isas();
  }

  @ParameterizedTest
  @MethodSource("isas")
  void forwardIsTheScaledRowRoundedOnce(Isa isa) {
    for (int[] shape : SHAPES) {
      for (DType out : List.of(DType.F32, DType.BF16)) {
        for (DType stored : List.of(DType.F32, DType.BF16, DType.F16)) {
          for (float scale : new float[] {1, 11.313708f}) {
            forward(isa, shape[0], shape[1], shape[2], out, stored, scale);
          }
        }
      }
    }
  }

  private static void forward(Isa isa, int m, int c, int v, DType dtype, DType stored, float scale) {
    try (var f = new KernelCase(isa, 1)) {
      var table = f.normal("table", stored, 1, v, c);
      var ids = f.randomInts("ids", v, m);
      var out = f.output("out", dtype, m, c);
      f.kernels.embeddingForward(out, ids, table, scale);
      float[] rows = table.toFloats(), want = new float[m * c];
      int[] id = readInts(ids);
      for (int i = 0; i < want.length; i++) {
        float product = scale * rows[id[i / c] * c + i % c];
        want[i] = dtype == DType.F32 ? product : bf16(product);
      }
      assertThat(out.toFloats()).isEqualTo(want);
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void backwardAddsEveryUseOfARow(Isa isa) {
    for (int[] shape : SHAPES) {
      for (DType dtype : List.of(DType.F32, DType.BF16)) {
        int m = shape[0], c = shape[1], v = shape[2];
        try (var f = new KernelCase(isa, 2)) {
          var dtable = f.normal("dtable", DType.F32, 1, v, c);
          var ids = f.randomInts("ids", v, m);
          var dout = f.normal("dout", dtype, 1, m, c);
          double[] want = read(dtable), magnitude = read(dtable), given = read(dout);
          int[] id = readInts(ids);
          for (int i = 0; i < magnitude.length; i++) {
            magnitude[i] = Math.abs(magnitude[i]);
          }
          for (int i = 0; i < m * c; i++) {
            want[id[i / c] * c + i % c] += 1.5 * given[i];
            magnitude[id[i / c] * c + i % c] += Math.abs(1.5 * given[i]);
          }
          f.kernels.embeddingBackward(dtable, ids, dout, 1.5f);
          KernelCase.assertClose(dtable, want, magnitude, m + 1, 0); // a product and a sum for each use
        }
      }
    }
  }

  /** Linear in the table, so a finite difference is exact for any step: (dout, forward(T)) = (backward(dout), T). */
  @ParameterizedTest
  @MethodSource("isas")
  void backwardIsTheTransposeOfForward(Isa isa) {
    try (var f = new KernelCase(isa, 3)) {
      var table = f.normal("table", DType.F32, 1, 9, 33);
      var ids = f.randomInts("ids", 9, 20);
      var out = f.output("out", DType.F32, 20, 33);
      var dout = f.normal("dout", DType.F32, 1, 20, 33);
      var dtable = f.zeros("dtable", DType.F32, 9, 33);
      f.kernels.embeddingForward(out, ids, table, 3);
      f.kernels.embeddingBackward(dtable, ids, dout, 3);
      // 660 f32 terms of about 3
      assertThat(dot(read(dtable), read(table))).isCloseTo(dot(read(dout), read(out)), within(1e-4));
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void backwardGivesTheSameBitsForEveryThreadCount(Isa isa) {
    try (var f = new KernelCase(isa, 4)) {
      var ids = f.randomInts("ids", 4, 100);
      var dout = f.normal("dout", DType.F32, 1, 100, 700);
      byte[] first = null;
      for (int threads : new int[] {1, 2, 3}) {
        f.kernels.useThreads(threads);
        var dtable = f.zeros("dtable", DType.F32, 4, 700);
        f.kernels.embeddingBackward(dtable, ids, dout, 1);
        first = first == null ? bytes(dtable) : first;
        assertThat(bytes(dtable)).isEqualTo(first);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void wrongArgumentsAreNamed(Isa isa) {
    try (var f = new KernelCase(isa, 5)) {
      var table = f.normal("embed_tokens", DType.F32, 1, 10, 4);
      var out = f.output("x", DType.F32, 2, 4);
      assertThatThrownBy(() -> f.kernels.embeddingForward(out, f.ints("ids", 3, 10), table, 1))
          .isInstanceOf(NativeException.class)
          .hasMessage("embedding_forward: ids[1] is 10, want 0 .. 9, the rows of embed_tokens");
      assertThatThrownBy(() -> f.kernels.embeddingForward(out, f.ints("ids", 3, -1), table, 1))
          .hasMessageContaining("ids[1] is -1");
      assertThatThrownBy(() -> f.kernels.embeddingForward(out, f.ints("ids", 3), table, 1))
          .hasMessage("embedding_forward: ids is i32 [1], want i32 [2]");
      var wrong = f.zeros("dt", DType.BF16, 10, 4);
      assertThatThrownBy(() -> f.kernels.embeddingBackward(wrong, f.ints("ids", 3, 1), out, 1))
          .hasMessage("embedding_backward: dt is bf16 [10,4], want f32 [*,4]");
      assertThat(out.toFloats()).containsOnly(Float.NaN); // nothing was computed
    }
  }
}
