package dev.hone.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.EachIsa;
import dev.hone.testing.GuardedTensors;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** I8 against its formula, evaluated here in the same f32 steps: codes, scales and decoded values are equal exactly. */
class Int8Test {
  private final CpuKernels kernels = new CpuKernels();

  @ParameterizedTest
  @CsvSource({"1, 1", "3, 65", "17, 64", "2, 5000", "130, 33"})
  void quantisesAndDecodesAsTheFormulaSays(int n, int k) {
    float[] values = GuardedTensors.random(n * 31L + k, (long) n * k);
    java.util.Arrays.fill(values, 0, k, n > 1 ? 0 : values[0]); // a row of zeros where there is a row to spare
    try (var t = new GuardedTensors()) {
      Tensor w = t.int8(kernels, "w", values, n, k);
      float[] want = new float[n * k];
      for (int row = 0; row < n; row++) {
        float max = 0;
        for (int i = 0; i < k; i++) {
          max = Math.max(max, Math.abs(values[row * k + i]));
        }
        float scale = max / 127f;
        assertThat(w.quant().absmax().toFloats()[row]).isEqualTo(scale);
        for (int i = 0; i < k; i++) {
          float q = max == 0 ? 0 : (float) Math.rint(values[row * k + i] * (127f / max));
          q = Math.clamp(q, -127, 127);
          assertThat(w.data().get(ValueLayout.JAVA_BYTE, (long) row * k + i)).isEqualTo((byte) q);
          want[row * k + i] = (int) q * scale; // a byte has no -0
          assertThat(Math.abs(want[row * k + i] - values[row * k + i])).isLessThanOrEqualTo(scale * (0.5f + 127 * 0x1p-22f));
        }
      }
      EachIsa.run(kernels, isa -> {
        Tensor out = t.allocate("out", DType.F32, n, k);
        kernels.cast(out, w);
        assertThat(out.toFloats()).as(isa.toString()).isEqualTo(want);
      });
      assertThat(t.damage()).isNull();
    }
  }

  @Test
  void sixteenBitWeightsQuantiseAsTheirValues() {
    float[] values = GuardedTensors.random(5, 7 * 40L);
    for (DType dtype : new DType[] {DType.BF16, DType.F16}) {
      try (var t = new GuardedTensors()) {
        Tensor half = t.of("half", dtype, values, 7, 40);
        Tensor codes = t.allocate("codes", DType.U8, 7 * 40L);
        Tensor scale = t.allocate("scale", DType.F32, 7);
        kernels.int8Quantize(codes, scale, half);
        Tensor same = t.int8(kernels, "same", half.toFloats(), 7, 40);
        assertThat(codes.data().mismatch(same.data())).isEqualTo(-1);
        assertThat(scale.toFloats()).isEqualTo(same.quant().absmax().toFloats());
      }
    }
  }

  @Test
  void refusesWhatDoesNotFit() {
    try (var t = new GuardedTensors()) {
      Tensor w = t.zeros("w", DType.F32, 2, 3);
      assertThatThrownBy(() -> kernels.int8Quantize(t.zeros("codes", DType.U8, 5), t.zeros("s", DType.F32, 2), w))
          .isInstanceOf(NativeException.class).hasMessageContaining("codes is u8 [5], want u8 [6]");
      assertThatThrownBy(() -> kernels.int8Quantize(t.zeros("codes", DType.U8, 6), t.zeros("s", DType.F32, 3), w))
          .isInstanceOf(NativeException.class).hasMessageContaining("s is f32 [3], want f32 [2]");
    }
  }
}
