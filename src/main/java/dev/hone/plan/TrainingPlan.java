package dev.hone.plan;

import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.Buffer.Kind;
import dev.hone.tensor.DType;
import java.util.List;

/**
 * The buffers of training and evaluation, by the names under which the engine asks for them. M tokens, C hidden, I intermediate,
 * H heads, KV key/value heads, D head dim, R rank, P positions, L layers.
 *
 * <p>What a block saves for backward: its input x, q, k, v after RoPE (and before the q/k norm where there is one), the attention
 * output o and log-sum-exp, the residual stream between attention and MLP, gate and up, each norm's 1/rms, and u = A x of each
 * adapter. Norm outputs and the gated product are made again in backward, from what is saved. With {@code recompute} the blocks
 * share one set of these and only the inputs are kept.
 */
public final class TrainingPlan {
  private TrainingPlan() {}

  /** The buffer of the device's own scratch, where it wants any. */
  public static final String WORKSPACE = "workspace";

  /** Bytes of cross-entropy scratch and of the device's own depend on the device; the rest follows from the shapes. */
  public static Plan of(
      ModelSpec spec, Tuning tuning, StepShape step, long crossEntropyBytes, long workspaceBytes) {
    Plan.Builder plan = new Plan.Builder();
    trainables(plan, spec, tuning);
    batch(plan, spec, step);
    for (int layer = 0; layer <= spec.layers(); layer++) {
      plan.add(Kind.ACTIVATIONS, "layers." + layer + ".x", step.compute(), step.tokens(), spec.hidden());
    }
    for (int layer = 0; layer < spec.layers(); layer++) {
      block(plan, spec, tuning, step, layer);
    }
    plan.add(Kind.ACTIVATIONS, "final.rstd", DType.F32, step.tokens());
    scratch(plan, spec, tuning, step);
    plan.add(Kind.SCRATCH, "loss", DType.F64, 1);
    plan.add(Kind.SCRATCH, "cross_entropy", DType.U8, Math.max(1, crossEntropyBytes));
    workspace(plan, workspaceBytes);
    return plan.build();
  }

  static void workspace(Plan.Builder plan, long bytes) {
    if (bytes > 0) {
      plan.add(Kind.SCRATCH, WORKSPACE, DType.U8, bytes);
    }
  }

  /** The flat buffer that holds the values of the decayed or the undecayed parameters. */
  public static String flat(String what, boolean decay) {
    return what + (decay ? ".decayed" : ".undecayed");
  }

  private static void trainables(Plan.Builder plan, ModelSpec spec, Tuning tuning) {
    List<ParameterShape> trained = ParameterShape.trained(spec, tuning);
    for (boolean decay : new boolean[] {true, false}) {
      long elements =
          trained.stream().filter(p -> p.decay() == decay).mapToLong(ParameterShape::elements).sum();
      if (elements > 0) {
        plan.add(Kind.PARAMETERS, flat("values", decay), DType.F32, elements);
        plan.add(Kind.GRADIENTS, flat("gradients", decay), DType.F32, elements);
        plan.add(Kind.OPTIMIZER, flat("adam.m", decay), DType.F32, elements);
        plan.add(Kind.OPTIMIZER, flat("adam.v", decay), DType.F32, elements);
      }
    }
    plan.add(Kind.SCRATCH, "sum", DType.F64, 1);
  }

  static void batch(Plan.Builder plan, ModelSpec spec, StepShape step) {
    plan.add(Kind.BATCH, "batch.ids", DType.I32, step.tokens());
    plan.add(Kind.BATCH, "batch.positions", DType.I32, step.tokens());
    plan.add(Kind.BATCH, "batch.targets", DType.I32, step.tokens());
    plan.add(Kind.BATCH, "batch.docs", DType.I32, step.documents() + 1L);
    plan.add(Kind.BATCH, "rope.cos", DType.F32, step.positions(), spec.rope().rotaryDims() / 2);
    plan.add(Kind.BATCH, "rope.sin", DType.F32, step.positions(), spec.rope().rotaryDims() / 2);
  }

