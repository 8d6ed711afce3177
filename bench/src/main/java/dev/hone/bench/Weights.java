package dev.hone.bench;

import dev.hone.engine.RandomWeights;
import dev.hone.engine.WeightSource;
import dev.hone.kernel.Kernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;

/** Random weights in the dtype that a checkpoint would store them in. */
final class Weights implements WeightSource {
  private final Kernels kernels;
  private final Arena arena;
  private final DType stored;

  Weights(Kernels kernels, Arena arena, DType stored) {
    this.kernels = kernels;
    this.arena = arena;
    this.stored = stored;
  }

  @Override
  public Tensor tensor(String name, long... shape) {
    if (stored == DType.F32) {
      return new RandomWeights(arena, 1, 0.02f, 0).tensor(name, shape);
    }
    try (Arena passing = Arena.ofConfined()) {
      Tensor cast = Tensor.allocate(arena, name, stored, shape);
      kernels.cast(cast, new RandomWeights(passing, 1, 0.02f, 0).tensor(name, shape));
      return cast;
    }
  }

  @Override
  public Tensor weight(String name, long out, long in) {
    return tensor(name, out, in);
  }
}
