package dev.hone.engine;

import dev.hone.tensor.Tensor;

/** Where a model's weights come from: a checkpoint's files, or a random start. */
public interface WeightSource {

  /** A float tensor of exactly this shape, in its stored dtype. */
  Tensor tensor(String name, long... shape);

  /** A linear layer's weight (out, in): as {@link #tensor}, or quantised where it is stored so. */
  Tensor weight(String name, long out, long in);

  /** Whether tensors lie where the device's kernels read them already. */
  default boolean isPlaced() {
    return false;
  }

  /** Whether every number is known to be finite already, so that nothing needs to be read to find out. */
  default boolean isChecked() {
    return false;
  }

  /** Whether asking for a tensor costs no memory, since it lies in a mapped file. */
  default boolean isMapped() {
    return false;
  }
}
