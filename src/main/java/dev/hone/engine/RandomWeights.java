package dev.hone.engine;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;

/**
 * A random start, as transformers initialises a model: matrices N(0, deviation), biases 0, norms neutral. Every tensor has a
 * generator of its own, seeded by seed and name, so that its values do not depend on the order of asking.
 */
public final class RandomWeights implements WeightSource {
  private final Arena arena;
  private final long seed;
  private final float deviation;
  private final float norm;

  /**
   * @param deviation initializer_range of config.json
   * @param normWeightOffset of the architecture: a neutral norm weight is 1 minus it
   */
  public RandomWeights(Arena arena, long seed, float deviation, float normWeightOffset) {
    this.arena = arena;
    this.seed = seed;
    this.deviation = deviation;
    this.norm = 1 - normWeightOffset;
  }

  @Override
  public Tensor tensor(String name, long... shape) {
    Tensor tensor = Tensor.allocate(arena, name, DType.F32, shape);
    float[] values = new float[Math.toIntExact(tensor.elements())];
    if (shape.length == 1) {
      java.util.Arrays.fill(values, name.endsWith(".bias") ? 0f : norm);
    } else {
      RandomGenerator random =
          RandomGeneratorFactory.of("L64X128MixRandom").create(seed * 0x9e3779b97f4a7c15L + name.hashCode());
      for (int i = 0; i < values.length; i++) {
        values[i] = (float) (random.nextGaussian() * deviation);
      }
    }
    return tensor.set(values);
  }

  @Override
  public Tensor weight(String name, long out, long in) {
    return tensor(name, out, in);
  }
}
