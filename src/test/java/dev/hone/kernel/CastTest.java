package dev.hone.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.math.BigDecimal;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;

/** Casts against the JDK's binary16 conversions and, for bf16, against the exact distance to both neighbours. */
class CastTest {
  private final Arena arena = Arena.ofConfined();
  private final CpuKernels kernels = new CpuKernels();

  @AfterEach
  void release() {
    arena.close();
  }

  private Tensor tensor(DType type, long n) {
    return Tensor.allocate(arena, "t", type, n);
  }

  private static short bits(Tensor t, int i) {
    return t.data().getAtIndex(ValueLayout.JAVA_SHORT, i);
  }

  /**
   * Every order of magnitude, both signs, ties of both 16-bit formats, the largest and smallest, and what is no number.
   */
  private static float[] samples() {
    Random random = new Random(1);
    float[] x = new float[40_001];
    for (int i = 0; i < x.length - 12; i++) {
      x[i] = Float.intBitsToFloat(random.nextInt());
      if (i % 4 == 1) {
        x[i] = Float.intBitsToFloat(Float.floatToRawIntBits(x[i]) & 0xffff0000 | 0x8000);
      } else if (i % 4 == 2) {
        x[i] = Float.float16ToFloat((short) random.nextInt()) * (1 + 0x1p-11f);
      }
    }
    float[] edges = {0f, -0f, 1f / 0, -1f / 0, 0f / 0, Float.MAX_VALUE, Float.MIN_VALUE, 65504f, 65519.996f, 65520f,
        0x1p-25f, 0x1.8p-25f};
    System.arraycopy(edges, 0, x, x.length - edges.length, edges.length);
    return x;
  }

  @Test
  void f16RoundsAsTheJdk() {
    float[] x = samples();
    Tensor in = tensor(DType.F32, x.length).set(x);
    Tensor out = tensor(DType.F16, x.length);
    kernels.cast(out, in);
    for (int i = 0; i < x.length; i++) {
      if (Float.isNaN(x[i])) {
        assertThat(Float.float16ToFloat(bits(out, i))).isNaN();
      } else {
        assertThat(bits(out, i)).as("%s", x[i]).isEqualTo(Float.floatToFloat16(x[i]));
      }
    }
  }

  @Test
  void everyF16WidensAsTheJdk() {
    Tensor in = tensor(DType.F16, 65536);
    for (int i = 0; i < 65536; i++) {
      in.data().setAtIndex(ValueLayout.JAVA_SHORT, i, (short) i);
    }
    Tensor out = tensor(DType.F32, 65536);
    kernels.cast(out, in);
    float[] widened = out.toFloats();
    for (int i = 0; i < 65536; i++) {
      assertThat(Float.floatToIntBits(widened[i])).as("%x", i)
          .isEqualTo(Float.floatToIntBits(Float.float16ToFloat((short) i)));
    }
  }

  @Test
  void bf16TakesTheNearerNeighbourAndTheEvenOneOfTwo() {
    float[] x = samples();
    Tensor in = tensor(DType.F32, x.length).set(x);
    Tensor out = tensor(DType.BF16, x.length);
    kernels.cast(out, in);
    for (int i = 0; i < x.length; i++) {
      int down = Float.floatToRawIntBits(x[i]) & 0xffff0000;
      float below = Float.intBitsToFloat(down);
      float above = Float.intBitsToFloat(down + 0x10000);
      float got = Float.intBitsToFloat(bits(out, i) << 16);
      if (Float.isNaN(x[i])) {
        assertThat(got).isNaN();
      } else if (Float.isInfinite(x[i]) || Float.isInfinite(above)) {
        // The last step before infinity: IEEE 754 rounds from half a step past the largest number on.
        boolean up = !Float.isInfinite(x[i]) && (Float.floatToRawIntBits(x[i]) & 0xffff) >= 0x8000;
        assertThat(got).as("%s", x[i]).isEqualTo(up ? above : below);
      } else {
        int nearer = distance(x[i], below).compareTo(distance(x[i], above));
        boolean even = (down & 0x10000) == 0;
        assertThat(got).as("%s", x[i]).isEqualTo(nearer < 0 || (nearer == 0 && even) ? below : above);
      }
    }
  }

  private static BigDecimal distance(float a, float b) {
    return new BigDecimal(a).subtract(new BigDecimal(b)).abs();
  }

  @Test
  void countsWhatIsNotFinite() {
    Tensor count = tensor(DType.F64, 1);
    for (DType type : new DType[] {DType.F32, DType.BF16, DType.F16}) {
      Tensor f32 = tensor(DType.F32, 1003);
      float[] x = new float[1003];
      x[0] = Float.NaN;
      x[500] = Float.POSITIVE_INFINITY;
      x[1002] = Float.NEGATIVE_INFINITY;
      x[3] = 65504f;
      f32.set(x);
      Tensor in = tensor(type, 1003);
      kernels.cast(in, f32);
      kernels.countNonFinite(count, in);
      assertThat(count.data().get(ValueLayout.JAVA_DOUBLE, 0)).as(type.toString()).isEqualTo(3);
    }
  }

  @Test
  void refusesTensorsOfDifferentSize() {
    assertThatThrownBy(() -> kernels.cast(tensor(DType.BF16, 3), tensor(DType.F32, 4)))
        .isInstanceOf(NativeException.class).hasMessageContaining("cast");
  }

  @Test
  void copiesRowsBetweenPlacesAndTypes() {
    int width = 4099; // longer than the block that is converted at once
    float[] x = new float[3 * width];
    for (int i = 0; i < x.length; i++) {
      x[i] = i % 251 - 125; // exact in bf16
    }
    Tensor in = Tensor.allocate(arena, "in", DType.F32, 3, width).set(x);
    Tensor out = Tensor.allocate(arena, "out", DType.BF16, 4, width);
    kernels.copyRows(out, 2, in, 1);
    float[] got = out.toFloats();
    for (int i = 0; i < got.length; i++) {
      assertThat(got[i]).as("element %d", i).isEqualTo(i < 2 * width ? 0f : x[i - width]);
    }
  }

  @Test
  void refusesRowsThatAreNotThere() {
    Tensor in = Tensor.allocate(arena, "in", DType.F32, 3, 5);
    Tensor out = Tensor.allocate(arena, "out", DType.F32, 4, 5);
    assertThatThrownBy(() -> kernels.copyRows(out, 4, in, 0)).hasMessage("copy_rows: row 4 of out, which has 4");
    assertThatThrownBy(() -> kernels.copyRows(out, 0, in, 3)).hasMessage("copy_rows: row 3 of in, which has 3");
    Tensor narrow = Tensor.allocate(arena, "narrow", DType.F32, 3, 4);
    assertThatThrownBy(() -> kernels.copyRows(out, 0, narrow, 0)).hasMessageContaining("narrow is f32 [3,4]");
  }
}
