package dev.hone.plan;

/**
 * Where a run keeps what.
 *
 * @param weights how the frozen layers get to the kernels
 * @param residentLayers layers, the last ones, whose blobs stay in the arena; the others pass through {@value #SLOTS} slots. Only
 *     with {@link Weights#ARENA}
 * @param activations what becomes of them between forward and backward; those of the last layer, with which backward
 *     begins, stay
 * @param hostLayers layers, the first ones, whose activations go to the host where {@code activations} sends any there;
 *     what the others need is computed again from inputs that stay
 * @param keptLayers of those others, so many below the last keep their activations as that one does. Only with
 *     {@link Activations#SAVE_ALL}
 * @param head whether the head lies in the arena; else slabs of it pass through two slots. Only with {@link Weights#ARENA}
 * @param embedding whether the embedding lies in the arena; else its rows are gathered on the host. Only with {@link Weights#ARENA}
 * @param optimizer whether the optimiser's states lie in the arena; else they and its step are the host's
 */
public record Layout(
    Weights weights, int residentLayers, Activations activations, int hostLayers, int keptLayers, boolean head,
    boolean embedding, boolean optimizer) {

  /** A layer is computed from one slot while the next one's blob travels into another. */
  public static final int SLOTS = 2;

  /** The kernels' way to frozen weights. */
  public enum Weights {
    /** The kernels read them where the file is mapped, or where they were made. */
    OUTSIDE,
    /** Blobs of the layer cache, copied into the arena. */
    ARENA
  }

  /** Between forward and backward. */
  public enum Activations {
    /** All that a layer saves stays on the device. */
    KEEP,
    /** Its input stays, and its forward runs again before its backward. */
    RECOMPUTE,
    /** As {@link #RECOMPUTE}, with the input in pinned host memory meanwhile. */
    OFFLOAD,
    /** All that a layer saves is in pinned host memory meanwhile, and nothing is computed again. */
    SAVE_ALL;

    /** Whether a layer's forward runs again. */
    public boolean again() {
      return this == RECOMPUTE || this == OFFLOAD;
    }

    /** Whether they go to pinned host memory. */
    public boolean offloads() {
      return this == OFFLOAD || this == SAVE_ALL;
    }
  }

  /** As the canonical one, with the activations of as many layers on the host as {@code activations} sends there. */
  public Layout(
      Weights weights, int residentLayers, Activations activations, boolean head, boolean embedding,
      boolean optimizer) {
    this(weights, residentLayers, activations, Integer.MAX_VALUE, 0, head, embedding, optimizer);
  }

  /** Weights that the kernels reach by themselves, as on the CPU. */
  public static Layout outside(boolean recompute) {
    return new Layout(Weights.OUTSIDE, 0, recompute ? Activations.RECOMPUTE : Activations.KEEP, true, true, true);
  }

  public Layout withResidentLayers(int layers) {
    return new Layout(weights, layers, activations, hostLayers, keptLayers, head, embedding, optimizer);
  }

  public Layout withActivations(Activations other) {
    return new Layout(weights, residentLayers, other, hostLayers, keptLayers, head, embedding, optimizer);
  }

  public Layout withHostLayers(int layers) {
    return new Layout(weights, residentLayers, activations, layers, keptLayers, head, embedding, optimizer);
  }

  public Layout withKeptLayers(int layers) {
    return new Layout(weights, residentLayers, activations, hostLayers, layers, head, embedding, optimizer);
  }

  public Layout withHead(boolean device) {
    return new Layout(weights, residentLayers, activations, hostLayers, keptLayers, device, embedding, optimizer);
  }

  public Layout withEmbedding(boolean device) {
    return new Layout(weights, residentLayers, activations, hostLayers, keptLayers, head, device, optimizer);
  }

  public Layout withOptimizer(boolean device) {
    return new Layout(weights, residentLayers, activations, hostLayers, keptLayers, head, embedding, device);
  }

  /** The same on a device whose memory is the host's: what would move stays, since moving it would free nothing. */
  public Layout onHost() {
    return switch (activations) {
      case KEEP, RECOMPUTE -> this;
      case OFFLOAD -> withActivations(Activations.RECOMPUTE);
      case SAVE_ALL -> withActivations(Activations.KEEP);
    };
  }

  /** What becomes of one layer's activations, of a model with {@code layers}. */
  public Activations activations(int layer, int layers) {
    if (layer == layers - 1) {
      return Activations.KEEP;
    }
    if (!activations.offloads() || layer < hostLayers) {
      return activations;
    }
    boolean kept = activations == Activations.SAVE_ALL && layer >= layers - 1 - keptLayers;
    return kept ? Activations.KEEP : Activations.RECOMPUTE;
  }

  /** Whether a layer's weights stay on the device, of a model with {@code layers}. */
  public boolean isResident(int layer, int layers) {
    return layer >= layers - residentLayers;
  }

  /** Whether weights cross the link during a step. */
  public boolean weightsTravel(int layers) {
    return streams(layers) || weights == Weights.ARENA && !head;
  }

  public boolean streams(int layers) {
    return weights == Weights.ARENA && residentLayers < layers;
  }
}
