package dev.hone.engine;

import dev.hone.model.ParameterShape;
import dev.hone.model.Tuning;
import dev.hone.tensor.MemorySpace;
import dev.hone.tensor.Tensor;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;
import java.util.stream.Stream;

/** The values a fresh adapter starts from, as PEFT's: A uniform in +-1/sqrt(in) (kaiming, a = sqrt 5), B zero. */
public final class AdapterStart {
  private AdapterStart() {}

  /**
   * Each matrix has a generator of its own, so that its values depend on seed and name alone. In the machine's own memory several are
   * filled at once: a 7B model's 20 million numbers are a good part of its start.
   */
  public static void fill(Parameters parameters, Tuning.Lora lora, long seed) {
    Stream<Tuning.Lora.Target> targets = lora.targets().stream();
    boolean host = parameters.all().stream().allMatch(p -> p.value().memory() == MemorySpace.HOST);
    (host ? targets.parallel() : targets).forEach(target -> fill(parameters, target, seed));
  }

  private static void fill(Parameters parameters, Tuning.Lora.Target target, long seed) {
    String name = ParameterShape.loraA(target.module());
    Tensor a = parameters.get(name).value();
    RandomGenerator random =
        RandomGeneratorFactory.of("L64X128MixRandom").create(seed * 0x9e3779b97f4a7c15L + name.hashCode());
    double bound = 1 / Math.sqrt(a.shape(1));
    float[] values = new float[Math.toIntExact(a.elements())];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) random.nextDouble(-bound, bound);
    }
    a.set(values);
    parameters.get(ParameterShape.loraB(target.module())).value().zero();
  }
}
