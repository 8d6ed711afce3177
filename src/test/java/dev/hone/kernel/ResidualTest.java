package dev.hone.kernel;

import static dev.hone.testing.GuardedTensors.bf16;
import static dev.hone.testing.KernelCase.bytes;
import static dev.hone.testing.KernelCase.dot;
import static dev.hone.testing.KernelCase.read;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.hone.kernel.cpu.CpuKernels.Isa;
import dev.hone.tensor.DType;
import dev.hone.testing.KernelCase;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class ResidualTest {
  static Stream<Isa> isas() {
    return KernelCase.isas();
  }

  /** Every instruction set gives the bits of f32 arithmetic with one rounding at the end. */
  @ParameterizedTest
  @MethodSource("isas")
  void addsAndScalesAlsoInPlace(Isa isa) {
    for (int n : new int[] {1, 7, 64, 2049, 5000}) {
      for (DType dtype : List.of(DType.F32, DType.BF16)) {
        for (float multiplier : new float[] {1, 0.22f}) {
          try (var f = new KernelCase(isa, 1)) {
            var x = f.normal("x", dtype, 1, n);
            var r = f.normal("r", dtype, 1, 1, n); // of another shape, equal in size
            float[] xs = x.toFloats(), rs = r.toFloats(), want = new float[n], wantBack = new float[n];
            for (int i = 0; i < n; i++) {
              float product = multiplier * rs[i], sum = xs[i] + product;
              want[i] = dtype == DType.F32 ? sum : bf16(sum);
              wantBack[i] = dtype == DType.F32 ? product : bf16(product);
            }
            var y = f.output("y", dtype, n);
            f.kernels.residualForward(y, x, r, multiplier);
            assertThat(y.toFloats()).isEqualTo(want);
            var overX = f.copy(x);
            f.kernels.residualForward(overX, overX, r, multiplier);
            assertThat(bytes(overX)).isEqualTo(bytes(y));
            var overR = f.copy(r);
            f.kernels.residualForward(overR, x, overR, multiplier);
            assertThat(bytes(overR)).isEqualTo(bytes(y));
            var dr = f.output("dr", dtype, n);
            f.kernels.residualBackward(dr, r, multiplier);
            assertThat(dr.toFloats()).isEqualTo(wantBack);
            var overDy = f.copy(r);
            f.kernels.residualBackward(overDy, overDy, multiplier);
            assertThat(bytes(overDy)).isEqualTo(bytes(dr));
          }
        }
      }
    }
  }

  /** Linear in r: (dy, forward(0, r)) = (backward(dy), r), a finite difference of any step. */
  @ParameterizedTest
  @MethodSource("isas")
  void backwardIsTheTransposeOfForward(Isa isa) {
    try (var f = new KernelCase(isa, 2)) {
      var x = f.zeros("x", DType.F32, 100);
      var r = f.normal("r", DType.F32, 1, 100);
      var dy = f.normal("dy", DType.F32, 1, 100);
      var y = f.output("y", DType.F32, 100);
      var dr = f.output("dr", DType.F32, 100);
      f.kernels.residualForward(y, x, r, 0.3f);
      f.kernels.residualBackward(dr, dy, 0.3f);
      assertThat(dot(read(y), read(dy))).isCloseTo(dot(read(dr), read(r)), within(1e-5)); // 100 f32 terms of ~0.3
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void wrongArgumentsAreNamed(Isa isa) {
    try (var f = new KernelCase(isa, 3)) {
      var y = f.output("y", DType.F32, 6);
      var x = f.normal("x", DType.F32, 1, 6);
      assertThatThrownBy(() -> f.kernels.residualForward(y, x, f.normal("r", DType.F32, 1, 5), 1))
          .isInstanceOf(NativeException.class)
          .hasMessage("residual_forward: y has 6 elements, r has 5");
      assertThatThrownBy(() -> f.kernels.residualBackward(y, f.normal("dy", DType.BF16, 1, 6), 1))
          .hasMessage("residual_backward: dy is bf16 [6], want f32 [6]");
      assertThatThrownBy(() -> f.kernels.residualForward(y, null, x, 1))
          .hasMessage("residual_forward: a required tensor is null");
    }
  }
}
