package dev.hone.engine;

import dev.hone.model.ModelSpec;
import dev.hone.plan.Plan;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;

/**
 * What one block saves in forward for backward, by the plan's names (see {@code TrainingPlan}). Queries, keys, values and attention
 * outputs have two descriptors over one memory: (M, H*D) for the projections and (M,H,D) for RoPE and attention; where there is a
 * q/k norm also (M*H, D).
 */
final class BlockActivations {
  final Tensor x;
  final Tensor next;
  final Tensor inputRstd;
  final Tensor q;
  final Tensor k;
  final Tensor v;
  final Tensor qHeads;
  final Tensor kHeads;
  final Tensor vHeads;
  final Tensor qRaw;
  final Tensor kRaw;
  final Tensor qRawRows;
  final Tensor kRawRows;
  final Tensor qRows;
  final Tensor kRows;
  final Tensor qRstd;
  final Tensor kRstd;
  final Tensor o;
  final Tensor oHeads;
  final Tensor lse;
  final Tensor mid;
  final Tensor mlpRstd;
  final Tensor gate;
  final Tensor up;
  final Tensor attentionRaw;
  final Tensor attentionPostRstd;
  final Tensor mlpRaw;
  final Tensor mlpPostRstd;
  private final ModelSpec spec;
  private final List<Tensor> tokenRows = new ArrayList<>();

  BlockActivations(Plan.Memory memory, Arena arena, ModelSpec spec, int layer) {
    this.spec = spec;
    String at = "layers." + layer + ".";
    x = take(memory, at + "x");
    next = take(memory, "layers." + (layer + 1) + ".x");
    inputRstd = take(memory, at + "input_norm.rstd");
    q = take(memory, at + "q");
    k = take(memory, at + "k");
    v = take(memory, at + "v");
    o = take(memory, at + "o");
    lse = memory.tensor(at + "lse");
    mid = take(memory, at + "mid");
    mlpRstd = take(memory, at + "mlp_norm.rstd");
    gate = take(memory, at + "gate");
    up = take(memory, at + "up");
    qHeads = heads(arena, q, spec.heads());
    kHeads = heads(arena, k, spec.kvHeads());
    vHeads = heads(arena, v, spec.kvHeads());
    oHeads = heads(arena, o, spec.heads());
    qRaw = spec.qkNorm() ? take(memory, at + "q_raw") : null;
    kRaw = spec.qkNorm() ? take(memory, at + "k_raw") : null;
    qRstd = spec.qkNorm() ? memory.tensor(at + "q_norm.rstd") : null;
    kRstd = spec.qkNorm() ? memory.tensor(at + "k_norm.rstd") : null;
    qRows = spec.qkNorm() ? headRows(arena, q) : null;
    kRows = spec.qkNorm() ? headRows(arena, k) : null;
    qRawRows = spec.qkNorm() ? headRows(arena, qRaw) : null;
    kRawRows = spec.qkNorm() ? headRows(arena, kRaw) : null;
    attentionRaw = spec.postNorms() ? take(memory, at + "attention_raw") : null;
    attentionPostRstd = spec.postNorms() ? take(memory, at + "attention_post_norm.rstd") : null;
    mlpRaw = spec.postNorms() ? take(memory, at + "mlp_raw") : null;
    mlpPostRstd = spec.postNorms() ? take(memory, at + "mlp_post_norm.rstd") : null;
  }

  private Tensor take(Plan.Memory memory, String name) {
    Tensor tensor = memory.tensor(name);
    tokenRows.add(tensor);
    return tensor;
  }

  private Tensor heads(Arena arena, Tensor flat, int heads) {
    Tensor view = flat.view(arena, flat.name(), 0, flat.shape(0), heads, spec.headDim());
    tokenRows.add(view);
    return view;
  }

  private Tensor headRows(Arena arena, Tensor flat) {
    return flat.view(arena, flat.name(), 0, flat.elements() / spec.headDim(), spec.headDim());
  }

  /** Sets the token count of every tensor for the coming pass. */
  void tokens(int m) {
    for (Tensor tensor : tokenRows) {
      tensor.rows(m);
    }
    lse.reshape(spec.heads(), m);
    if (spec.qkNorm()) {
      qRstd.rows((long) m * spec.heads());
      kRstd.rows((long) m * spec.kvHeads());
      qRows.rows((long) m * spec.heads());
      kRows.rows((long) m * spec.kvHeads());
      qRawRows.rows((long) m * spec.heads());
      kRawRows.rows((long) m * spec.kvHeads());
    }
  }
}
