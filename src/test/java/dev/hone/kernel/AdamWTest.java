package dev.hone.kernel;

import static dev.hone.testing.KernelCase.assertClose;
import static dev.hone.testing.KernelCase.read;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.kernel.cpu.CpuKernels.Isa;
import dev.hone.tensor.DType;
import dev.hone.testing.KernelCase;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class AdamWTest {
  private static final double LR = 1e-2, BETA1 = 0.9, BETA2 = 0.999, EPS = 1e-8, DECAY = 0.1, CLIP = 0.5;

  static Stream<Isa> isas() {
    return KernelCase.isas();
  }

  /** Ten steps against the same in f64, and bit for bit against f32 with every operation rounded, in torch's order. */
  @ParameterizedTest
  @MethodSource("isas")
  void followsTorchsStep(Isa isa) {
    for (int n : new int[] {1, 7, 64, 2051}) {
      try (var f = new KernelCase(isa, n)) {
        var p = f.normal("p", DType.F32, 1, n);
        var m = f.zeros("m", DType.F32, n);
        var v = f.zeros("v", DType.F32, n);
        double[] p64 = read(p), m64 = new double[n], v64 = new double[n], scale = new double[n];
        float[] p32 = p.toFloats(), m32 = new float[n], v32 = new float[n];
        for (int step = 1; step <= 10; step++) {
          var grad = f.normal("grad", DType.F32, 0.1, n);
          float[] g32 = grad.toFloats();
          f.kernels.adamwStep(
              p, m, v, grad, (float) LR, (float) BETA1, (float) BETA2, (float) EPS, (float) DECAY, (float) CLIP, step);
          assertThat(grad.toFloats()).isEqualTo(g32);
          double correction1 = 1 - Math.pow(BETA1, step), correction2 = 1 - Math.pow(BETA2, step);
          double lr = (float) LR;
          float keep = (float) (1 - lr * (float) DECAY), root = (float) Math.sqrt(correction2);
          float stepSize = (float) (-lr / correction1), w1 = (float) (1 - BETA1), w2 = (float) (1 - BETA2);
          for (int i = 0; i < n; i++) {
            double g = CLIP * g32[i];
            p64[i] *= 1 - LR * DECAY;
            m64[i] = BETA1 * m64[i] + (1 - BETA1) * g;
            v64[i] = BETA2 * v64[i] + (1 - BETA2) * g * g;
            p64[i] -= LR / correction1 * m64[i] / (Math.sqrt(v64[i]) / Math.sqrt(correction2) + EPS);
            scale[i] = Math.max(scale[i], Math.abs(p64[i]) + 0.1);

            float gf = (float) CLIP * g32[i];
            m32[i] = m32[i] + w1 * (gf - m32[i]);
            v32[i] = v32[i] * (float) BETA2 + w2 * gf * gf;
            float denominator = (float) Math.sqrt(v32[i]) / root + (float) EPS;
            p32[i] = p32[i] * keep + stepSize * m32[i] / denominator;
          }
        }
        assertThat(p.toFloats()).isEqualTo(p32);
        assertThat(m.toFloats()).isEqualTo(m32);
        assertThat(v.toFloats()).isEqualTo(v32);
        assertClose(p, p64, scale, 40, 0); // ten steps of two roundings of p and of an update of 0.1 at most
        assertClose(v, v64, v64, 40, 0); // three roundings a step, in proportion: 1 - beta2 is 0.001, not 1 - 0.999f
      }
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void wrongArgumentsAreNamed(Isa isa) {
    try (var f = new KernelCase(isa, 1)) {
      var p = f.normal("lora_A", DType.F32, 1, 6);
      var m = f.zeros("m", DType.F32, 6);
      var g = f.zeros("grad", DType.F32, 2, 3);
      assertThatThrownBy(() -> f.kernels.adamwStep(p, m, f.zeros("v", DType.F32, 5), g, 1, 0.9f, 0.99f, 0, 0, 1, 1))
          .isInstanceOf(NativeException.class)
          .hasMessage("adamw_step: lora_A has 6 elements, v has 5");
      assertThatThrownBy(() -> f.kernels.adamwStep(p, m, m, g, 1, 0.9f, 0.99f, 0, 0, 1, 0))
          .hasMessage("adamw_step: step is 0, want 1 or more");
      assertThatThrownBy(() -> f.kernels.adamwStep(p, m, m, g, 1, 0.9f, 1, 0, 0, 1, 1))
          .hasMessage("adamw_step: betas are 0.9 and 1, want 0 or more and below 1");
      assertThatThrownBy(() -> f.kernels.adamwStep(p, m, m, f.zeros("grad", DType.BF16, 6), 1, 0.9f, 0.9f, 0, 0, 1, 1))
          .hasMessage("adamw_step: grad is bf16 [6], want f32 [6]");
    }
  }
}
