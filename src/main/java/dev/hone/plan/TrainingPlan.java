package dev.hone.plan;

import dev.hone.kernel.Kernels;
import dev.hone.kernel.RoundTrips;
import dev.hone.kernel.Slabs;
import dev.hone.kernel.Uploads;
import dev.hone.model.ModelSpec;
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

  /** Slots that the slabs of a streamed head take turns in. */
  public static final int HEAD_SLOTS = 2;

  /** Each of the two pinned buffers through which weights travel: long beside the start of a copy, small beside a layer. */
  static final long RING = 16 << 20;

  /** The ring as a whole. */
  public static final long RING_BYTES = 2 * RING;

  /**
   * Elements of a chunk on their way through the host's optimiser: 2 MiB of values and as many of gradients, 80 us each at 25 GB/s, long
   * beside the 10 us that a copy takes to start. Whole blocks of 8-bit moments.
   */
  private static final long HOST_CHUNK = 1 << 19;

  /** Values and gradients travel. */
  public static final int HOST_TENSORS = 2;

  /** Name of the pinned memory that chunks pass through. */
  public static final String HOST_CHUNKS = "host.chunks";

  /** Elements of such a chunk, where no group has fewer. */
  public static long hostChunk(List<ParameterGroup> groups) {
    return Math.min(HOST_CHUNK, groups.stream().mapToLong(ParameterGroup::elements).max().orElse(0));
  }

  /** The plan of a run. */
  public static Plan of(ModelSpec spec, Tuning tuning, StepShape step, Layout layout, Needs needs) {
    List<ParameterGroup> groups = ParameterGroup.of(spec, tuning, step.moments());
    return inventory(spec, groups, step, layout, needs, walk(spec, tuning, step, layout)).build();
  }

  /**
   * The buffers of a run, not placed yet.
   *
   * @param walk of the same model, step and activations
   */
  static Plan.Builder inventory(
      ModelSpec spec, List<ParameterGroup> groups, StepShape step, Layout layout, Needs needs, Plan.Builder walk) {
    Plan.Builder plan = new Plan.Builder(walk.clock());
    trainables(plan, groups, layout);
    batch(plan, spec, step);
    plan.add(walk);
    plan.add(Kind.SCRATCH, "loss", DType.F64, 1);
    plan.add(Kind.SCRATCH, walk.clock().atLoss(), "cross_entropy", DType.U8, Math.max(1, needs.crossEntropyBytes()));
    workspace(plan, needs.workspaceBytes());
    if (layout.weights() == Layout.Weights.ARENA) {
      weights(plan, spec, layout, step, needs.blobs());
    }
    return plan;
  }

  /**
   * What the walk through the layers writes: activations and scratch. Of a layout, only what becomes of activations matters; where
   * weights, head and optimiser lie does not.
   */
  static Plan.Builder walk(ModelSpec spec, Tuning tuning, StepShape step, Layout layout) {
    StepClock clock = new StepClock(spec.layers(), true, layer -> layout.activations(layer, spec.layers()));
    Plan.Builder plan = new Plan.Builder(clock);
    List<List<Tuning.Lora.Target>> adapters = tuning.adapters(spec.layers());
    for (int layer = 0; layer < spec.layers(); layer++) {
      List<SavedTensor> saved = SavedTensor.of(spec, adapters.get(layer), step, layer);
      plan.add(Kind.ACTIVATIONS, clock.input(layer), x(layer), step.compute(), step.tokens(), spec.hidden());
      block(plan, saved, layer);
      plan.offload(layer, offloaded(spec, saved, step, layout, layer).stream().map(SavedTensor::name).toList());
    }
    plan.add(Kind.ACTIVATIONS, clock.output(), x(spec.layers()), step.compute(), step.tokens(), spec.hidden());
    plan.add(Kind.ACTIVATIONS, clock.atLoss(), "final.rstd", DType.F32, step.tokens());
    scratch(plan, spec, tuning, step);
    return plan;
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
      plan.host(Kind.OPTIMIZER, HOST_CHUNKS, RoundTrips.pinnedBytes(HOST_TENSORS, hostChunk(groups)), true);
    }
    plan.add(Kind.SCRATCH, "sum", DType.F64, 1);
  }

  static void batch(Plan.Builder plan, ModelSpec spec, StepShape step) {
    plan.add(Kind.BATCH, "batch.ids", DType.I32, step.tokens());
    plan.add(Kind.BATCH, "batch.positions", DType.I32, step.tokens());
    plan.add(Kind.BATCH, "batch.targets", DType.I32, step.tokens());
    plan.add(Kind.BATCH, "batch.rows", DType.I32, step.tokens());
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
      long rows = step.compute().bytes((long) step.tokens() * spec.hidden());
      plan.host(Kind.BATCH, "embedding rows", Uploads.pinnedBytes(rows), true);
    }
    if (!layout.head()) {
      long row = step.compute().bytes(spec.hidden());
      for (int slot = 0; slot < HEAD_SLOTS; slot++) {
        plan.add(Kind.WEIGHTS, plan.clock().atLoss(), headSlab(slot), DType.U8, Slabs.rows(spec.vocab(), row) * row);
      }
    } else if (!tied || !layout.embedding()) {
      plan.add(Kind.WEIGHTS, "weights.head", DType.U8, head);
    }
    long each = 4L * step.tokens();
    plan.host(
        Kind.BATCH, "micro-batches", Uploads.pinnedBytes(each, each, each, each, 4L * (step.documents() + 1)), true);
    plan.host(Kind.WEIGHTS, "ring", streamed > 0 || !layout.head() ? 2 * RING : 0, true);
    plan.host(
        Kind.WEIGHTS, "base (mapped file)",
        streamed * blobs.layer() + (layout.head() ? 0 : head) + (layout.embedding() || tied && !layout.head() ? 0 : blobs.embedding()),
        false);
  }

  /** What of a layer is in pinned host memory between forward and backward; nothing where its activations stay. */
  private static List<SavedTensor> offloaded(
      ModelSpec spec, List<SavedTensor> saved, StepShape step, Layout layout, int layer) {
    List<SavedTensor> there = new ArrayList<>();
    Layout.Activations choice = layout.activations(layer, spec.layers());
    if (choice.offloads()) {
      there.add(SavedTensor.input(spec, step, layer));
    }
    if (choice == Layout.Activations.SAVE_ALL) {
      there.addAll(saved);
    }
    return there;
  }

  /** What one block writes in forward and reads in backward, beside its input. */
  static void block(Plan.Builder plan, List<SavedTensor> saved, int layer) {
    for (SavedTensor t : saved) {
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
