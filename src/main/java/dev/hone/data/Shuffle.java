package dev.hone.data;

/**
 * Permutations that stay the same on every machine and JDK, so that a resumed run sees the same order. SplitMix64
 * (Steele, Lea, Flood: Fast Splittable Pseudorandom Number Generators, 2014) drives a Fisher-Yates shuffle; an index
 * below n is the upper half of a 64-bit draw times n, whose bias of at most n/2^64 does not matter.
 */
final class Shuffle {
  private static final long GOLDEN_GAMMA = 0x9E3779B97F4A7C15L;
  private long state;

  private Shuffle(long seed, long stream) {
    state = mix(seed + GOLDEN_GAMMA) ^ mix(stream + 1);
  }

  /** An order of 0 .. n-1 that depends on the seed and the stream, such as the epoch. */
  static int[] permutation(int n, long seed, long stream) {
    Shuffle random = new Shuffle(seed, stream);
    int[] order = new int[n];
    for (int i = 0; i < n; i++) {
      int j = (int) Math.unsignedMultiplyHigh(random.next(), i + 1L);
      order[i] = order[j];
      order[j] = i;
    }
    return order;
  }

  private long next() {
    state += GOLDEN_GAMMA;
    return mix(state);
  }

  private static long mix(long z) {
    z = (z ^ (z >>> 30)) * 0xBF58476D1CE4E5B9L;
    z = (z ^ (z >>> 27)) * 0x94D049BB133111EBL;
    return z ^ (z >>> 31);
  }
}
