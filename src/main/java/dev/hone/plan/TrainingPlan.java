package dev.hone.plan;

import dev.hone.kernel.Kernels;
import dev.hone.kernel.Slabs;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.Buffer.Kind;
import dev.hone.plan.StepClock.Backward;
import dev.hone.plan.StepClock.Forward;
import dev.hone.tensor.DType;
import java.util.List;

/**
 * The buffers of training and evaluation, by the names under which the engine asks for them. M tokens, C hidden, I intermediate,
 * H heads, KV key/value heads, D head dim, R rank, P positions, L layers.
 *
 * <p>What a block saves for backward: its input x, q, k, v after RoPE (and before the q/k norm where there is one), the attention
 * output o and log-sum-exp, the residual stream between attention and MLP, gate and up, each norm's 1/rms, and u = A x of each
 * adapter. Norm outputs and the gated product are made again in backward, from what is saved. Lives are those of the engine's walk
 * ({@link StepClock}): with recomputation the blocks come to share one set, and scratch of different moments shares memory.
 */
public final class TrainingPlan {
  private TrainingPlan() {}

  /** The buffer of the device's own scratch, where it wants any. */
  public static final String WORKSPACE = "workspace";

  /** Slots that the slabs of a streamed head take turns in. */
  public static final int HEAD_SLOTS = 2;

  /** Each of the two pinned buffers through which weights travel: long beside the start of a copy, small beside a layer. */
  static final long RING = 16 << 20;

  /** The ring as a whole. */
  public static final long RING_BYTES = 2 * RING;

  /** Elements of a chunk on their way through the host's optimiser: 4 MiB, long beside the start of a copy. Whole blocks of 8-bit moments. */
  public static final long HOST_CHUNK = 1 << 20;

  /** The plan of a run. */
  public static Plan of(ModelSpec spec, Tuning tuning, StepShape step, Layout layout, Needs needs) {
    int last = spec.layers() - 1;
    // The layer that backward begins with still has everything from its forward.
    Layout.Activations activations = layout.activations();
    StepClock clock =
        new StepClock(
            spec.layers(), true, layer -> activations.again() && layer < last,
            layer -> activations == Layout.Activations.SAVE_ALL && layer < last);
    Plan.Builder plan = new Plan.Builder(clock);
    trainables(plan, ParameterGroup.of(spec, tuning, step.moments()), layout);
    batch(plan, spec, step);
    for (int layer = 0; layer < spec.layers(); layer++) {
      boolean kept = !activations.offloads() || layer == last;
      plan.add(Kind.ACTIVATIONS, clock.input(layer, kept), x(layer), step.compute(), step.tokens(), spec.hidden());
      block(plan, spec, tuning, step, layer);
    }
    plan.add(Kind.ACTIVATIONS, clock.output(), x(spec.layers()), step.compute(), step.tokens(), spec.hidden());
    plan.add(Kind.ACTIVATIONS, clock.atLoss(), "final.rstd", DType.F32, step.tokens());
    scratch(plan, spec, tuning, step);
    plan.add(Kind.SCRATCH, "loss", DType.F64, 1);
    plan.add(Kind.SCRATCH, clock.atLoss(), "cross_entropy", DType.U8, Math.max(1, needs.crossEntropyBytes()));
    workspace(plan, needs.workspaceBytes());
    if (layout.weights() == Layout.Weights.ARENA) {
      weights(plan, spec, layout, step, needs.blobs());
    }
    if (activations.offloads()) {
      plan.host(Kind.ACTIVATIONS, "activations", pinnedActivations(spec, step, layout), true);
    }
    return plan.build();
  }

  /** The largest shapes of a run's linear layers and adapters. */
  public static Kernels.Largest largest(ModelSpec spec, Tuning tuning, StepShape step) {
    long features = 0;
    long weight = 0;
    for (Projection p : Projection.values()) {
      features = Math.max(features, Math.max(p.out(spec), p.in(spec)));
      weight = Math.max(weight, (long) p.out(spec) * p.in(spec));
    }
    int rank = 0;
    if (tuning instanceof Tuning.Lora lora) {
      rank = lora.targets().stream().mapToInt(Tuning.Lora.Target::rank).max().orElse(0);
    }
    return new Kernels.Largest(step.tokens(), features, weight, rank);
  }

  static void workspace(Plan.Builder plan, long bytes) {
    if (bytes > 0) {
      plan.add(Kind.SCRATCH, WORKSPACE, DType.U8, bytes);
    }
  }

  /** Name of a slot for slabs of the head. */
  public static String headSlab(int slot) {
    return "weights.head.slab." + slot;
  }

  /** Name of a layer's input, of the last layer's output for layer L. */
  public static String x(int layer) {
    return "layers." + layer + ".x";
  }

