package dev.hone.plan;

import dev.hone.config.Moments;
import dev.hone.tensor.DType;

/**
 * The largest step a run will take, and how it computes.
 *
 * @param compute dtype of activations: what the device offers of F32, BF16 and F16
 * @param recompute keep only each block's input and run its forward again in backward, instead of keeping everything
 * @param tokens most tokens of a micro-batch
 * @param documents most documents of a micro-batch
 * @param positions rows of the rotary table: one more than the largest position
 * @param moments how AdamW keeps its own
 */
public record StepShape(DType compute, boolean recompute, int tokens, int documents, int positions, Moments moments) {
  public StepShape {
    if (!compute.isFloat()) {
      throw new IllegalArgumentException("activations are f32, bf16 or f16, not " + compute);
    }
  }

  /** With moments in f32. */
  public StepShape(DType compute, boolean recompute, int tokens, int documents, int positions) {
    this(compute, recompute, tokens, documents, positions, Moments.F32);
  }

  /** The same step with or without recomputation. */
  public StepShape withRecompute(boolean again) {
    return new StepShape(compute, again, tokens, documents, positions, moments);
  }

  /** The same with micro-batches of another size. */
  public StepShape withTokens(int count, int inDocuments) {
    return new StepShape(compute, recompute, count, inDocuments, positions, moments);
  }

  /** The same with other moments. */
  public StepShape withMoments(Moments other) {
    return new StepShape(compute, recompute, tokens, documents, positions, other);
  }
}
