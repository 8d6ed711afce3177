package dev.hone.engine;

import dev.hone.model.ModelSpec;
import dev.hone.plan.Plan;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;

/** Buffers that every block uses in turn; the gradients among them are null where nothing trains. */
final class Scratch {
  final Tensor normed;
  final Tensor branch;
  final Tensor product;
  final Tensor dProduct;
  final Tensor d;
  final Tensor dQ;
  final Tensor dK;
  final Tensor dV;
  final Tensor dO;
  final Tensor dQHeads;
  final Tensor dKHeads;
  final Tensor dVHeads;
  final Tensor dOHeads;
  final Tensor dQRows;
  final Tensor dKRows;
  final Tensor delta;
  private final ModelSpec spec;
  private final List<Tensor> tokenRows = new ArrayList<>();

  Scratch(Plan.Memory memory, Arena arena, ModelSpec spec) {
    this.spec = spec;
    normed = take(memory, "normed");
    branch = take(memory, "branch");
    product = take(memory, "product");
    dProduct = take(memory, "dproduct");
    d = take(memory, "d");
    dQ = take(memory, "dq");
    dK = take(memory, "dk");
    dV = take(memory, "dv");
    dO = take(memory, "do");
    dQHeads = heads(arena, dQ, spec.heads());
    dKHeads = heads(arena, dK, spec.kvHeads());
    dVHeads = heads(arena, dV, spec.kvHeads());
    dOHeads = heads(arena, dO, spec.heads());
    dQRows = headRows(arena, dQ);
    dKRows = headRows(arena, dK);
    delta = memory.has("delta") ? memory.tensor("delta") : null;
  }

  private Tensor take(Plan.Memory memory, String name) {
    if (!memory.has(name)) {
      return null;
    }
    tokenRows.add(memory.tensor(name));
    return memory.tensor(name);
  }

  private Tensor heads(Arena arena, Tensor flat, int heads) {
    if (flat == null) {
      return null;
    }
    Tensor view = flat.view(arena, flat.name(), 0, flat.shape(0), heads, spec.headDim());
    tokenRows.add(view);
    return view;
  }

  private Tensor headRows(Arena arena, Tensor flat) {
    return flat == null || !spec.qkNorm()
        ? null
        : flat.view(arena, flat.name(), 0, flat.elements() / spec.headDim(), spec.headDim());
  }

  /** Sets the token count for the coming pass. */
  void tokens(int m) {
    for (Tensor tensor : tokenRows) {
      tensor.rows(m);
    }
    if (delta != null) {
      delta.reshape(spec.heads(), m);
    }
    if (dQRows != null) {
      dQRows.rows((long) m * spec.heads());
      dKRows.rows((long) m * spec.kvHeads());
    }
  }
}
