package dev.hone.engine;

import java.util.Arrays;
import java.util.random.RandomGenerator;
import java.util.random.RandomGeneratorFactory;

/** Chooses tokens from logits; the same seed makes the same choices. */
final class Sampler {
  private final Sampling sampling;
  private final RandomGenerator random;

  Sampler(Sampling sampling) {
    this.sampling = sampling;
    random = RandomGeneratorFactory.of("L64X128MixRandom").create(sampling.seed());
  }

  /** The next token's id, from logits (V). */
  int choose(float[] logits) {
    return sampling.temperature() == 0 ? likeliest(logits) : sample(logits);
  }

  static int likeliest(float[] logits) {
    int best = 0;
    for (int i = 1; i < logits.length; i++) {
      if (logits[i] > logits[best]) {
        best = i;
      }
    }
    return best;
  }

  private int sample(float[] logits) {
    int n = logits.length;
    double max = logits[likeliest(logits)];
    double[] weights = new double[n];
    double sum = 0;
    for (int i = 0; i < n; i++) {
      weights[i] = Math.exp((logits[i] - max) / sampling.temperature());
      sum += weights[i];
    }
    if (sampling.topP() < 1) {
      sum = keepNucleus(weights, sampling.topP() * sum);
    }
    double left = random.nextDouble() * sum;
    int last = 0;
    for (int i = 0; i < n; i++) {
      if (weights[i] > 0) {
        last = i;
        left -= weights[i];
        if (left < 0) {
          break;
        }
      }
    }
    return last;
  }

  /** Zeroes all but the largest weights that together reach {@code wanted} (Holtzman et al. 2019); returns their sum. */
  private static double keepNucleus(double[] weights, double wanted) {
    double[] sorted = weights.clone();
    Arrays.sort(sorted);
    double kept = 0;
    int at = sorted.length;
    while (at > 0 && kept < wanted) {
      kept += sorted[--at];
    }
    double least = sorted[at];
    double sum = 0;
    for (int i = 0; i < weights.length; i++) {
      if (weights[i] < least) {
        weights[i] = 0;
      }
      sum += weights[i];
    }
    return sum;
  }
}
