package dev.hone.plan;

import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.Buffer.Kind;
import dev.hone.tensor.DType;
import java.util.List;

/**
 * The buffers of decoding: one block's activations, hidden states that alternate, a key-value cache, the last token's logits.
 * {@code step.tokens()} is the prompt's chunk, {@code step.positions()} the cache's length.
 */
public final class InferencePlan {
  private InferencePlan() {}

  /**
   * @param ownWeights true when adapters live in this plan; false when decoding borrows the weights of a training run, adapters and
   *     their scratch included
   * @param workspaceBytes what the device wants for itself
   */
  public static Plan of(
      ModelSpec spec, Tuning tuning, StepShape step, boolean ownWeights, long workspaceBytes) {
    StepClock clock = new StepClock(spec.layers(), false, layer -> Layout.Activations.KEEP);
    Plan.Builder plan = new Plan.Builder(clock);
    long m = step.tokens();
    if (ownWeights) {
      adapters(plan, spec, tuning, step);
    }
    TrainingPlan.batch(plan, spec, step);
    for (int layer = 0; layer <= spec.layers(); layer++) {
      Life life = layer == spec.layers() ? clock.output() : clock.input(layer);
      plan.add(Kind.ACTIVATIONS, life, TrainingPlan.x(layer), step.compute(), m, spec.hidden());
    }
    for (int layer = 0; layer < spec.layers(); layer++) {
      TrainingPlan.block(plan, SavedTensor.of(spec, List.of(), step, layer), layer);
      plan.add(Kind.CACHE, keys(layer), step.compute(), step.positions(), spec.keyValueDim());
      plan.add(Kind.CACHE, values(layer), step.compute(), step.positions(), spec.keyValueDim());
    }
    TrainingPlan.scratch(plan, spec, new Tuning.None(), step);
    plan.add(Kind.ACTIVATIONS, "final.rstd", DType.F32, m);
    plan.add(Kind.ACTIVATIONS, "last", step.compute(), 1, spec.hidden());
    plan.add(Kind.ACTIVATIONS, "logits", DType.F32, 1, spec.vocab());
    TrainingPlan.workspace(plan, workspaceBytes);
    return plan.build();
  }

  /** Name of a layer's key cache, (positions, KV*D). */
  public static String keys(int layer) {
    return "cache." + layer + ".keys";
  }

  /** Name of a layer's value cache, (positions, KV*D). */
  public static String values(int layer) {
    return "cache." + layer + ".values";
  }

  private static void adapters(Plan.Builder plan, ModelSpec spec, Tuning tuning, StepShape step) {
    for (ParameterGroup group : ParameterGroup.of(spec, tuning, step.moments())) {
      plan.add(Kind.PARAMETERS, group.buffer("values"), DType.F32, group.elements());
    }
    plan.add(Kind.SCRATCH, "sum", DType.F64, 1);
    if (tuning instanceof Tuning.Lora lora) {
      for (Tuning.Lora.Target target : lora.targets()) {
        Projection p = target.projection();
        plan.add(Kind.SCRATCH, TrainingPlan.u(target.layer(), p), step.compute(), step.tokens(), target.rank());
      }
    }
  }
}
