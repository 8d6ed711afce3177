package dev.hone.plan;

import dev.hone.plan.Layout.Activations;
import java.util.function.IntFunction;

/**
 * The moments of one micro-batch, in the order in which the engine's walk ({@code Model}, {@code Block}) passes them:
 *
 * <pre>
 *   EMBED   layer 0 forward .. layer L-1 forward   LOSS   [layer L-1 again]  layer L-1 backward .. [layer 0 again]  layer 0 backward
 *   UPDATE  the optimiser's step
 * </pre>
 *
 * A forward has eight moments and a backward six; {@link Forward} and {@link Backward} name them. A buffer of a layer that is computed
 * again lives twice: through its forward, and from its second forward to its backward.
 *
 * <p>What is on the host between forward and backward also lives twice. Layer n's leaves the device while the layer
 * above it runs forward and comes back while that one runs backward:
 *
 * <pre>
 *   forward    n written | n out, n+1 runs      | n+2 runs, in n's memory
 *   backward   n+2 runs  | n back, n+1 runs     | n read
 * </pre>
 *
 * So two sets take turns, and a copy has the time of one layer; one that takes longer holds the kernels up at the bars.
 */
final class StepClock {
  /** What a block's forward does, one moment each. */
  enum Forward {
    NORM,
    QKV,
    ATTENTION,
    O,
    MLP_NORM,
    GATE_UP,
    PRODUCT,
    DOWN
  }

  /** What a block's backward does, one moment each. */
  enum Backward {
    DOWN,
    GATED,
    GATE_UP,
    O,
    ATTENTION,
    QKV
  }

  static final int EMBED = 0;
  private static final int FORWARDS = Forward.values().length;
  private static final int BACKWARDS = Backward.values().length;

  private final int layers;
  private final boolean training;
  private final IntFunction<Activations> activations;

  /**
   * @param training false: there is no backward
   * @param activations what becomes of each layer's between forward and backward
   */
  StepClock(int layers, boolean training, IntFunction<Activations> activations) {
    this.layers = layers;
    this.training = training;
    this.activations = activations;
  }

  /** The moment of a layer's forward. */
  int forward(int layer, Forward what) {
    return 1 + layer * FORWARDS + what.ordinal();
  }

  /** The chunked loss, with the final norm before and after it. */
  int loss() {
    return 1 + layers * FORWARDS;
  }

  /** The moment of a layer's second forward. */
  int again(int layer, Forward what) {
    return loss() + 1 + (layers - 1 - layer) * (FORWARDS + BACKWARDS) + what.ordinal();
  }

  /** The moment of a layer's backward. */
  int backward(int layer, Backward what) {
    return again(layer, Forward.NORM) + FORWARDS + what.ordinal();
  }

  /** The optimiser's step, once after the micro-batches. */
  int update() {
    return loss() + 1 + layers * (FORWARDS + BACKWARDS);
  }

  int moments() {
    return update() + 1;
  }

  /** Through every moment. */
  Life always() {
    return Life.none().and(EMBED, update());
  }

  /** What a layer's forward makes at {@code from} for its backward, which reads it last at {@code to}. */
  Life saved(int layer, Forward from, Backward to) {
    int first = forward(layer, from);
    int end = forward(layer, Forward.DOWN);
    int last = backward(layer, to);
    if (!training) {
      return Life.none().and(first, end);
    }
    return switch (activations.apply(layer)) {
      case KEEP -> Life.none().and(first, last);
      case RECOMPUTE, OFFLOAD -> Life.none().and(first, end).and(again(layer, from), last);
      case SAVE_ALL -> offloaded(layer, first, last);
    };
  }

  /** From {@code first} until the layer above has run forward, and from before that one's backward to {@code last}. */
  private Life offloaded(int layer, int first, int last) {
    return Life.none().and(first, forward(layer + 1, Forward.DOWN)).and(again(layer + 1, Forward.NORM), last);
  }

  /** A layer's input: from where it is made to where backward reads it. */
  Life input(int layer) {
    int made = layer == 0 ? EMBED : forward(layer - 1, Forward.DOWN);
    if (!training) {
      return Life.none().and(made, forward(layer, Forward.DOWN));
    }
    int read = backward(layer, Backward.QKV);
    return activations.apply(layer).offloads() ? offloaded(layer, made, read) : Life.none().and(made, read);
  }

  /** The last block's output, until the loss and the final norm's backward are done with it. */
  Life output() {
    return Life.none().and(forward(layers - 1, Forward.DOWN), loss());
  }

  /** Scratch of every layer's forward (both times) between two of its moments. */
  Life scratch(Forward from, Forward to) {
    Life life = Life.none();
    for (int layer = 0; layer < layers; layer++) {
      life = life.and(forward(layer, from), forward(layer, to));
      if (training && activations.apply(layer).again()) {
        life = life.and(again(layer, from), again(layer, to));
      }
    }
    return life;
  }

  /** Scratch of every layer's backward between two of its moments. */
  Life scratch(Backward from, Backward to) {
    Life life = Life.none();
    for (int layer = 0; training && layer < layers; layer++) {
      life = life.and(backward(layer, from), backward(layer, to));
    }
    return life;
  }

  /** The gradient that runs down from the loss. */
  Life gradient() {
    return training ? Life.none().and(loss(), backward(0, Backward.QKV)) : Life.none().and(loss(), loss());
  }

  Life atLoss() {
    return Life.none().and(loss(), loss());
  }

  /** A moment in words. */
  String name(int moment) {
    if (moment == EMBED) {
      return "embedding";
    }
    if (moment < loss()) {
      return "layer " + (moment - 1) / FORWARDS + " forward, " + words(Forward.values()[(moment - 1) % FORWARDS]);
    }
    if (moment == loss()) {
      return "loss";
    }
    if (moment >= update()) {
      return "optimiser step";
    }
    int at = moment - loss() - 1;
    int layer = layers - 1 - at / (FORWARDS + BACKWARDS);
    int what = at % (FORWARDS + BACKWARDS);
    return what < FORWARDS
        ? "layer " + layer + " recomputed, " + words(Forward.values()[what])
        : "layer " + layer + " backward, " + words(Backward.values()[what - FORWARDS]);
  }

  private static String words(Enum<?> what) {
    return what.name().toLowerCase(java.util.Locale.ROOT).replace('_', ' ');
  }
}
