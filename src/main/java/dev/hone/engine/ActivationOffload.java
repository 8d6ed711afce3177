package dev.hone.engine;

import dev.hone.kernel.HostStash;
import dev.hone.kernel.Kernels;
import dev.hone.plan.Layout;
import dev.hone.plan.Plan;
import dev.hone.tensor.Tensor;
import java.util.List;
import java.util.Locale;

/**
 * What layers save for backward, in pinned host memory in the meantime. Two sets of the device's memory take turns: a
 * layer's leaves behind its forward while the layer above runs, and comes back while the layer above runs backward (the
 * lives of the plan's {@code StepClock}).
 *
 * <pre>
 *   forward    layer n runs    n begins to leave       the kernels of n + 1 ... those of n + 2 wait until n is out
 *   backward   n + 2 has run   n begins to come back   the kernels of n + 1 ... those of n wait until it is there
 * </pre>
 */
final class ActivationOffload implements AutoCloseable {
  private final HostStash stash;
  private final List<Plan.Offloaded> sets;

  private ActivationOffload(HostStash stash, List<Plan.Offloaded> sets) {
    this.stash = stash;
    this.sets = sets;
  }

  /** Takes the pinned memory of a plan's sets, or as much of it as the host gives while leaving the plan's other. */
  static ActivationOffload reserve(Kernels kernels, Plan plan) {
    List<Plan.Offloaded> wanted = plan.offloaded();
    if (wanted.isEmpty()) {
      return new ActivationOffload(null, List.of());
    }
    List<Long> bytes = wanted.stream().map(Plan.Offloaded::bytes).toList();
    long others = plan.hostBytes(true) - bytes.stream().mapToLong(Long::longValue).sum();
    HostStash stash = kernels.hostStash(bytes, others);
    return new ActivationOffload(stash, wanted.subList(0, stash.sets()));
  }

  /** The layout that the memory there is suffices for. */
  Layout granted(Layout layout) {
    return isRefused() ? layout.withHostLayers(sets.size()) : layout;
  }

  boolean isRefused() {
    return stash != null && stash.refusal().isPresent();
  }

  /** What the host refused and what is done instead, for people. */
  List<String> remarks(int layers) {
    if (!isRefused()) {
      return List.of();
    }
    return List.of(String.format(
        Locale.ROOT, "activations: the host pins memory for %d of %d layers only (%s); the others are recomputed in"
            + " backward from inputs on the device; with pinned_limit the plan counts with less from the beginning",
        sets.size(), layers - 1, stash.refusal().orElseThrow()));
  }

  /** Says which tensors travel. */
  void bind(Plan.Memory memory) {
    for (int set = 0; set < sets.size(); set++) {
      stash.bind(set, sets.get(set).buffers().stream().map(memory::tensor).toList());
    }
  }

  /**
   * The walk up through the layers: sets leave.
   *
   * @param lowest layer that backward reaches
   */
  LayerWalk forward(int lowest) {
    return new LayerWalk() {
      @Override
      public void after(int layer, int next) {
        if (travels(layer, lowest)) {
          stash.store(layer);
        }
        if (travels(layer - 1, lowest)) {
          stash.await(layer - 1);
        }
      }
    };
  }

  /**
   * The walk down: sets come back.
   *
   * @param lowest layer that it reaches
   */
  LayerWalk backward(int lowest) {
    return new LayerWalk() {
      @Override
      public void before(int layer) {
        if (travels(layer - 1, lowest)) {
          stash.fetch(layer - 1);
        }
        if (travels(layer, lowest)) {
          stash.await(layer);
        }
      }
    };
  }

  /** Sets are those of the first layers. */
  private boolean travels(int layer, int lowest) {
    return layer >= lowest && layer >= 0 && layer < sets.size();
  }

  @Override
  public void close() {
    if (stash != null) {
      stash.close();
    }
  }
}
