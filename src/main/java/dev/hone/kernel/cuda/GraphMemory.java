package dev.hone.kernel.cuda;

import dev.hone.config.Sizes;

/**
 * What graphs take of a card. No driver tells beforehand, so it is measured where a graph is made and where it first runs; a graph that
 * takes more than was left to graphs, or memory that the plan is still to take, is given up.
 */
final class GraphMemory {
  private final CudaDevice device;
  private long most = Long.MAX_VALUE;
  private long spare;
  private long taken;
  private long free;

  GraphMemory(CudaDevice device) {
    this.device = device;
  }

  /**
   * Sets what graphs may take.
   *
   * @param bytes of all together
   * @param toSpare bytes that must stay free
   */
  void limit(long bytes, long toSpare) {
    most = bytes;
    spare = toSpare;
  }

  /** Before a driver's call that may take memory. */
  void look() {
    free = device.use().freeMemory();
  }

  /** Bytes that are gone since {@link #look}; from now on they are a graph's. */
  long take() {
    long now = device.use().freeMemory();
    long bytes = Math.max(0, free - now);
    free = now;
    taken += bytes;
    return bytes;
  }

  /** A graph's bytes are no longer its. */
  void give(long bytes) {
    taken -= bytes;
  }

  /** Whether graphs have more than they may. */
  boolean isExceeded() {
    return taken > most || free < spare;
  }

  /** Why a graph of so many bytes is given up. */
  String refusal(long bytes) {
    return taken > most
        ? String.format(
            "a graph takes %s of the card and %s are left beside the plan", Sizes.text(bytes),
            Sizes.text(Math.max(0, most - taken + bytes)))
        : String.format(
            "with a graph of %s the card has %s free and the run is still to take %s", Sizes.text(bytes),
            Sizes.text(free), Sizes.text(spare));
  }
}
