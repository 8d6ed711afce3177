package dev.hone.plan;

/**
 * Where a run keeps what.
 *
 * @param weights how the frozen layers get to the kernels
 * @param residentLayers layers, the last ones, whose blobs stay in the arena; the others pass through {@value #SLOTS} slots. Only
 *     with {@link Weights#ARENA}
 * @param activations what becomes of them between forward and backward
 * @param head whether the head lies in the arena; else slabs of it pass through two slots. Only with {@link Weights#ARENA}
 * @param embedding whether the embedding lies in the arena; else its rows are gathered on the host. Only with {@link Weights#ARENA}
 * @param optimizer whether the optimiser's states lie in the arena; else they and its step are the host's
 */
public record Layout(
    Weights weights, int residentLayers, Activations activations, boolean head, boolean embedding, boolean optimizer) {

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
    KEEP,
    RECOMPUTE,
    OFFLOAD,
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

  /** Weights that the kernels reach by themselves, as on the CPU. */
  public static Layout outside(boolean recompute) {
    return new Layout(Weights.OUTSIDE, 0, recompute ? Activations.RECOMPUTE : Activations.KEEP, true, true, true);
  }

  public Layout withResidentLayers(int layers) {
    return new Layout(weights, layers, activations, head, embedding, optimizer);
  }

  /** Whether a layer's weights stay on the device, of a model with {@code layers}. */
  public boolean isResident(int layer, int layers) {
    return layer >= layers - residentLayers;
  }

  public boolean streams(int layers) {
    return weights == Weights.ARENA && residentLayers < layers;
  }
}
