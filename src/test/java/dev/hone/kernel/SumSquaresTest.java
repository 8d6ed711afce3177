package dev.hone.kernel;

import static dev.hone.testing.KernelCase.read;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.hone.kernel.cpu.CpuKernels.Isa;
import dev.hone.tensor.DType;
import dev.hone.testing.KernelCase;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class SumSquaresTest {
  static Stream<Isa> isas() {
    return KernelCase.isas();
  }

  @ParameterizedTest
  @MethodSource("isas")
  void addsToOutAndDoesNotDependOnTheThreadCount(Isa isa) {
    for (int n : new int[] {0, 1, 17, 65536, 200_003}) {
      try (var f = new KernelCase(isa, n)) {
        var x = f.normal("x", DType.F32, 1, Math.max(1, n)).rows(n);
        double want = 3;
        for (double v : read(x)) {
          want += v * v;
        }
        double[] first = null;
        for (int threads : new int[] {1, 2, 3}) {
          f.kernels.useThreads(threads);
          var out = f.zeros("out", DType.F64, 1);
          out.data().set(java.lang.foreign.ValueLayout.JAVA_DOUBLE, 0, 3);
          f.kernels.sumSquares(out, x);
          first = first == null ? read(out) : first;
          assertThat(read(out)).isEqualTo(first);
        }
        // f64 sums in another order: a rounding for each element
        assertThat(first[0]).isCloseTo(want, within(n * 0x1p-53 * want));
      }
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void largeValuesDoNotOverflow(Isa isa) {
    try (var f = new KernelCase(isa, 1)) {
      var x = f.of("x", DType.F32, new float[] {3e30f, 4e30f}, 2);
      var out = f.zeros("out", DType.F64, 1);
      f.kernels.sumSquares(out, x);
      assertThat(Math.sqrt(read(out)[0])).isCloseTo(5e30, within(1e24)); // 3e30f and 4e30f are rounded to f32
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void wrongArgumentsAreNamed(Isa isa) {
    try (var f = new KernelCase(isa, 2)) {
      var x = f.normal("x", DType.F32, 1, 3);
      assertThatThrownBy(() -> f.kernels.sumSquares(f.zeros("out", DType.F32, 1), x))
          .isInstanceOf(NativeException.class)
          .hasMessage("sum_squares: out is f32 [1], want f64 [1]");
      assertThatThrownBy(() -> f.kernels.sumSquares(f.zeros("out", DType.F64, 1), f.normal("x", DType.BF16, 1, 3)))
          .hasMessage("sum_squares: x is bf16 [3], want f32 [3]");
    }
  }
}
