package dev.hone.kernel.cuda.redist;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.hone.kernel.NativeException;
import dev.hone.tensor.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Map;
import java.util.Random;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** What cuBLASLt is told, against a library that computes what it is told. */
class CublasLtTest {
  private static final short GUARD = 0x7b7b;

  private FakeCublasLt fake;
  private int before;

  @BeforeEach
  void open() {
    fake = FakeCublasLt.open();
    fake.useDriver(null);
    fake.offer(true);
    before = fake.live();
  }

  @AfterEach
  void nothingIsLeft() {
    if (fake != null) {
      fake.offer(true);
      assertThat(fake.live()).isEqualTo(before);
    }
  }

  /** A row-major matrix of 16-bit elements whose rows are {@code ld} apart; what lies between them is guarded. */
  private record Matrix(DType dtype, long rows, long columns, long ld, MemorySegment data) {
    static Matrix random(Arena arena, DType dtype, long rows, long columns, long ld, long seed) {
      Matrix matrix = new Matrix(dtype, rows, columns, ld, arena.allocate(rows * ld * 2, 16));
      Random random = new Random(seed);
      for (long i = 0; i < rows * ld; i++) {
        matrix.data.setAtIndex(ValueLayout.JAVA_SHORT, i, GUARD);
      }
      for (long r = 0; r < rows; r++) {
        for (long c = 0; c < columns; c++) {
          // Sixteenths below 1: exact in both types, and so are sums of a hundred products of them in f32.
          float value = (random.nextInt(31) - 15) / 16.0f;
          matrix.data.setAtIndex(ValueLayout.JAVA_SHORT, r * ld + c, bits(dtype, value));
        }
      }
      return matrix;
    }

    private static short bits(DType dtype, float value) {
      return dtype == DType.F16 ? Float.floatToFloat16(value) : (short) (Float.floatToRawIntBits(value) >>> 16);
    }

    float at(long r, long c) {
      short bits = data.getAtIndex(ValueLayout.JAVA_SHORT, r * ld + c);
      return dtype == DType.F16 ? Float.float16ToFloat(bits) : Float.intBitsToFloat(bits << 16);
    }

    boolean guarded() {
      for (long r = 0; r < rows; r++) {
        for (long c = columns; c < ld; c++) {
          if (data.getAtIndex(ValueLayout.JAVA_SHORT, r * ld + c) != GUARD) {
            return false;
          }
        }
      }
      return true;
    }
  }

  /** One rounding of the result: half a unit in the last place of 8 or 11 bits. */
  private static float rounding(DType dtype, double value) {
    return (float) (Math.abs(value) * (dtype == DType.F16 ? 0x1p-11 : 0x1p-8)) + 1e-6f;
  }

  @ParameterizedTest
  @CsvSource({"BF16,5,7,11,11,7,false", "F16,5,7,11,13,9,true", "BF16,1,3,2,2,3,true", "BF16,64,48,32,40,56,false",
      "F16,33,1,17,17,4,false"})
  void forwardIsXTimesWTransposed(DType dtype, long m, long n, long k, long ldx, long ldy, boolean accumulate) {
    try (Arena arena = Arena.ofConfined(); CublasLt lt = new CublasLt(fake.found(), 0, 0)) {
      Matrix x = Matrix.random(arena, dtype, m, k, ldx, 1);
      Matrix w = Matrix.random(arena, dtype, n, k, k, 2);
      Matrix y = Matrix.random(arena, dtype, m, n, ldy, 3);
      Matrix start = Matrix.random(arena, dtype, m, n, ldy, 3);
      DenseProduct product = DenseProduct.forward(dtype, m, n, k, ldx, ldy, accumulate);
      assertThat(lt.offers(product)).isTrue();
      lt.run(product, y.data.address(), x.data.address(), w.data.address(), MemorySegment.NULL);
      for (long i = 0; i < m; i++) {
        for (long j = 0; j < n; j++) {
          double sum = accumulate ? start.at(i, j) : 0;
          for (long l = 0; l < k; l++) {
            sum += (double) x.at(i, l) * w.at(j, l);
          }
          assertThat(y.at(i, j)).isCloseTo((float) sum, within(rounding(dtype, sum)));
        }
      }
      assertThat(y.guarded()).isTrue();
    }
  }

