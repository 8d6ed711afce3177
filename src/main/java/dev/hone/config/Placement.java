package dev.hone.config;

import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;

/**
 * What of a run's placement is fixed; the plan chooses the rest, so that the run fits and is as fast as it can be.
 *
 * @param residentLayers layers whose weights stay on the device, from the last one down; empty: the plan chooses
 * @param optimizer where the optimiser's states lie
 * @param vramLimit bytes of device memory that the run may take; empty: what the device has
 * @param ramLimit bytes of host memory; empty: what the machine has
 * @param pinnedLimit bytes of page-locked host memory; empty: half of ramLimit
 */
public record Placement(
    Weights weights, OptionalInt residentLayers, Activations activations, Where head, Where embedding, Where optimizer,
    OptionalLong vramLimit, OptionalLong ramLimit, OptionalLong pinnedLimit) {

  /** Nothing is fixed. */
  public static final Placement AUTO =
      new Placement(
          Weights.AUTO, OptionalInt.empty(), Activations.AUTO, Where.AUTO, Where.AUTO, Where.AUTO, OptionalLong.empty(),
          OptionalLong.empty(), OptionalLong.empty());

  /** A key that is set and has a meaning on a card only; empty when there is none. */
  public Optional<String> forCardsOnly() {
    return weights != Weights.AUTO ? Optional.of("weight_placement")
        : residentLayers.isPresent() ? Optional.of("resident_layers")
        : activations == Activations.OFFLOAD || activations == Activations.SAVE_ALL ? Optional.of("activation_placement")
        : head != Where.AUTO ? Optional.of("head_placement")
        : embedding != Where.AUTO ? Optional.of("embedding_placement")
        : optimizer != Where.AUTO ? Optional.of("optimizer_placement")
        : vramLimit.isPresent() ? Optional.of("vram_limit")
        : pinnedLimit.isPresent() ? Optional.of("pinned_limit")
        : Optional.empty();
  }

  /** With all weights on the device. */
  public Placement withResident() {
    return new Placement(
        Weights.RESIDENT, OptionalInt.empty(), activations, Where.DEVICE, embedding, optimizer, vramLimit, ramLimit, pinnedLimit);
  }

  /** With the activations fixed. */
  public Placement withActivations(Activations other) {
    return new Placement(
        weights, residentLayers, other, head, embedding, optimizer, vramLimit, ramLimit, pinnedLimit);
  }

  /** How frozen layers get to the kernels. */
  public enum Weights {
    AUTO,
    /** All in the device's memory. */
    RESIDENT,
    /** Layer by layer from the host's mapped file. */
    STREAMED
  }

  /** What becomes of activations between forward and backward. */
  public enum Activations {
    AUTO,
    /** Everything stays on the device. */
    KEEP,
    /** Layer inputs stay on the device, the rest is computed again. */
    RECOMPUTE,
    /** Layer inputs go to pinned host memory, the rest is computed again. */
    OFFLOAD,
    /** Everything that backward reads goes to pinned host memory: nothing is computed again. */
    SAVE_ALL
  }

  /** A side of the link. */
  public enum Where {
    AUTO,
    DEVICE,
    HOST
  }
}