  /** What one block writes in forward and reads in backward. */
  static void block(Plan.Builder plan, ModelSpec spec, Tuning tuning, StepShape step, int layer) {
    Adder saved = new Adder(plan, layer, step.recompute() && layer > 0);
    long m = step.tokens();
    DType act = step.compute();
    saved.add("input_norm.rstd", DType.F32, m);
    saved.add("q", act, m, spec.queryDim());
    saved.add("k", act, m, spec.keyValueDim());
    saved.add("v", act, m, spec.keyValueDim());
    if (spec.qkNorm()) {
      saved.add("q_raw", act, m, spec.queryDim());
      saved.add("k_raw", act, m, spec.keyValueDim());
      saved.add("q_norm.rstd", DType.F32, m * spec.heads());
      saved.add("k_norm.rstd", DType.F32, m * spec.kvHeads());
    }
    saved.add("o", act, m, spec.queryDim());
    saved.add("lse", DType.F32, spec.heads(), m);
    saved.add("mid", act, m, spec.hidden());
    saved.add("mlp_norm.rstd", DType.F32, m);
    saved.add("gate", act, m, spec.intermediate());
    saved.add("up", act, m, spec.intermediate());
    if (spec.postNorms()) {
      saved.add("attention_raw", act, m, spec.hidden());
      saved.add("attention_post_norm.rstd", DType.F32, m);
      saved.add("mlp_raw", act, m, spec.hidden());
      saved.add("mlp_post_norm.rstd", DType.F32, m);
    }
    if (tuning instanceof Tuning.Lora lora) {
      for (Tuning.Lora.Target target : lora.targets()) {
        if (target.layer() == layer) {
          plan.add(Kind.ACTIVATIONS, u(layer, target.projection()), act, m, target.rank());
        }
      }
    }
  }

  /** Name of the saved u = A x of an adapter. */
  public static String u(int layer, Projection projection) {
    return "layers." + layer + "." + projection.target() + ".u";
  }

  static void scratch(Plan.Builder plan, ModelSpec spec, Tuning tuning, StepShape step) {
    long m = step.tokens();
    DType act = step.compute();
    plan.add(Kind.SCRATCH, "normed", act, m, spec.hidden());
    plan.add(Kind.SCRATCH, "branch", act, m, spec.hidden());
    plan.add(Kind.SCRATCH, "product", act, m, spec.intermediate());
    if (tuning instanceof Tuning.None) {
      return;
    }
    plan.add(Kind.SCRATCH, "dproduct", act, m, spec.intermediate());
    plan.add(Kind.SCRATCH, "d", act, m, spec.hidden());
    plan.add(Kind.SCRATCH, "dq", act, m, spec.queryDim());
    plan.add(Kind.SCRATCH, "dk", act, m, spec.keyValueDim());
    plan.add(Kind.SCRATCH, "dv", act, m, spec.keyValueDim());
    plan.add(Kind.SCRATCH, "do", act, m, spec.queryDim());
    plan.add(Kind.SCRATCH, "delta", DType.F32, spec.heads(), m);
    if (tuning instanceof Tuning.Lora lora) {
      int rank = lora.targets().stream().mapToInt(Tuning.Lora.Target::rank).max().orElse(1);
      plan.add(Kind.SCRATCH, "e", act, m * rank);
    }
  }

  /** Adds a block's buffer, or places it over the first block's when blocks share one set. */
  private record Adder(Plan.Builder plan, int layer, boolean shared) {
    void add(String name, DType dtype, long... shape) {
      String full = "layers." + layer + "." + name;
      if (shared) {
        plan.share("layers.0." + name, full);
      } else {
        plan.add(Kind.ACTIVATIONS, full, dtype, shape);
      }
    }
  }
}