  @ParameterizedTest
  @CsvSource({"BF16,5,7,11,7,11,11,false", "BF16,5,7,11,9,13,12,true", "F16,64,48,32,48,32,32,true",
      "F16,1,2,3,2,3,3,false"})
  void backwardIsDyTimesW(
      DType dtype, long m, long n, long k, long lddy, long ldw, long lddx, boolean accumulate) {
    try (Arena arena = Arena.ofConfined(); CublasLt lt = new CublasLt(fake.found(), 0, 0)) {
      Matrix dy = Matrix.random(arena, dtype, m, n, lddy, 1);
      Matrix w = Matrix.random(arena, dtype, n, k, ldw, 2);
      Matrix dx = Matrix.random(arena, dtype, m, k, lddx, 3);
      Matrix start = Matrix.random(arena, dtype, m, k, lddx, 3);
      DenseProduct product = DenseProduct.backward(dtype, m, n, k, lddy, ldw, lddx, accumulate);
      lt.run(product, dx.data.address(), dy.data.address(), w.data.address(), MemorySegment.NULL);
      for (long i = 0; i < m; i++) {
        for (long j = 0; j < k; j++) {
          double sum = accumulate ? start.at(i, j) : 0;
          for (long l = 0; l < n; l++) {
            sum += (double) dy.at(i, l) * w.at(l, j);
          }
          assertThat(dx.at(i, j)).isCloseTo((float) sum, within(rounding(dtype, sum)));
        }
      }
      assertThat(dx.guarded()).isTrue();
    }
  }

  @Test
  void aShapeIsPlannedOnceAndItsPlanIsGivenBack() {
    try (Arena arena = Arena.ofConfined(); CublasLt lt = new CublasLt(fake.found(), 0, 0)) {
      Matrix x = Matrix.random(arena, DType.BF16, 4, 4, 4, 1);
      DenseProduct product = DenseProduct.forward(DType.BF16, 4, 4, 4, 4, 4, false);
      int open = fake.live();
      for (int i = 0; i < 3; i++) {
        lt.run(product, x.data.address(), x.data.address(), x.data.address(), MemorySegment.NULL);
        // An operation and three layouts.
        assertThat(fake.live()).isEqualTo(open + 4);
      }
    }
  }

  @Test
  void aProductWithoutAnAlgorithmIsNotOffered() {
    try (CublasLt lt = new CublasLt(fake.found(), 0, 0)) {
      fake.offer(false);
      DenseProduct product = DenseProduct.forward(DType.BF16, 4, 4, 4, 4, 4, false);
      assertThat(lt.offers(product)).isFalse();
      assertThatThrownBy(() -> lt.run(product, 0, 0, 0, MemorySegment.NULL))
          .isInstanceOf(NativeException.class)
          .hasMessageContaining("no algorithm for linear_fwd/bf16/4x4x4");
    }
  }

  @Test
  void aRefusalNamesTheCallAndTheCode() {
    try (CublasLt lt = new CublasLt(fake.found(), 0, 0)) {
      assertThatThrownBy(() -> lt.offers(DenseProduct.forward(DType.BF16, 4, 4, 4, 3, 4, false)))
          .isInstanceOf(NativeException.class)
          .hasMessage("cublasLtMatrixLayoutCreate: CUBLAS_STATUS_INVALID_VALUE");
      assertThat(fake.refusal()).contains("leading dimension");
      assertThatThrownBy(() -> lt.offers(DenseProduct.forward(DType.F32, 4, 4, 4, 4, 4, false)))
          .isInstanceOf(NativeException.class)
          .hasMessageContaining("want bf16 or f16");
    }
  }

  @Test
  void theLibrarySaysWhatItIs() {
    assertThat(fake.found().release()).isEqualTo("13.1.0");
    assertThat(CublasLt.find(Map.of(CublasLt.VARIABLE, "none"))).isEmpty();
  }
}
