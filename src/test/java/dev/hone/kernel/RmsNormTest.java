package dev.hone.kernel;

import static dev.hone.testing.GuardedTensors.bf16;
import static dev.hone.testing.KernelCase.assertClose;
import static dev.hone.testing.KernelCase.bytes;
import static dev.hone.testing.KernelCase.dot;
import static dev.hone.testing.KernelCase.read;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.hone.kernel.cpu.CpuKernels.Isa;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.KernelCase;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class RmsNormTest {
  private static final int[][] SHAPES = {{1, 1}, {3, 7}, {5, 64}, {2, 1000}, {4, 2051}}; // M, C
  private static final List<DType> ACTIVATIONS = List.of(DType.F32, DType.BF16);
  private static final float EPS = 1e-5f;

  static Stream<Isa> isas() {
    return KernelCase.isas();
  }

  /** y, dx, dw in f64, with the magnitudes of their terms. */
  private record Reference(double[] y, double[] rstd, double[] dx, double[] dxTerms, double[] dw, double[] dwTerms) {}

  private static Reference reference(Tensor x, Tensor w, Tensor dy, double offset) {
    int m = (int) x.shape(0), c = (int) x.shape(1);
    double[] xs = read(x), ws = read(w), dys = read(dy);
    int n = m * c;
    var r = new Reference(new double[n], new double[m], new double[n], new double[n], new double[c], new double[c]);
    for (int i = 0; i < m; i++) {
      double squares = 0, s = 0, sTerms = 0;
      for (int k = 0; k < c; k++) {
        squares += xs[i * c + k] * xs[i * c + k];
        double term = dys[i * c + k] * (offset + ws[k]) * xs[i * c + k];
        s += term;
        sTerms += Math.abs(term);
      }
      double rstd = r.rstd[i] = 1 / Math.sqrt(squares / c + EPS);
      for (int k = 0; k < c; k++) {
        int at = i * c + k;
        double g = offset + ws[k], xhat = xs[at] * rstd;
        r.y[at] = xhat * g;
        r.dx[at] = rstd * (g * dys[at] - xhat * rstd * s / c);
        r.dxTerms[at] = rstd * (Math.abs(g * dys[at]) + Math.abs(xhat * rstd) * sTerms / c);
        r.dw[k] += dys[at] * xhat;
        r.dwTerms[k] += Math.abs(dys[at] * xhat);
      }
    }
    return r;
  }

  private static double[] abs(double[] values) {
    return java.util.Arrays.stream(values).map(Math::abs).toArray();
  }

  private static double[] sum(double[] a, double[] b) {
    double[] out = a.clone();
    for (int i = 0; i < out.length; i++) {
      out[i] += b[i];
    }
    return out;
  }

  @ParameterizedTest
  @MethodSource("isas")
  void matchesTheReference(Isa isa) {
    for (int[] shape : SHAPES) {
      for (DType dtype : ACTIVATIONS) {
        for (DType stored : shape[1] < 64 ? List.of(DType.F32, DType.BF16, DType.F16) : List.of(dtype)) {
          for (float offset : new float[] {0, 1}) {
            matches(isa, shape[0], shape[1], dtype, stored, offset);
          }
        }
      }
    }
  }

  /** The bits of the two ops that it stands for, also over what it adds. */
  @ParameterizedTest
  @MethodSource("isas")
  void aSumIsNormedAsItIsStored(Isa isa) {
    for (int[] shape : SHAPES) {
      for (DType dtype : ACTIVATIONS) {
        for (float multiplier : new float[] {1, 0.22f}) {
          aSumIsNormed(isa, shape[0], shape[1], dtype, multiplier);
        }
      }
    }
  }

  private static void aSumIsNormed(Isa isa, int m, int c, DType dtype, float multiplier) {
    try (var f = new KernelCase(isa, 5)) {
      var a = f.normal("a", dtype, 2, m, c);
      var b = f.normal("b", dtype, 1, m, c);
      var w = f.normal("w", DType.F32, 1, c);
      var wantX = f.output("x", dtype, m, c);
      var wantY = f.output("y", dtype, m, c);
      var wantRstd = f.output("rstd", DType.F32, m);
      f.kernels.residualForward(wantX, a, b, multiplier);
      f.kernels.rmsNormForward(wantY, wantRstd, wantX, w, EPS, 0.5f);
      for (Tensor x : List.of(f.output("x", dtype, m, c), f.copy(a), f.copy(b))) {
        var y = f.output("y", dtype, m, c);
        var rstd = f.output("rstd", DType.F32, m);
        Tensor first = x.name().startsWith("a") ? x : a;
        Tensor second = x.name().startsWith("b") ? x : b;
        f.kernels.residualNormForward(y, rstd, x, first, second, multiplier, w, EPS, 0.5f);
        assertThat(bytes(x)).as("x over %s", x.name()).isEqualTo(bytes(wantX));
        assertThat(bytes(rstd)).isEqualTo(bytes(wantRstd));
        assertThat(bytes(y)).isEqualTo(bytes(wantY));
      }
      assertThatThrownBy(() -> f.kernels.residualNormForward(
              wantY, wantRstd, wantX, a, f.normal("b", dtype, 1, m, c + 1), 1, w, EPS, 0))
          .isInstanceOf(NativeException.class).hasMessageStartingWith("residual_rmsnorm_forward: b is ");
    }
  }

  private static void matches(Isa isa, int m, int c, DType dtype, DType stored, float offset) {
    try (var f = new KernelCase(isa, 1)) {
      var x = f.normal("x", dtype, 2, m, c);
      var w = f.normal("w", stored, 1, c);
      var dy = f.normal("dy", dtype, 1, m, c);
      var y = f.output("y", dtype, m, c);
      var rstd = f.output("rstd", DType.F32, m);
      f.kernels.rmsNormForward(y, rstd, x, w, EPS, offset);
      Reference want = reference(x, w, dy, offset);
      // f32: rstd (sum and root), gain and two products. bf16: one rounding.
      assertClose(rstd, want.rstd, want.rstd, 2, 0);
      assertClose(y, want.y, abs(want.y), 6, 1.01);

      var dx = f.output("dx", dtype, m, c);
      var dw = f.normal("dw", DType.F32, 1, c);
      double[] before = read(dw);
      f.kernels.rmsNormBackward(dx, dw, dy, x, w, rstd, offset, false);
      assertClose(dx, want.dx, want.dxTerms, 10, 1.01);
      assertClose(dw, sum(before, want.dw), sum(abs(before), want.dwTerms), 4, 0);

      // accumulated, and without dw
      var acc = f.normal("dx", dtype, 1, m, c);
      double[] base = read(acc);
      f.kernels.rmsNormBackward(acc, null, dy, x, w, rstd, offset, true);
      assertClose(acc, sum(base, want.dx), sum(abs(base), want.dxTerms), 11, 1.01);

      // dx over dy, y over x: the same bits
      var same = f.copy(dy);
      var dw2 = f.zeros("dw", DType.F32, c);
      dw2.set(floats(before));
      f.kernels.rmsNormBackward(same, dw2, same, x, w, rstd, offset, false);
      assertThat(bytes(same)).isEqualTo(bytes(dx));
      assertThat(bytes(dw2)).isEqualTo(bytes(dw));
      var inPlace = f.copy(x);
      f.kernels.rmsNormForward(inPlace, rstd, inPlace, w, EPS, offset);
      assertThat(bytes(inPlace)).isEqualTo(bytes(y));
    }
  }

  private static float[] floats(double[] values) {
    float[] out = new float[values.length];
    for (int i = 0; i < out.length; i++) {
      out[i] = (float) values[i];
    }
    return out;
  }

  /** In bf16 the product with w is made in f32, of x rstd as it is, whatever the kind of norm. */
  @ParameterizedTest
  @MethodSource("isas")
  void roundsOnce(Isa isa) {
    int m = 7, c = 300;
    try (var f = new KernelCase(isa, 2)) {
      var x = f.normal("x", DType.BF16, 1, m, c);
      var w = f.normal("w", DType.BF16, 1, c);
      var y = f.output("y", DType.BF16, m, c);
      var rstd = f.output("rstd", DType.F32, m);
      float[] xs = x.toFloats(), ws = w.toFloats();
      for (float offset : new float[] {0, 1}) {
        f.kernels.rmsNormForward(y, rstd, x, w, EPS, offset);
        float[] r = rstd.toFloats(), want = new float[m * c];
        for (int i = 0; i < want.length; i++) {
          want[i] = bf16(xs[i] * r[i / c] * (offset + ws[i % c]));
        }
        assertThat(y.toFloats()).isEqualTo(want);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void backwardIsTheDerivativeOfForward(Isa isa) {
    int m = 3, c = 37;
    try (var f = new KernelCase(isa, 3)) {
      var x = f.normal("x", DType.F32, 1, m, c);
      var w = f.normal("w", DType.F32, 1, c);
      var dy = f.normal("dy", DType.F32, 1, m, c);
      double[] x0 = read(x), alongX = read(f.normal("vx", DType.F32, 1, m, c));
      double[] w0 = read(w), alongW = read(f.normal("vw", DType.F32, 1, c));
      var y = f.output("y", DType.F32, m, c);
      var rstd = f.output("rstd", DType.F32, m);
      var dx = f.output("dx", DType.F32, m, c);
      var dw = f.zeros("dw", DType.F32, c);
      f.kernels.rmsNormForward(y, rstd, x, w, EPS, 1);
      f.kernels.rmsNormBackward(dx, dw, dy, x, w, rstd, 1, false);
      double want = dot(read(dx), alongX) + dot(read(dw), alongW);
      double got =
          KernelCase.derivative(
              step -> {
                KernelCase.shift(x, x0, alongX, step);
                KernelCase.shift(w, w0, alongW, step);
                f.kernels.rmsNormForward(y, rstd, x, w, EPS, 1);
                return dot(read(y), read(dy));
              },
              0x1p-5);
      // 111 terms of about 1: f32 noise of 1e-6 over the step, and h^4 = 1e-6 times fifth derivatives
      assertThat(want).isCloseTo(got, within(5e-3));
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void weightGradientHasTheSameBitsForEveryThreadCount(Isa isa) {
    int m = 50, c = 900;
    try (var f = new KernelCase(isa, 4)) {
      var x = f.normal("x", DType.BF16, 1, m, c);
      var w = f.normal("w", DType.BF16, 1, c);
      var dy = f.normal("dy", DType.BF16, 1, m, c);
      var rstd = f.output("rstd", DType.F32, m);
      var dx = f.output("dx", DType.BF16, m, c);
      f.kernels.rmsNormForward(dx, rstd, x, w, EPS, 0);
      byte[] first = null;
      for (int threads : new int[] {1, 2, 3}) {
        f.kernels.useThreads(threads);
        var dw = f.zeros("dw", DType.F32, c);
        f.kernels.rmsNormBackward(dx, dw, dy, x, w, rstd, 0, false);
        first = first == null ? bytes(dw) : first;
        assertThat(bytes(dw)).isEqualTo(first);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void wrongArgumentsAreNamed(Isa isa) {
    try (var f = new KernelCase(isa, 5)) {
      var x = f.normal("x", DType.F32, 1, 2, 4);
      var y = f.output("y", DType.F32, 2, 4);
      var rstd = f.output("rstd", DType.F32, 2);
      assertThatThrownBy(() -> f.kernels.rmsNormForward(y, rstd, x, f.normal("norm.weight", DType.F32, 1, 5), EPS, 0))
          .isInstanceOf(NativeException.class)
          .hasMessage("rmsnorm_forward: norm.weight is f32 [5], want f32|bf16|f16 [4]");
      var w = f.normal("w", DType.F32, 1, 4);
      assertThatThrownBy(() -> f.kernels.rmsNormForward(y, rstd, f.normal("x", DType.BF16, 1, 2, 4), w, EPS, 0))
          .hasMessage("rmsnorm_forward: x is bf16 [2,4], want f32 [2,4]");
      assertThatThrownBy(() -> f.kernels.rmsNormBackward(y, null, null, x, w, rstd, 0, false))
          .hasMessage("rmsnorm_backward: a required tensor is null");
      assertThat(y.toFloats()).containsOnly(Float.NaN);
    }
  }
}
