package dev.hone.plan;

import dev.hone.config.Moments;
import dev.hone.model.ModelSpec;
import dev.hone.model.Tuning;
import java.util.EnumMap;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Counts placements of one run. What they have in common is made once: the simulation's sums, the trained parameters, and a walk's
 * buffers, which depend on the step and on what becomes of activations and on nothing else of a placement.
 */
final class Drafts {
  private record Treatment(Layout.Activations activations, int hostLayers, int keptLayers) {}

  private final ModelSpec spec;
  private final Tuning tuning;
  private final BlobBytes blobs;
  private final Planner.Ops ops;
  private final Timeline timeline;
  private final Map<Moments, List<ParameterGroup>> groups = new EnumMap<>(Moments.class);
  private final Map<Treatment, Plan.Builder> walks = new HashMap<>();
  private StepShape walked;

  Drafts(ModelSpec spec, Tuning tuning, BlobBytes blobs, Planner.Ops ops, CardSpec card) {
    this.spec = spec;
    this.tuning = tuning;
    this.blobs = blobs;
    this.ops = ops;
    timeline = new Timeline(spec, tuning, blobs, card);
  }

  Draft of(Layout layout, StepShape step) {
    StepShape shape = step.withRecompute(layout.activations().again());
    Needs needs = new Needs(ops.crossEntropyBytes(shape, layout), ops.workspaceBytes(shape), blobs);
    List<ParameterGroup> trained =
        groups.computeIfAbsent(shape.moments(), moments -> ParameterGroup.of(spec, tuning, moments));
    Plan.Builder buffers = TrainingPlan.inventory(spec, trained, shape, layout, needs, walk(layout, shape));
    return new Draft(layout, shape, buffers, timeline.tokensPerSecond(layout, shape, buffers.offloaded()));
  }

  /** The walks of one step are kept, until another one is asked for. */
  private Plan.Builder walk(Layout layout, StepShape shape) {
    StepShape step = shape.withRecompute(false).withMoments(Moments.F32);
    if (!step.equals(walked)) {
      walks.clear();
      walked = step;
    }
    return walks.computeIfAbsent(
        new Treatment(layout.activations(), layout.hostLayers(), layout.keptLayers()),
        treatment -> TrainingPlan.walk(spec, tuning, step, layout));
  }

  /** Device memory for what one layer saves, its input among it; the largest layer's where they differ. */
  long savedBytes(StepShape step) {
    Layout all = new Layout(Layout.Weights.OUTSIDE, 0, Layout.Activations.SAVE_ALL, true, true, true);
    return walk(all, step).offloaded().stream().mapToLong(Plan.Offloaded::bytes).max().orElse(Long.MAX_VALUE);
  }
}
