package dev.hone.plan;

import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.StepClock.Backward;
import dev.hone.plan.StepClock.Forward;
import dev.hone.tensor.DType;
import java.util.ArrayList;
import java.util.List;

/**
 * One tensor that a block writes in forward and reads in backward.
 *
 * <p>A block saves its input x, q, k, v after RoPE (and before the q/k norm where there is one), the attention output o
 * and log-sum-exp, the residual stream between attention and MLP, gate and up, each norm's 1/rms, what goes into a
 * post-norm, and u = A x of each adapter. Norm outputs and the gated product are made again in backward, from what is
 * saved.
 *
 * @param name unique in the model, such as {@code layers.3.q}
 * @param from the moment of forward that writes it
 * @param to the moment of backward that reads it last
 */
record SavedTensor(String name, Forward from, Backward to, DType dtype, List<Long> shape) {

  long bytes() {
    return dtype.bytes(shape.stream().mapToLong(Long::longValue).reduce(1, Math::multiplyExact));
  }

  /** A block's input, which the block below or the embedding has written. */
  static SavedTensor input(ModelSpec spec, StepShape step, int layer) {
    return tensor(TrainingPlan.x(layer), Forward.NORM, Backward.QKV, step.compute(), step.tokens(), spec.hidden());
  }

  /** What a block with these adapters saves beside its input; M tokens. */
  static List<SavedTensor> of(ModelSpec spec, List<Tuning.Lora.Target> adapters, StepShape step, int layer) {
    List<SavedTensor> saved = new ArrayList<>();
    String at = "layers." + layer + ".";
    long m = step.tokens();
    DType act = step.compute();
    saved.add(tensor(at + "input_norm.rstd", Forward.NORM, Backward.QKV, DType.F32, m));
    saved.add(tensor(at + "q", Forward.QKV, Backward.ATTENTION, act, m, spec.queryDim()));
    saved.add(tensor(at + "k", Forward.QKV, Backward.ATTENTION, act, m, spec.keyValueDim()));
    saved.add(tensor(at + "v", Forward.QKV, Backward.ATTENTION, act, m, spec.keyValueDim()));
    if (spec.qkNorm()) {
      saved.add(tensor(at + "q_raw", Forward.QKV, Backward.ATTENTION, act, m, spec.queryDim()));
      saved.add(tensor(at + "k_raw", Forward.QKV, Backward.ATTENTION, act, m, spec.keyValueDim()));
      saved.add(tensor(at + "q_norm.rstd", Forward.QKV, Backward.ATTENTION, DType.F32, m * spec.heads()));
      saved.add(tensor(at + "k_norm.rstd", Forward.QKV, Backward.ATTENTION, DType.F32, m * spec.kvHeads()));
    }
    saved.add(tensor(at + "o", Forward.ATTENTION, Backward.ATTENTION, act, m, spec.queryDim()));
    saved.add(tensor(at + "lse", Forward.ATTENTION, Backward.ATTENTION, DType.F32, spec.heads(), m));
    saved.add(tensor(at + "mid", Forward.O, Backward.GATE_UP, act, m, spec.hidden()));
    saved.add(tensor(at + "mlp_norm.rstd", Forward.MLP_NORM, Backward.GATE_UP, DType.F32, m));
    saved.add(tensor(at + "gate", Forward.GATE_UP, Backward.GATE_UP, act, m, spec.intermediate()));
    saved.add(tensor(at + "up", Forward.GATE_UP, Backward.GATE_UP, act, m, spec.intermediate()));
    if (spec.postNorms()) {
      saved.add(tensor(at + "attention_raw", Forward.O, Backward.O, act, m, spec.hidden()));
      saved.add(tensor(at + "attention_post_norm.rstd", Forward.O, Backward.O, DType.F32, m));
      saved.add(tensor(at + "mlp_raw", Forward.DOWN, Backward.DOWN, act, m, spec.hidden()));
      saved.add(tensor(at + "mlp_post_norm.rstd", Forward.DOWN, Backward.DOWN, DType.F32, m));
    }
    for (Tuning.Lora.Target target : adapters) {
      Projection p = target.projection();
      saved.add(tensor(TrainingPlan.u(layer, p), made(p), used(p), act, m, target.rank()));
    }
    return saved;
  }

  private static SavedTensor tensor(String name, Forward from, Backward to, DType dtype, long... shape) {
    List<Long> extents = new ArrayList<>();
    for (long extent : shape) {
      extents.add(extent);
    }
    return new SavedTensor(name, from, to, dtype, List.copyOf(extents));
  }

  /** The moment at which a projection runs forward. */
  private static Forward made(Projection p) {
    return switch (p) {
      case Q, K, V -> Forward.QKV;
      case O -> Forward.O;
      case GATE, UP -> Forward.GATE_UP;
      case DOWN -> Forward.DOWN;
    };
  }

  /** The moment at which a projection runs backward. */
  private static Backward used(Projection p) {
    return switch (p) {
      case Q, K, V -> Backward.QKV;
      case O -> Backward.O;
      case GATE, UP -> Backward.GATE_UP;
      case DOWN -> Backward.DOWN;
    };
  }
}
