package dev.hone.testing;

import dev.hone.kernel.Kernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.MemorySpace;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;

/**
 * Tensors for a kernel test, each between two bands of sentinel bytes that directly touch its elements. {@link #damage}
 * names what was written outside. Fresh memory is filled with NaN patterns, so that an output that is only partly
 * written, or read before it is written, shows.
 */
public final class GuardedTensors implements AutoCloseable {
  private static final long BAND = 128;
  private static final byte SENTINEL = (byte) 0xA5;

  private record Guarded(Tensor tensor, MemorySegment whole, long bytes) {}

  private final Arena arena = Arena.ofConfined();
  private final List<Guarded> all = new ArrayList<>();

  /** A tensor of all-ones bits: NaN in every float type. */
  public Tensor allocate(String name, DType dtype, long... shape) {
    long elements = 1;
    for (long extent : shape) {
      elements *= extent;
    }
    long bytes = dtype.bytes(elements);
    MemorySegment whole = arena.allocate(2 * BAND + bytes, 64).fill(SENTINEL);
    Tensor tensor = Tensor.of(arena, name, dtype, whole.asSlice(BAND, bytes).fill((byte) 0xFF), shape);
    all.add(new Guarded(tensor, whole, bytes));
    return tensor;
  }

  /** A tensor of {@code values} rounded to nearest even in {@code dtype} (f32, bf16 or f16). */
  public Tensor of(String name, DType dtype, float[] values, long... shape) {
    Tensor tensor = allocate(name, dtype, shape);
    if (tensor.elements() != values.length) {
      throw new IllegalArgumentException(tensor + ": " + values.length + " values");
    }
    for (int i = 0; i < values.length; i++) {
      switch (dtype) {
        case F32 -> tensor.data().setAtIndex(ValueLayout.JAVA_FLOAT, i, values[i]);
        case BF16 -> tensor.data().setAtIndex(ValueLayout.JAVA_SHORT, i, bf16Bits(values[i]));
        case F16 -> tensor.data().setAtIndex(ValueLayout.JAVA_SHORT, i, Float.floatToFloat16(values[i]));
        default -> throw new IllegalArgumentException(tensor + ": not a float type");
      }
    }
    return tensor;
  }

  /** A tensor of zeros. */
  public Tensor zeros(String name, DType dtype, long... shape) {
    Tensor tensor = allocate(name, dtype, shape);
    tensor.zero();
    return tensor;
  }

  /** {@code values} as NF4 in blocks of 64 by {@code kernels}, absmax quantised a second time when {@code nested}. */
  public Tensor nf4(Kernels kernels, String name, boolean nested, float[] values, long... shape) {
    long blocks = Math.ceilDiv(values.length, 64L);
    Tensor codes = allocate(name + ".codes", DType.U8, Math.ceilDiv(values.length, 2L));
    Tensor absmax = allocate(name + ".absmax", DType.F32, blocks);
    Tensor code = allocate(name + ".code", DType.F32, 16);
    Tensor dynamic = allocate(name + ".dynamic", DType.F32, 256);
    kernels.nf4Quantize(codes, absmax, of(name + ".f32", DType.F32, values, shape), 64);
    kernels.nf4Tables(code, dynamic);
    Quant quant = new Quant(code, absmax, null, null, 0, 64, 256);
    if (nested) {
      Tensor bytes = allocate(name + ".absmax8", DType.U8, blocks);
      Tensor second = allocate(name + ".nested", DType.F32, Math.ceilDiv(blocks, 256L));
      Tensor offset = allocate(name + ".offset", DType.F32, 1);
      kernels.nf4QuantizeAbsmax(bytes, second, offset, absmax);
      quant = new Quant(code, bytes, dynamic, second, offset.toFloats()[0], 64, 256);
    }
    return Tensor.ofNf4(arena, name, codes.data(), quant, shape);
  }

  /** {@code values} (out,in) as I8 by {@code kernels}. */
  public Tensor int8(Kernels kernels, String name, float[] values, long out, long in) {
    Tensor codes = allocate(name + ".codes", DType.U8, out * in);
    Tensor scale = allocate(name + ".scale", DType.F32, out);
    kernels.int8Quantize(codes, scale, of(name + ".f32", DType.F32, values, out, in));
    return Tensor.ofInt8(MemorySpace.HOST, arena, name, codes.data(), scale, out, in);
  }

  /** What was damaged around which tensor, or null when every band is as it was. */
  public String damage() {
    for (Guarded g : all) {
      for (long i = 0; i < BAND; i++) {
        if (g.whole.get(ValueLayout.JAVA_BYTE, BAND - 1 - i) != SENTINEL) {
          return g.tensor + ": wrote " + (i + 1) + " bytes before its start";
        }
        if (g.whole.get(ValueLayout.JAVA_BYTE, BAND + g.bytes + i) != SENTINEL) {
          return g.tensor + ": wrote " + i + " bytes behind its end";
        }
      }
    }
    return null;
  }

  @Override
  public void close() {
    arena.close();
  }

  /** {@code n} values of about unit size, the same for the same seed. */
  public static float[] random(long seed, long n) {
    Random random = new Random(seed);
    float[] values = new float[Math.toIntExact(n)];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextGaussian();
    }
    return values;
  }

  /** Rounded to bf16, to nearest even. */
  public static float bf16(float value) {
    return Float.intBitsToFloat(bf16Bits(value) << 16);
  }

  private static short bf16Bits(float value) {
    int bits = Float.floatToRawIntBits(value);
    return (short) ((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
  }
}