  /** On the host, moments are whole, values and gradients pass through by chunks: what trains is the device's. */
  private static void trainables(Plan.Builder plan, List<ParameterGroup> groups, Layout layout) {
    for (ParameterGroup group : groups) {
      plan.add(Kind.PARAMETERS, group.buffer("values"), DType.F32, group.elements());
      plan.add(Kind.GRADIENTS, group.buffer("gradients"), DType.F32, group.elements());
      for (String moment : new String[] {"adam.m", "adam.v"}) {
        DType dtype = group.eightBit() ? DType.U8 : DType.F32;
        long blocks = group.eightBit() ? ParameterGroup.blocks(group.elements()) : 0;
        if (layout.optimizer()) {
          plan.add(Kind.OPTIMIZER, group.buffer(moment), dtype, group.elements());
          if (blocks > 0) {
            plan.add(Kind.OPTIMIZER, group.buffer(moment + ".absmax"), DType.F32, blocks);
          }
        } else {
          plan.host(Kind.OPTIMIZER, group.buffer("host." + moment), dtype.bytes(group.elements()), false);
          plan.host(Kind.OPTIMIZER, group.buffer("host." + moment + ".absmax"), 4 * blocks, false);
        }
      }
    }
    if (!layout.optimizer()) {
      long chunk = Math.min(HOST_CHUNK, groups.stream().mapToLong(ParameterGroup::elements).max().orElse(0));
      plan.host(Kind.OPTIMIZER, "host.values", 4 * chunk, false);
      plan.host(Kind.OPTIMIZER, "host.gradients", 4 * chunk, false);
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

  /** The base: layers that stay, slots for those that pass, head and embedding or what stands in for them. */
  private static void weights(Plan.Builder plan, ModelSpec spec, Layout layout, StepShape step, BlobBytes blobs) {
    int streamed = spec.layers() - layout.residentLayers();
    for (int layer = streamed; layer < spec.layers(); layer++) {
      plan.add(Kind.WEIGHTS, "weights.layers." + layer, DType.U8, blobs.layer());
    }
    for (int slot = 0; slot < Math.min(Layout.SLOTS, streamed); slot++) {
      plan.add(Kind.WEIGHTS, "weights.slot." + slot, DType.U8, blobs.layer());
    }
    plan.add(Kind.WEIGHTS, "weights.final", DType.U8, Math.ceilDiv(4L * spec.hidden(), 64L) * 64);
    boolean tied = blobs.head() == 0;
    long head = tied ? blobs.embedding() : blobs.head();
    if (layout.embedding()) {
      plan.add(Kind.WEIGHTS, "weights.embedding", DType.U8, blobs.embedding());
    } else {
      plan.host(Kind.BATCH, "embedding rows", 2 * step.compute().bytes((long) step.tokens() * spec.hidden()), true);
    }
    if (!layout.head()) {
      long row = step.compute().bytes(spec.hidden());
      for (int slot = 0; slot < HEAD_SLOTS; slot++) {
        plan.add(Kind.WEIGHTS, plan.clock().atLoss(), headSlab(slot), DType.U8, Slabs.rows(spec.vocab(), row) * row);
      }
    } else if (!tied || !layout.embedding()) {
      plan.add(Kind.WEIGHTS, "weights.head", DType.U8, head);
    }
    plan.host(Kind.BATCH, "micro-batches", 2 * 4L * (3L * step.tokens() + step.documents() + 1), true);
    plan.host(Kind.WEIGHTS, "ring", streamed > 0 || !layout.head() ? 2 * RING : 0, true);
    plan.host(
        Kind.WEIGHTS, "base (mapped file)",
        streamed * blobs.layer() + (layout.head() ? 0 : head) + (layout.embedding() || tied && !layout.head() ? 0 : blobs.embedding()),
        false);
  }

  /** Bytes of what goes to the host between forward and backward; the last layer's stay. */
  private static long pinnedActivations(ModelSpec spec, StepShape step, Layout layout) {
    long layers = spec.layers() - 1L;
    long row = spec.hidden();
    if (layout.activations() == Layout.Activations.SAVE_ALL) {
      row += spec.hidden() + 2L * spec.queryDim() + 2L * spec.keyValueDim() + 2L * spec.intermediate();
    }
    return layers * step.compute().bytes(row * step.tokens());
  }

  /** What one block writes in forward and reads in backward. */
  static void block(Plan.Builder plan, ModelSpec spec, Tuning tuning, StepShape step, int layer) {
    Adder saved = new Adder(plan, layer);
    long m = step.tokens();
    DType act = step.compute();
    saved.add(Forward.NORM, Backward.QKV, "input_norm.rstd", DType.F32, m);
    saved.add(Forward.QKV, Backward.ATTENTION, "q", act, m, spec.queryDim());
    saved.add(Forward.QKV, Backward.ATTENTION, "k", act, m, spec.keyValueDim());
    saved.add(Forward.QKV, Backward.ATTENTION, "v", act, m, spec.keyValueDim());
    if (spec.qkNorm()) {
      saved.add(Forward.QKV, Backward.ATTENTION, "q_raw", act, m, spec.queryDim());
      saved.add(Forward.QKV, Backward.ATTENTION, "k_raw", act, m, spec.keyValueDim());
      saved.add(Forward.QKV, Backward.ATTENTION, "q_norm.rstd", DType.F32, m * spec.heads());
      saved.add(Forward.QKV, Backward.ATTENTION, "k_norm.rstd", DType.F32, m * spec.kvHeads());
    }
    saved.add(Forward.ATTENTION, Backward.ATTENTION, "o", act, m, spec.queryDim());
    saved.add(Forward.ATTENTION, Backward.ATTENTION, "lse", DType.F32, spec.heads(), m);
    saved.add(Forward.O, Backward.GATE_UP, "mid", act, m, spec.hidden());
    saved.add(Forward.MLP_NORM, Backward.GATE_UP, "mlp_norm.rstd", DType.F32, m);
    saved.add(Forward.GATE_UP, Backward.GATE_UP, "gate", act, m, spec.intermediate());
    saved.add(Forward.GATE_UP, Backward.GATE_UP, "up", act, m, spec.intermediate());
    if (spec.postNorms()) {
      saved.add(Forward.O, Backward.O, "attention_raw", act, m, spec.hidden());
      saved.add(Forward.O, Backward.O, "attention_post_norm.rstd", DType.F32, m);
      saved.add(Forward.DOWN, Backward.DOWN, "mlp_raw", act, m, spec.hidden());
      saved.add(Forward.DOWN, Backward.DOWN, "mlp_post_norm.rstd", DType.F32, m);
    }
    if (tuning instanceof Tuning.Lora lora) {
      for (Tuning.Lora.Target target : lora.targets()) {
        if (target.layer() == layer) {
          saved.add(made(target.projection()), used(target.projection()), target.projection().target() + ".u", act, m, target.rank());
        }
      }
    }
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

  /** Name of the saved u = A x of an adapter. */
  public static String u(int layer, Projection projection) {
    return "layers." + layer + "." + projection.target() + ".u";
  }

  static void scratch(Plan.Builder plan, ModelSpec spec, Tuning tuning, StepShape step) {
    long m = step.tokens();
    DType act = step.compute();
    StepClock clock = plan.clock();
    Life normed =
        clock.scratch(Forward.NORM, Forward.QKV).and(clock.scratch(Forward.MLP_NORM, Forward.GATE_UP))
            .and(clock.scratch(Backward.GATE_UP, Backward.GATE_UP)).and(clock.scratch(Backward.QKV, Backward.QKV))
            .and(clock.atLoss());
    Life branch =
        clock.scratch(Forward.O, Forward.O).and(clock.scratch(Forward.DOWN, Forward.DOWN))
            .and(clock.scratch(Backward.GATE_UP, Backward.GATE_UP)).and(clock.scratch(Backward.QKV, Backward.QKV));
    if (spec.postNorms() || spec.residualMultiplier() != 1) {
      branch = branch.and(clock.scratch(Backward.DOWN, Backward.DOWN)).and(clock.scratch(Backward.O, Backward.O));
    }
    Life product = clock.scratch(Forward.PRODUCT, Forward.DOWN).and(clock.scratch(Backward.DOWN, Backward.DOWN));
    plan.add(Kind.SCRATCH, normed, "normed", act, m, spec.hidden());
    plan.add(Kind.SCRATCH, branch, "branch", act, m, spec.hidden());
    plan.add(Kind.SCRATCH, product, "product", act, m, spec.intermediate());
    if (tuning instanceof Tuning.None) {
      return;
    }
    Life attention = clock.scratch(Backward.ATTENTION, Backward.QKV);
    plan.add(Kind.SCRATCH, clock.scratch(Backward.DOWN, Backward.GATED), "dproduct", act, m, spec.intermediate());
    plan.add(Kind.SCRATCH, clock.gradient(), "d", act, m, spec.hidden());
    plan.add(Kind.SCRATCH, attention, "dq", act, m, spec.queryDim());
    plan.add(Kind.SCRATCH, attention, "dk", act, m, spec.keyValueDim());
    plan.add(Kind.SCRATCH, attention, "dv", act, m, spec.keyValueDim());
    plan.add(Kind.SCRATCH, clock.scratch(Backward.O, Backward.ATTENTION), "do", act, m, spec.queryDim());
    plan.add(Kind.SCRATCH, clock.scratch(Backward.ATTENTION, Backward.ATTENTION), "delta", DType.F32, spec.heads(), m);
    if (tuning instanceof Tuning.Lora lora) {
      int rank = lora.targets().stream().mapToInt(Tuning.Lora.Target::rank).max().orElse(1);
      plan.add(Kind.SCRATCH, clock.scratch(Backward.DOWN, Backward.QKV), "e", act, m * rank);
    }
  }

  /** Adds a block's buffer with the life that it has between two moments of its layer. */
  private record Adder(Plan.Builder plan, int layer) {
    void add(Forward from, Backward to, String name, DType dtype, long... shape) {
      plan.add(Kind.ACTIVATIONS, plan.clock().saved(layer, from, to), "layers." + layer + "." + name, dtype, shape);
    }
  }
}
