package dev.hone.engine;

import dev.hone.kernel.Kernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;

/** Turns float weights into NF4 in bitsandbytes' layout, or into I8, one tensor at a time. */
public final class Quantizer {
  private static final int BLOCK = 64;
  private static final int NESTED_BLOCK = 256;

  private final Kernels kernels;
  private final Arena arena;
  private final Tensor code;
  private final Tensor dynamic;

  /** Quantised weights live in {@code arena}, in the memory of {@code kernels}. */
  public Quantizer(Kernels kernels, Arena arena) {
    this.kernels = kernels;
    this.arena = arena;
    code = allocate(arena, "nf4.code", DType.F32, 16);
    dynamic = allocate(arena, "nf4.dynamic", DType.F32, 256);
    kernels.nf4Tables(code, dynamic);
  }

  /**
   * @param w (out,in) f32, bf16 or f16, here or on the host
   * @param doubleQuantization quantise the block scales to 8 bits as well: 4.13 instead of 4.5 bits a weight
   */
  public Tensor nf4(Tensor w, boolean doubleQuantization) {
    long elements = w.elements();
    long blocks = Math.ceilDiv(elements, (long) BLOCK);
    Tensor codes = allocate(arena, w.name() + ".codes", DType.U8, Math.ceilDiv(elements, 2L));
    if (!doubleQuantization) {
      Tensor absmax = allocate(arena, w.name() + ".absmax", DType.F32, blocks);
      kernels.nf4Quantize(codes, absmax, w, BLOCK);
      return nf4(w, codes, new Quant(code, absmax, null, null, 0, BLOCK, NESTED_BLOCK));
    }
    try (Arena passing = Arena.ofConfined()) {
      Tensor absmax = allocate(passing, w.name() + ".absmax", DType.F32, blocks);
      Tensor offset = allocate(passing, w.name() + ".offset", DType.F32, 1);
      Tensor quantised = allocate(arena, w.name() + ".absmax", DType.U8, blocks);
      Tensor nested =
          allocate(arena, w.name() + ".nested_absmax", DType.F32, Math.ceilDiv(blocks, (long) NESTED_BLOCK));
      kernels.nf4Quantize(codes, absmax, w, BLOCK);
      kernels.nf4QuantizeAbsmax(quantised, nested, offset, absmax);
      float mean = offset.toFloats()[0];
      return nf4(w, codes, new Quant(code, quantised, dynamic, nested, mean, BLOCK, NESTED_BLOCK));
    }
  }

  /** @param w (out,in) f32, bf16 or f16 */
  public Tensor int8(Tensor w) {
    Tensor codes = allocate(arena, w.name() + ".codes", DType.U8, w.elements());
    Tensor scale = allocate(arena, w.name() + ".scale", DType.F32, w.shape(0));
    kernels.int8Quantize(codes, scale, w);
    return Tensor.ofInt8(kernels.memory(), arena, w.name(), codes.data(), scale, w.shape(0), w.shape(1));
  }

  /** A float weight in the form of {@code storage}; anything else as it is. */
  public Tensor quantise(Tensor w, Storage storage) {
    if (!w.dtype().isFloat()) {
      return w;
    }
    return switch (storage) {
      case AS_STORED -> w;
      case NF4 -> nf4(w, false);
      case NF4_DOUBLE_QUANTISED -> nf4(w, true);
      case INT8 -> int8(w);
    };
  }

  private Tensor allocate(Arena lifetime, String name, DType dtype, long... shape) {
    return Tensor.allocate(kernels.memory(), lifetime, name, dtype, shape);
  }

  private Tensor nf4(Tensor w, Tensor codes, Quant quant) {
    return Tensor.ofNf4(kernels.memory(), arena, w.name(), codes.data(), quant, w.shape());
  }
}
