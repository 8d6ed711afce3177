package dev.hone.kernel;

import static dev.hone.testing.KernelCase.assertClose;
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
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class GatedTest {
  private static final int[][] SHAPES = {{1, 1}, {3, 7}, {2, 64}, {5, 1001}, {1, 4097}}; // M, I

  static Stream<Isa> isas() {
    return KernelCase.isas();
  }

  /** erfc in f64: 1 - the Taylor series of erf below 2, the continued fraction above. */
  private static double erfc(double x) {
    double a = Math.abs(x);
    double tail;
    if (a < 2) {
      double term = a, sum = a;
      for (int n = 1; n < 60; n++) {
        term *= -a * a / n;
        sum += term / (2 * n + 1);
      }
      tail = 1 - 2 / Math.sqrt(Math.PI) * sum;
    } else {
      double fraction = 0;
      for (int n = 200; n > 0; n--) {
        fraction = n / 2.0 / (a + fraction);
      }
      tail = Math.exp(-a * a) / Math.sqrt(Math.PI) / (a + fraction);
    }
    return x < 0 ? 2 - tail : tail;
  }

  private static double logistic(double x) {
    return 1 / (1 + Math.exp(-x));
  }

  /** act(g) = g share(g); for GELU_TANH (1 + tanh t) / 2 is logistic(2t), which does not cancel. */
  private static double share(Activation activation, double g) {
    return switch (activation) {
      case SILU -> logistic(g);
      case GELU_TANH -> logistic(2 * Math.sqrt(2 / Math.PI) * (g + 0.044715 * g * g * g));
      case GELU_ERF -> 0.5 * erfc(-g / Math.sqrt(2));
    };
  }

  private static double act(Activation activation, double g) {
    return g * share(activation, g);
  }

  private static double slope(Activation activation, double g) {
    double s = share(activation, g);
    return switch (activation) {
      case SILU -> s + g * s * (1 - s);
      case GELU_TANH -> s + g * s * (1 - s) * 2 * Math.sqrt(2 / Math.PI) * (1 + 3 * 0.044715 * g * g);
      case GELU_ERF -> s + g * Math.exp(-g * g / 2) / Math.sqrt(2 * Math.PI);
    };
  }

  @Test
  void theReferencesSlopeIsTheDerivativeOfItsActivation() {
    for (Activation activation : Activation.values()) {
      for (double g = -6; g <= 6; g += 0.37) {
        double at = g;
        double numeric = KernelCase.derivative(step -> act(activation, at + step), 1e-3);
        assertThat(slope(activation, g)).as(activation + " " + g).isCloseTo(numeric, within(1e-10));
      }
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void matchesTheReferenceAlsoInPlace(Isa isa) {
    for (Activation activation : Activation.values()) {
      for (int[] shape : SHAPES) {
        for (DType dtype : List.of(DType.F32, DType.BF16)) {
          matches(isa, activation, dtype, shape[0], shape[1]);
        }
      }
    }
  }

  private static void matches(Isa isa, Activation activation, DType dtype, int m, int i) {
    try (var f = new KernelCase(isa, 1)) {
      var gate = f.normal("gate", dtype, 3, m, i);
      var up = f.normal("up", dtype, 1, m, i);
      var dy = f.normal("dy", dtype, 1, m, i);
      var y = f.output("y", dtype, m, i);
      var dgate = f.output("dgate", dtype, m, i);
      var dup = f.output("dup", dtype, m, i);
      f.kernels.gatedForward(y, gate, up, activation);
      f.kernels.gatedBackward(dgate, dup, dy, gate, up, activation);
      double[] g = read(gate), u = read(up), d = read(dy);
      double[] wantY = new double[g.length], wantGate = new double[g.length], wantUp = new double[g.length];
      double[] termsY = new double[g.length], termsGate = new double[g.length], termsUp = new double[g.length];
      for (int k = 0; k < g.length; k++) {
        double a = act(activation, g[k]);
        wantY[k] = a * u[k];
        wantUp[k] = d[k] * a;
        wantGate[k] = d[k] * u[k] * slope(activation, g[k]);
        // e^-g turns a unit of the cubic argument into |argument| units of the value
        double size = Math.abs(g[k]);
        double argument = activation == Activation.SILU ? 1 : 1 + size + 0.0713 * size * size * size;
        termsY[k] = Math.abs(wantY[k]) * argument;
        termsUp[k] = Math.abs(wantUp[k]) * argument;
        termsGate[k] = Math.abs(d[k] * u[k]) * (1 + Math.abs(g[k])) * Math.min(2, argument);
      }
      assertClose(y, wantY, termsY, 8, 1.01);
      assertClose(dup, wantUp, termsUp, 8, 1.01);
      assertClose(dgate, wantGate, termsGate, 8, 1.01);

      var overGate = f.copy(gate);
      f.kernels.gatedForward(overGate, overGate, up, activation);
      assertThat(bytes(overGate)).as("y over gate").isEqualTo(bytes(y));
      var overUp = f.copy(up);
      f.kernels.gatedForward(overUp, gate, overUp, activation);
      assertThat(bytes(overUp)).as("y over up").isEqualTo(bytes(y));

      var gate2 = f.copy(gate);
      var up2 = f.copy(up);
      f.kernels.gatedBackward(gate2, up2, dy, gate2, up2, activation);
      assertThat(bytes(gate2)).as("dgate over gate").isEqualTo(bytes(dgate));
      assertThat(bytes(up2)).as("dup over up").isEqualTo(bytes(dup));
      var gate3 = f.copy(gate);
      var dy3 = f.copy(dy);
      f.kernels.gatedBackward(gate3, dy3, dy3, gate3, up, activation);
      assertThat(bytes(gate3)).as("dgate over gate").isEqualTo(bytes(dgate));
      assertThat(bytes(dy3)).as("dup over dy").isEqualTo(bytes(dup));
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void backwardIsTheDerivativeOfForward(Isa isa) {
    for (Activation activation : Activation.values()) {
      try (var f = new KernelCase(isa, 2)) {
        var gate = f.normal("gate", DType.F32, 2, 3, 21);
        var up = f.normal("up", DType.F32, 1, 3, 21);
        var dy = f.normal("dy", DType.F32, 1, 3, 21);
        var y = f.output("y", DType.F32, 3, 21);
        var dgate = f.output("dgate", DType.F32, 3, 21);
        var dup = f.output("dup", DType.F32, 3, 21);
        f.kernels.gatedBackward(dgate, dup, dy, gate, up, activation);
        double[] g0 = read(gate), u0 = read(up);
        double[] vg = read(f.normal("vg", DType.F32, 1, 3, 21)), vu = read(f.normal("vu", DType.F32, 1, 3, 21));
        double got =
            KernelCase.derivative(
                step -> {
                  KernelCase.shift(gate, g0, vg, step);
                  KernelCase.shift(up, u0, vu, step);
                  f.kernels.gatedForward(y, gate, up, activation);
                  return dot(read(y), read(dy));
                },
                0x1p-5);
        // f32 noise of 4e-6 over the step
        assertThat(dot(read(dgate), vg) + dot(read(dup), vu)).isCloseTo(got, within(3e-3));
      }
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void saturatesWithoutNaN(Isa isa) {
    for (Activation activation : Activation.values()) {
      try (var f = new KernelCase(isa, 3)) {
        float[] gates = {-1e4f, -200, -88.8f, -20, -0f, 0, 20, 88.8f, 200, 1e4f, Float.NaN, 1, 2, 3, 4, 5, 6};
        var gate = f.of("gate", DType.F32, gates, 1, gates.length);
        float[] ones = new float[gates.length];
        java.util.Arrays.fill(ones, 1);
        var up = f.of("up", DType.F32, ones, 1, gates.length);
        var y = f.output("y", DType.F32, 1, gates.length);
        var dgate = f.output("dgate", DType.F32, 1, gates.length);
        var dup = f.output("dup", DType.F32, 1, gates.length);
        f.kernels.gatedForward(y, gate, up, activation);
        f.kernels.gatedBackward(dgate, dup, up, gate, up, activation);
        for (int k = 0; k < gates.length; k++) {
          if (Float.isNaN(gates[k])) {
            assertThat(y.toFloats()[k]).isNaN();
            assertThat(dgate.toFloats()[k]).isNaN();
          } else {
            double want = act(activation, gates[k]);
            assertThat((double) y.toFloats()[k]).isCloseTo(want, within(1e-6 * (1 + Math.abs(want))));
            assertThat((double) dgate.toFloats()[k]).isCloseTo(slope(activation, gates[k]), within(1e-5));
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void wrongArgumentsAreNamed(Isa isa) {
    try (var f = new KernelCase(isa, 4)) {
      var y = f.output("y", DType.F32, 2, 3);
      var gate = f.normal("gate", DType.F32, 1, 2, 3);
      assertThatThrownBy(() -> f.kernels.gatedForward(y, gate, f.normal("up", DType.F32, 1, 2, 4), Activation.SILU))
          .isInstanceOf(NativeException.class)
          .hasMessage("gated_forward: up is f32 [2,4], want f32 [2,3]");
      var dy = f.normal("dy", DType.BF16, 1, 2, 3);
      assertThatThrownBy(() -> f.kernels.gatedBackward(y, gate, dy, gate, gate, Activation.SILU))
          .hasMessage("gated_backward: dy is bf16 [2,3], want f32 [2,3]");
      assertThatThrownBy(() -> f.kernels.gatedForward(y, gate, null, Activation.SILU))
          .hasMessage("gated_forward: a required tensor is null");
    }
  }
}
