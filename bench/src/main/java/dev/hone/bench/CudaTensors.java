package dev.hone.bench;

import dev.hone.kernel.Kernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.SplittableRandom;

/** Random tensors on a card, for as long as an arena lives. */
record CudaTensors(Kernels card, Arena arena, DType compute) {

  Tensor empty(String name, DType dtype, long... shape) {
    return Tensor.allocate(card.memory(), arena, name, dtype, shape);
  }

  /** Values between -scale and scale, f32. */
  Tensor floats(String name, float scale, long... shape) {
    Tensor tensor = empty(name, DType.F32, shape);
    fill(tensor, scale);
    return tensor;
  }

  /** Likewise in the dtype of activations. */
  Tensor activation(String name, float scale, long... shape) {
    Tensor tensor = empty(name, compute, shape);
    try (Arena passing = Arena.ofShared()) {
      Tensor wide = Tensor.allocate(card.memory(), passing, name, DType.F32, shape);
      fill(wide, scale);
      card.cast(tensor, wide);
      card.countNonFinite(empty("count", DType.F64, 1), tensor);
    }
    return tensor;
  }

  private static void fill(Tensor tensor, float scale) {
    SplittableRandom random = new SplittableRandom(tensor.name().hashCode());
    float[] values = new float[Math.toIntExact(tensor.elements())];
    for (int i = 0; i < values.length; i++) {
      values[i] = (random.nextFloat() * 2 - 1) * scale;
    }
    tensor.set(values);
  }

  Tensor ints(String name, int... values) {
    return empty(name, DType.I32, values.length).set(values);
  }

  /** 0 .. n-1, modulo {@code bound}. */
  Tensor counting(String name, int n, int bound) {
    int[] values = new int[n];
    for (int i = 0; i < n; i++) {
      values[i] = i % bound;
    }
    return ints(name, values);
  }

  /** A double-quantised NF4 weight. */
  Tensor nf4(String name, long out, long in) {
    long blocks = Math.ceilDiv(out * in, 64L);
    Tensor code = empty("code", DType.F32, 16);
    Tensor dynamic = empty("dynamic", DType.F32, 256);
    card.nf4Tables(code, dynamic);
    Tensor codes = empty(name, DType.U8, Math.ceilDiv(out * in, 2L));
    Tensor absmax = empty("absmax", DType.F32, blocks);
    card.nf4Quantize(codes, absmax, activation(name, 0.05f, out, in), 64);
    Tensor quantised = empty("absmax", DType.U8, blocks);
    Tensor maxima = empty("nested_absmax", DType.F32, Math.ceilDiv(blocks, 256L));
    Tensor offset = empty("offset", DType.F32, 1);
    card.nf4QuantizeAbsmax(quantised, maxima, offset, absmax);
    Quant quant = new Quant(code, quantised, dynamic, maxima, offset.toFloats()[0], 64, 256);
    return Tensor.ofNf4(card.memory(), arena, name, codes.data(), quant, out, in);
  }
}
