package dev.hone.plan;

import dev.hone.kernel.Kernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.Buffer.Kind;
import dev.hone.plan.StepClock.Backward;
import dev.hone.plan.StepClock.Forward;
import dev.hone.tensor.DType;
import java.util.ArrayList;
import java.util.List;

/**
 * The buffers of training and evaluation, by the names under which the engine asks for them. M tokens, C hidden, I intermediate,
 * H heads, KV key/value heads, D head dim, R rank, P positions, L layers.
 *
 * <p>Lives are those of the engine's walk ({@link StepClock}): with recomputation the blocks come to share one set of
 * what a block saves ({@link SavedTensor}), with all of it on the host two, and scratch of different moments shares
 * memory.
 */
public final class TrainingPlan {
  private TrainingPlan() {}

  /** The buffer of the device's own scratch, where it wants any. */
  public static final String WORKSPACE = "workspace";

  /** Slabs of a streamed head: of at most this many bytes. */
  static final long HEAD_SLAB = 16 << 20;

  /** Each of the two pinned buffers through which weights travel: long beside the start of a copy, small beside a layer. */
  static final long RING = 16 << 20;

  /** The ring as a whole. */
  public static final long RING_BYTES = 2 * RING;

  /** The plan of a run. */
  public static Plan of(ModelSpec spec, Tuning tuning, StepShape step, Layout layout, Needs needs) {
    StepClock clock = new StepClock(spec.layers(), true, layer -> layout.activations(layer, spec.layers()));
    Plan.Builder plan = new Plan.Builder(clock);
    trainables(plan, spec, tuning, layout);
    batch(plan, spec, step);
    for (int layer = 0; layer < spec.layers(); layer++) {
      plan.add(Kind.ACTIVATIONS, clock.input(layer), x(layer), step.compute(), step.tokens(), spec.hidden());
      block(plan, spec, tuning, step, layer);
      plan.offload(layer, offloaded(spec, tuning, step, layout, layer).stream().map(SavedTensor::name).toList());
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

  /** Name of a layer's input, of the last layer's output for layer L. */
  public static String x(int layer) {
    return "layers." + layer + ".x";
  }

  /** The flat buffer that holds the values of the decayed or the undecayed parameters. */
  public static String flat(String what, boolean decay) {
    return what + (decay ? ".decayed" : ".undecayed");
  }

  private static void trainables(Plan.Builder plan, ModelSpec spec, Tuning tuning, Layout layout) {
    List<ParameterShape> trained = ParameterShape.trained(spec, tuning);
    for (boolean decay : new boolean[] {true, false}) {
      long elements =
          trained.stream().filter(p -> p.decay() == decay).mapToLong(ParameterShape::elements).sum();
      if (elements > 0) {
        plan.add(Kind.PARAMETERS, flat("values", decay), DType.F32, elements);
        plan.add(Kind.GRADIENTS, flat("gradients", decay), DType.F32, elements);
        if (layout.optimizer()) {
          plan.add(Kind.OPTIMIZER, flat("adam.m", decay), DType.F32, elements);
          plan.add(Kind.OPTIMIZER, flat("adam.v", decay), DType.F32, elements);
        } else {
          for (String what : new String[] {"values", "gradients", "adam.m", "adam.v"}) {
            plan.host(Kind.OPTIMIZER, flat("host." + what, decay), 4 * elements, false);
          }
        }
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
      plan.host(Kind.BATCH, "embedding rows", step.compute().bytes((long) step.tokens() * spec.hidden()), true);
    }
    if (!layout.head()) {
      for (int slot = 0; slot < 2; slot++) {
        plan.add(Kind.WEIGHTS, plan.clock().atLoss(), "weights.head.slab." + slot, DType.U8, Math.min(HEAD_SLAB, head));
      }
    } else if (!tied || !layout.embedding()) {
      plan.add(Kind.WEIGHTS, "weights.head", DType.U8, head);
    }
    plan.host(Kind.WEIGHTS, "ring", streamed > 0 || !layout.head() ? 2 * RING : 0, true);
    plan.host(
        Kind.WEIGHTS, "base (mapped file)",
        streamed * blobs.layer() + (layout.head() ? 0 : head) + (layout.embedding() || tied && !layout.head() ? 0 : blobs.embedding()),
        false);
  }

  /** What of a layer is in pinned host memory between forward and backward; nothing where its activations stay. */
  static List<SavedTensor> offloaded(ModelSpec spec, Tuning tuning, StepShape step, Layout layout, int layer) {
    List<SavedTensor> there = new ArrayList<>();
    Layout.Activations choice = layout.activations(layer, spec.layers());
    if (choice.offloads()) {
      there.add(SavedTensor.input(spec, step, layer));
    }
    if (choice == Layout.Activations.SAVE_ALL) {
      there.addAll(SavedTensor.of(spec, tuning, step, layer));
    }
    return there;
  }

  /** What one block writes in forward and reads in backward, beside its input. */
  static void block(Plan.Builder plan, ModelSpec spec, Tuning tuning, StepShape step, int layer) {
    for (SavedTensor t : SavedTensor.of(spec, tuning, step, layer)) {
      long[] shape = t.shape().stream().mapToLong(Long::longValue).toArray();
      plan.add(Kind.ACTIVATIONS, plan.clock().saved(layer, t.from(), t.to()), t.name(), t.dtype(), shape);
    }
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
}
