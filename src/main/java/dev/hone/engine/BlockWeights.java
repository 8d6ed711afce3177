package dev.hone.engine;

import dev.hone.model.Projection;
import java.util.EnumMap;
import java.util.Map;

/**
 * The weights of one block. The optional norms are null where the architecture has none: qNorm and kNorm (over the head dim),
 * attentionPostNorm and mlpPostNorm (Gemma 2).
 *
 * @param mlpNorm the norm before the MLP, whatever the checkpoint calls it
 */
record BlockWeights(
    Norm inputNorm,
    Norm qNorm,
    Norm kNorm,
    Norm attentionPostNorm,
    Norm mlpNorm,
    Norm mlpPostNorm,
    Map<Projection, Linear> projections) {

  BlockWeights {
    projections = new EnumMap<>(projections);
  }

  Linear linear(Projection p) {
    return projections.get(p);
  }

  /** Whether any weight of the block, or an adapter on it, trains. */
  boolean trains() {
    return projections.values().stream().anyMatch(Linear::trains);
  }
}
