package dev.hone.engine;

import dev.hone.kernel.Kernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;

/**
 * Random weights made directly in double-quantised NF4, for measuring real sizes without a download: linear layers are random codes,
 * the rest is bf16 as checkpoints of such models store it. Every code is equally likely, and the block maxima are such that a weight
 * has about the wanted deviation. Every part of a tensor has a generator of its own, seeded by seed and name.
 */
public final class RandomNf4Weights implements WeightSource {
  private static final int BLOCK = 64;
  private static final int NESTED_BLOCK = 256;
  private static final int CHUNK = 1 << 20;

  /** Block maxima spread this far to both sides of their mean. */
  private static final float SPREAD = 0.2f;

  private final Arena arena;
  private final long seed;
  private final float deviation;
  private final float norm;
  private final Tensor code;
  private final Tensor dynamic;
  private final float meanAbsmax;

  /**
   * @param arena tensors live in it
   * @param normWeightOffset of the architecture: a neutral norm weight is 1 minus it
   */
  public RandomNf4Weights(Kernels kernels, Arena arena, long seed, float deviation, float normWeightOffset) {
    this.arena = arena;
    this.seed = seed;
    this.deviation = deviation;
    norm = 1 - normWeightOffset;
    code = Tensor.allocate(arena, "nf4.code", DType.F32, 16);
    dynamic = Tensor.allocate(arena, "nf4.dynamic", DType.F32, 256);
    kernels.nf4Tables(code, dynamic);
    double squares = 0;
    for (float value : code.toFloats()) {
      squares += value * value / 16;
    }
    meanAbsmax = (float) (deviation / Math.sqrt(squares));
  }

  Tensor code() {
    return code;
  }

  Tensor dynamic() {
    return dynamic;
  }

  float nestedOffset() {
    return meanAbsmax;
  }

  @Override
  public Tensor weight(String name, long out, long in) {
    long blocks = Math.ceilDiv(out * in, (long) BLOCK);
    Quant quant =
        new Quant(
            code, bytes(arena, name + ".absmax", blocks), dynamic, nestedAbsmax(arena, name, blocks), meanAbsmax, BLOCK,
            NESTED_BLOCK);
    return Tensor.ofNf4(arena, name, codes(arena, name, out, in).data(), quant, out, in);
  }

  /** The codes of a weight, u8. */
  Tensor codes(Arena holder, String name, long out, long in) {
    return bytes(holder, name + ".codes", Math.ceilDiv(out * in, 2L));
  }

  /** The first level of a weight's block maxima, u8. */
  Tensor absmax(Arena holder, String name, long out, long in) {
    return bytes(holder, name + ".absmax", Math.ceilDiv(out * in, (long) BLOCK));
  }

  /** The second level, f32. */
  Tensor nestedAbsmax(Arena holder, String name, long blocks) {
    long nested = Math.ceilDiv(blocks, (long) NESTED_BLOCK);
    float[] values = new float[Math.toIntExact(nested)];
    java.util.Arrays.fill(values, SPREAD * meanAbsmax);
    return Tensor.allocate(holder, name + ".nested_absmax", DType.F32, nested).set(values);
  }

  private Tensor bytes(Arena holder, String name, long count) {
    Tensor tensor = Tensor.allocate(holder, name, DType.U8, count);
    RandomGenerator random = generator(name);
    byte[] chunk = new byte[CHUNK];
    for (long at = 0; at < count; at += CHUNK) {
      random.nextBytes(chunk);
      tensor.putBytes(at, chunk, (int) Math.min(CHUNK, count - at));
    }
    return tensor;
  }

  private RandomGenerator generator(String name) {
    return RandomGeneratorFactory.of("L64X128MixRandom").create(seed * 0x9e3779b97f4a7c15L + name.hashCode());
  }

  @Override
  public Tensor tensor(String name, long... shape) {
    return tensorIn(arena, name, shape);
  }

  /** A bf16 tensor: matrices N(0, deviation), biases 0, norms neutral. */
  Tensor tensorIn(Arena holder, String name, long... shape) {
    Tensor tensor = Tensor.allocate(holder, name, DType.BF16, shape);
    boolean matrix = shape.length > 1;
    float constant = name.endsWith(".bias") ? 0 : norm;
    RandomGenerator random = generator(name);
    byte[] chunk = new byte[CHUNK];
    for (long at = 0; at < tensor.bytes(); at += CHUNK) {
      int count = (int) Math.min(CHUNK, tensor.bytes() - at);
      for (int i = 0; i < count; i += 2) {
        float value = matrix ? (float) (random.nextGaussian() * deviation) : constant;
        int bits = Float.floatToRawIntBits(value) >>> 16; // cut, not rounded: as random as before
        chunk[i] = (byte) bits;
        chunk[i + 1] = (byte) (bits >>> 8);
      }
      tensor.putBytes(at, chunk, count);
    }
    return tensor;
  }
}
