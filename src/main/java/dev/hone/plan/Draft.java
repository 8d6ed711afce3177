package dev.hone.plan;

/**
 * A placement with its buffers counted and not yet packed: what it takes of the host exactly, what of the device at least, how fast
 * it is. A search compares these and packs the few that it has to.
 */
final class Draft {
  private final Layout layout;
  private final StepShape step;
  private final Plan.Builder buffers;
  private final double tokensPerSecond;
  private final long pinned;
  private final long pageable;
  private Plan packed;

  Draft(Layout layout, StepShape step, Plan.Builder buffers, double tokensPerSecond) {
    this.layout = layout;
    this.step = step;
    this.buffers = buffers;
    this.tokensPerSecond = tokensPerSecond;
    pinned = buffers.hostBytes(true);
    pageable = buffers.hostBytes(false);
  }

  /** With its buffers packed, which is done once. */
  Planner.Choice choice() {
    return new Planner.Choice(layout, step, plan(), tokensPerSecond);
  }

  long arenaBytes() {
    return plan().arenaBytes();
  }

  private Plan plan() {
    if (packed == null) {
      packed = buffers.build();
    }
    return packed;
  }

  /** Whether the limits take it; packs it when nothing less decides. */
  boolean fits(Planner.Limits limits) {
    return hostFits(limits) && mayFit(limits) && arenaBytes() <= limits.arena();
  }

  boolean hostFits(Planner.Limits limits) {
    return pinned <= limits.pinned() && pinned + pageable <= limits.ram();
  }

  /** False when no packing brings it into the arena. */
  boolean mayFit(Planner.Limits limits) {
    return buffers.leastBytes() <= limits.arena();
  }

  /** Layers, the first ones, whose activations the host has room for, of those that this one sends there. */
  int hostLayers(Planner.Limits limits) {
    long over = Math.max(pinned - limits.pinned(), pinned + pageable - limits.ram());
    int layers = buffers.offloaded().size();
    while (over > 0 && layers > 0) {
      layers--;
      over -= buffers.offloaded().get(layers).bytes();
    }
    return layers;
  }

  int offloadedLayers() {
    return buffers.offloaded().size();
  }

  /** Tokens a second to a tenth: what differs by less is equally fast. */
  double rate() {
    return Math.round(tokensPerSecond * 10) / 10.0;
  }

  long hostBytes() {
    return pinned + pageable;
  }
}
