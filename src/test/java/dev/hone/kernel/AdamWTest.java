package dev.hone.kernel;

import static dev.hone.testing.KernelCase.assertClose;
import static dev.hone.testing.KernelCase.read;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.hone.kernel.cpu.CpuKernels.Isa;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.KernelCase;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
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

  /** Ten steps bit for bit against f32 with every operation rounded, the nearest map value found by trying all. */
  @ParameterizedTest
  @MethodSource("isas")
  void keepsMomentsInEightBits(Isa isa) {
    for (int n : new int[] {1, 7, 256, 1000}) {
      try (var f = new KernelCase(isa, n)) {
        float[][] maps = maps(f);
        int blocks = (n + 255) / 256;
        var p = f.normal("p", DType.F32, 1, n);
        var m = f.zeros("m", DType.U8, n);
        var v = f.zeros("v", DType.U8, n);
        var mAbsmax = f.zeros("m_absmax", DType.F32, blocks);
        var vAbsmax = f.zeros("v_absmax", DType.F32, blocks);
        float[] want = p.toFloats(), mMax = new float[blocks], vMax = new float[blocks];
        int[] mCode = new int[n], vCode = new int[n];
        for (int step = 1; step <= 10; step++) {
          var grad = f.normal("grad", DType.F32, 0.1, n);
          if (step == 1) { // as of LoRA's A before B has moved: a block's absmax stays 0
            grad.zero();
          }
          f.kernels.adamw8Step(
              p, m, v, mAbsmax, vAbsmax, grad,
              (float) LR, (float) BETA1, (float) BETA2, (float) EPS, (float) DECAY, (float) CLIP, step);
          float[] g32 = grad.toFloats();
          double bias1 = (float) (1 - Math.pow(BETA1, step)), root = Math.sqrt((float) (1 - Math.pow(BETA2, step)));
          double lr = (float) LR;
          float keep = (float) (1 - lr * (float) DECAY), size = (float) (-lr * root / bias1);
          float eps = (float) (root * (float) EPS), w1 = (float) (1 - BETA1), w2 = (float) (1 - BETA2);
          float[] ms = new float[n], vs = new float[n], mNew = new float[blocks], vNew = new float[blocks];
          for (int i = 0; i < n; i++) {
            int b = i / 256;
            float g = (float) CLIP * g32[i];
            ms[i] = maps[0][mCode[i]] * mMax[b] * (float) BETA1 + w1 * g;
            vs[i] = maps[1][vCode[i]] * vMax[b] * (float) BETA2 + w2 * g * g;
            want[i] = (want[i] + size * (ms[i] / ((float) Math.sqrt(vs[i]) + eps))) * keep;
            mNew[b] = Math.max(mNew[b], Math.abs(ms[i]));
            vNew[b] = Math.max(vNew[b], vs[i]);
          }
          for (int i = 0; i < n; i++) {
            mCode[i] = nearest(maps[0], mNew[i / 256] > 0 ? ms[i] / mNew[i / 256] : 0);
            vCode[i] = nearest(maps[1], vNew[i / 256] > 0 ? vs[i] / vNew[i / 256] : 0);
            if (ms[i] < 0 && maps[0][mCode[i]] == 0) { // a negative moment keeps its sign
              mCode[i]--;
            }
          }
          mMax = mNew;
          vMax = vNew;
          assertThat(p.toFloats()).isEqualTo(want);
          assertThat(codes(m)).isEqualTo(mCode);
          assertThat(codes(v)).isEqualTo(vCode);
          assertThat(mAbsmax.toFloats()).isEqualTo(mMax);
          assertThat(vAbsmax.toFloats()).isEqualTo(vMax);
        }
      }
    }
  }

  /** From the definition: decade d has 2^d (unsigned: 2^(d+1)) means of neighbours on a grid over [0.1, 1]. */
  @Test
  void mapsAreTheDynamicOnes() {
    try (var f = new KernelCase(Isa.REFERENCE, 1)) {
      float[][] maps = maps(f);
      for (int unsigned = 0; unsigned < 2; unsigned++) {
        double[] want = new double[256];
        int at = 0;
        for (int d = 0; d < 7; d++) {
          int count = 1 << d + unsigned;
          for (int i = 0; i < count; i++) {
            double value = Math.pow(10, d - 6) * (0.1 + 0.9 * (i + 0.5) / count);
            want[at++] = value;
            if (unsigned == 0) {
              want[at++] = -value;
            }
          }
        }
        want[at] = 1; // and a 0
        Arrays.sort(want);
        assertThat(maps[unsigned]).isSorted();
        for (int i = 0; i < 256; i++) { // decade, grid points and mean are rounded
          assertThat((double) maps[unsigned][i]).isCloseTo(want[i], within(4 * 0x1p-24 * Math.abs(want[i])));
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void wrongEightBitArgumentsAreNamed(Isa isa) {
    try (var f = new KernelCase(isa, 1)) {
      var p = f.normal("lora_A", DType.F32, 1, 300);
      var m = f.zeros("m", DType.U8, 300);
      var absmax = f.zeros("absmax", DType.F32, 2);
      assertThatThrownBy(() -> f.kernels.adamw8Step(p, p, m, absmax, absmax, p, 1, 0.9f, 0.99f, 0, 0, 1, 1))
          .isInstanceOf(NativeException.class)
          .hasMessage("adamw8_step: lora_A is f32 [300], want u8 [300]");
      assertThatThrownBy(
              () -> f.kernels.adamw8Step(
                  p, m, m, f.zeros("m_absmax", DType.F32, 1), absmax, p, 1, 0.9f, 0.99f, 0, 0, 1, 1))
          .hasMessage("adamw8_step: m_absmax is f32 [1], want f32 [2]");
      var codes = f.zeros("codes", DType.U8, 299);
      assertThatThrownBy(() -> f.kernels.adamw8Step(p, codes, codes, absmax, absmax, p, 1, 0.9f, 0.99f, 0, 0, 1, 1))
          .hasMessage("adamw8_step: lora_A has 300 elements, codes has 299");
      assertThatThrownBy(() -> f.kernels.adamw8Step(p, m, m, absmax, absmax, p, 1, 0.9f, 0.99f, 0, 0, 1, 0))
          .hasMessage("adamw8_step: step is 0, want 1 or more");
    }
  }

  private static float[][] maps(KernelCase f) {
    var signed = f.output("signed_map", DType.F32, 256);
    var unsigned = f.output("unsigned_map", DType.F32, 256);
    f.kernels.adamw8Maps(signed, unsigned);
    return new float[][] {signed.toFloats(), unsigned.toFloats()};
  }

  /** The code of the value nearest to x, the lower of two that are equally near to a rounded half way. */
  private static int nearest(float[] map, float x) {
    int best = 0;
    while (best < 255 && x > (map[best] + map[best + 1]) / 2) {
      best++;
    }
    return best;
  }

  private static int[] codes(Tensor t) {
    byte[] bytes = KernelCase.bytes(t);
    int[] codes = new int[bytes.length];
    for (int i = 0; i < codes.length; i++) {
      codes[i] = bytes[i] & 0xff;
    }
    return codes;
  }
}
