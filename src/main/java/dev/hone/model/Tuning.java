package dev.hone.model;

import java.util.ArrayList;
import java.util.List;

/** Which numbers of a model a run changes. */
public sealed interface Tuning {

  /** The adapters of each of so many layers, in projection order. */
  default List<List<Lora.Target>> adapters(int layers) {
    List<List<Lora.Target>> all = new ArrayList<>();
    for (int layer = 0; layer < layers; layer++) {
      all.add(new ArrayList<>());
    }
    if (this instanceof Lora lora) {
      lora.targets.forEach(target -> all.get(target.layer).add(target));
    }
    return all;
  }

  /** Nothing: evaluation and generation without an adapter. */
  record None() implements Tuning {}

  /** Every weight of the model, in f32. */
  record Full() implements Tuning {}

  /**
   * Low-rank adapters (arXiv 2106.09685) on frozen weights: {@code y = W x + scale B (A dropout(x))}.
   *
   * @param targets the adapted linear layers, in layer and projection order
   * @param dropout probability of dropping an input of A while training
   */
  record Lora(List<Target> targets, float dropout) implements Tuning {

    /**
     * One adapted linear layer.
     *
     * @param rank R
     * @param scale alpha/R, or alpha/sqrt(R) with rsLoRA
     */
    public record Target(int layer, Projection projection, int rank, float scale) {
      public String module() {
        return projection.module(layer);
      }
    }
  }
}
