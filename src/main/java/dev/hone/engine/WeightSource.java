package dev.hone.engine;

import dev.hone.tensor.Tensor;

/** Where a model's weights come from: a checkpoint's files, or a random start. */
public interface WeightSource {

  /** A float tensor of exactly this shape, in its stored dtype. */
  Tensor tensor(String name, long... shape);

  /** A linear layer's weight (out, in): as {@link #tensor}, or NF4 where it is stored so. */
  Tensor weight(String name, long out, long in);
}
