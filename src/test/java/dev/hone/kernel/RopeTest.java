package dev.hone.kernel;

import static dev.hone.testing.KernelCase.assertClose;
import static dev.hone.testing.KernelCase.dot;
import static dev.hone.testing.KernelCase.read;
import static dev.hone.testing.KernelCase.readInts;
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

class RopeTest {
  /** M, H, D, rot. */
  private static final int[][] SHAPES = {{1, 1, 2, 2}, {3, 2, 6, 6}, {5, 3, 64, 64}, {7, 1, 80, 32}, {2, 2, 7, 4}};

  private static final int POSITIONS = 50;

  static Stream<Isa> isas() {
    return KernelCase.isas();
  }

  /** cos or sin of position * 10000^(-2i/rot), times the attention factor. */
  private static Tensor table(KernelCase f, String name, int rot, double factor) {
    float[] values = new float[POSITIONS * rot / 2];
    for (int i = 0; i < values.length; i++) {
      double angle = i / (rot / 2) * Math.pow(10000, -2.0 * (i % (rot / 2)) / rot);
      values[i] = (float) (factor * (name.equals("cos") ? Math.cos(angle) : Math.sin(angle)));
    }
    return f.of(name, DType.F32, values, POSITIONS, rot / 2);
  }

  private static double[][] turned(Tensor x, Tensor cos, Tensor sin, Tensor positions, int rot, int direction) {
    int h = (int) x.shape(1), d = (int) x.shape(2), half = rot / 2;
    double[] out = read(x), terms = new double[out.length], in = out.clone(), c = read(cos), s = read(sin);
    int[] p = readInts(positions);
    for (int row = 0; row < in.length / d; row++) {
      for (int i = 0; i < half; i++) {
        int a = row * d + i, b = a + half, t = p[row / h] * half + i;
        out[a] = in[a] * c[t] - direction * in[b] * s[t];
        out[b] = in[b] * c[t] + direction * in[a] * s[t];
        terms[a] = Math.abs(in[a] * c[t]) + Math.abs(in[b] * s[t]);
        terms[b] = Math.abs(in[b] * c[t]) + Math.abs(in[a] * s[t]);
      }
    }
    return new double[][] {out, terms};
  }

  @ParameterizedTest
  @MethodSource("isas")
  void turnsForwardAndBack(Isa isa) {
    for (int[] s : SHAPES) {
      for (DType dtype : List.of(DType.F32, DType.BF16)) {
        try (var f = new KernelCase(isa, 1)) {
          int rot = s[3];
          var x = f.normal("q", dtype, 1, s[0], s[1], s[2]);
          var k = f.normal("k", dtype, 1, s[0], 1, s[2]);
          var cos = table(f, "cos", rot, 1.3);
          var sin = table(f, "sin", rot, 1.3);
          var positions = f.randomInts("positions", POSITIONS, s[0]);
          double[] before = read(x);
          double[][] ofK = turned(k, cos, sin, positions, rot, 1);
          double[][] forward = turned(x, cos, sin, positions, rot, 1);
          double[][] backward = turned(x, cos, sin, positions, rot, -1);
          double[][] backwardOfK = turned(k, cos, sin, positions, rot, -1);
          var dx = f.copy(x);
          var dk = f.copy(k);
          f.kernels.ropeForward(x, k, cos, sin, positions);
          assertClose(x, forward[0], forward[1], 2, 1.01); // two products and a sum, each half a unit
          assertClose(k, ofK[0], ofK[1], 2, 1.01);
          f.kernels.ropeBackward(dx, dk, cos, sin, positions);
          assertClose(dx, backward[0], backward[1], 2, 1.01);
          assertClose(dk, backwardOfK[0], backwardOfK[1], 2, 1.01);
          for (int i = 0; i < before.length; i++) {
            if (i % s[2] >= rot) {
              assertThat(read(x)[i]).as("beyond rot").isEqualTo(before[i]);
            }
          }
        }
      }
    }
  }

  /** R(-a) R(a) = 1. */
  @ParameterizedTest
  @MethodSource("isas")
  void backwardUndoesForward(Isa isa) {
    try (var f = new KernelCase(isa, 2)) {
      var x = f.normal("x", DType.F32, 1, 9, 4, 32);
      var cos = table(f, "cos", 32, 1);
      var sin = table(f, "sin", 32, 1);
      var positions = f.randomInts("positions", POSITIONS, 9);
      double[] before = read(x), scale = new double[before.length];
      java.util.Arrays.fill(scale, 4); // the largest partner
      var k = f.normal("k", DType.F32, 1, 9, 2, 32);
      double[] kBefore = read(k), kScale = new double[kBefore.length];
      java.util.Arrays.fill(kScale, 4);
      f.kernels.ropeForward(x, k, cos, sin, positions);
      f.kernels.ropeBackward(x, k, cos, sin, positions);
      assertClose(k, kBefore, kScale, 4, 0);
      assertClose(x, before, scale, 4, 0);
    }
  }

  /** The op is linear, so a finite difference is exact for any step: (dy, R x) = (R^T dy, x). */
  @ParameterizedTest
  @MethodSource("isas")
  void backwardIsTheTransposeOfForward(Isa isa) {
    try (var f = new KernelCase(isa, 3)) {
      var x = f.normal("x", DType.F32, 1, 9, 4, 34);
      var dy = f.normal("dy", DType.F32, 1, 9, 4, 34);
      var cos = table(f, "cos", 30, 1.7);
      var sin = table(f, "sin", 30, 1.7);
      var positions = f.randomInts("positions", POSITIONS, 9);
      double[] x0 = read(x), dy0 = read(dy);
      f.kernels.ropeForward(x, f.normal("k", DType.F32, 1, 9, 1, 34), cos, sin, positions);
      f.kernels.ropeBackward(dy, f.normal("dk", DType.F32, 1, 9, 1, 34), cos, sin, positions);
      assertThat(dot(dy0, read(x))).isCloseTo(dot(read(dy), x0), within(1e-4)); // 1224 f32 terms of ~1.7
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void wrongArgumentsAreNamed(Isa isa) {
    try (var f = new KernelCase(isa, 4)) {
      var x = f.normal("q", DType.F32, 1, 2, 1, 6);
      var k = f.normal("k", DType.F32, 1, 2, 1, 6);
      var cos = table(f, "cos", 8, 1);
      var sin = table(f, "sin", 8, 1);
      assertThatThrownBy(() -> f.kernels.ropeForward(x, k, cos, sin, f.ints("positions", 0, 1)))
          .isInstanceOf(NativeException.class)
          .hasMessage("rope_forward: cos turns 8 dims, q has heads of 6");
      var c4 = table(f, "cos", 4, 1);
      var s4 = table(f, "sin", 4, 1);
      assertThatThrownBy(() -> f.kernels.ropeBackward(x, k, c4, s4, f.ints("positions", 0, 50)))
          .hasMessage("rope_backward: positions[1] is 50, want 0 .. 49, the rows of cos");
      assertThatThrownBy(() -> f.kernels.ropeForward(x, k, c4, sin, f.ints("positions", 0, 1)))
          .hasMessage("rope_forward: sin is f32 [50,4], want f32 [50,2]");
      var wide = f.normal("k", DType.F32, 1, 2, 1, 8);
      assertThatThrownBy(() -> f.kernels.ropeForward(x, wide, c4, s4, f.ints("positions", 0, 1)))
          .hasMessage("rope_forward: k is f32 [2,1,8], want f32 [2,*,6]");
    }
  }
}
