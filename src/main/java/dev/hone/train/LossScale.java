package dev.hone.train;

import dev.hone.tensor.DType;

/**
 * Dynamic loss scaling for f16 activations (Micikevicius et al. 2018, section 3.2), whose gradients would else fall below 6e-8, the
 * smallest f16. Gradients are computed times the scale and divided by it before anything looks at them. When they overflow the scale
 * is halved and the same step is done again, so that no step is lost; after {@value #GROWTH_INTERVAL} steps without overflow it is
 * doubled. For other dtypes the scale is 1 and stays.
 */
final class LossScale {
  private static final float FIRST = 65536;
  /** Gradients that overflow even so are not the scale's fault. */
  private static final float LEAST = 1f / 65536;
  private static final float MOST = 1 << 24;
  static final int GROWTH_INTERVAL = 2000;

  private final boolean dynamic;
  private float value;
  private int stepsSinceChange;

  /**
   * Where a run's scale stands, for its checkpoints.
   *
   * @param value 0: there is none yet
   */
  record State(float value, int stepsSinceChange) {
    static final State NONE = new State(0, 0);
  }

  /** @param resumed the checkpoint's, or {@link State#NONE} */
  LossScale(DType compute, State resumed) {
    dynamic = compute == DType.F16;
    value = !dynamic ? 1 : resumed.value() == 0 ? FIRST : resumed.value();
    stepsSinceChange = resumed.stepsSinceChange();
  }

  /** The factor of the coming gradients. */
  float value() {
    return value;
  }

  State state() {
    return dynamic ? new State(value, stepsSinceChange) : State.NONE;
  }

  /** Whether a step with overflown gradients is worth another try at a lower scale. */
  boolean canFall() {
    return dynamic && value > LEAST;
  }

  /** Takes note of a step's unscaled gradient norm; false when the step must be done again, at the scale that is now lower. */
  boolean accepts(double norm) {
    if (!Double.isFinite(norm) && canFall()) {
      value /= 2;
      stepsSinceChange = 0;
      return false;
    }
    if (dynamic && ++stepsSinceChange == GROWTH_INTERVAL) {
      value = Math.min(MOST, value * 2);
      stepsSinceChange = 0;
    }
    return true;
  }
}
