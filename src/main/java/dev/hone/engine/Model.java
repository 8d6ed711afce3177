package dev.hone.engine;

import dev.hone.config.UserError;
import dev.hone.data.MicroBatch;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.Replays;
import dev.hone.kernel.Slabs;
import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.model.Tuning;
import dev.hone.plan.BlobBytes;
import dev.hone.plan.Layout;
import dev.hone.plan.Needs;
import dev.hone.plan.Plan;
import dev.hone.plan.StepShape;
import dev.hone.plan.TrainingPlan;
import dev.hone.tensor.DType;
import dev.hone.tensor.MemorySpace;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;

/**
 * A model that trains: a micro-batch goes in, its loss comes out, and the gradients of what trains grow. All memory is taken when it
 * is opened; a micro-batch allocates nothing.
 */
public final class Model implements AutoCloseable {
  private final Kernels kernels;
  private final ModelSpec spec;
  private final StepShape step;
  private final Plan plan;
  private final Arena arena = Arena.ofShared();
  private final Parameters parameters;
  private final ModelWeights weights;
  private final Pass pass;
  private final List<Kernels.Attention> attention = new ArrayList<>();
  private final List<Block.AttentionStep> attentionSteps = new ArrayList<>();
  private final BatchInputs inputs;
  private final Tensor loss;
  private boolean lossIsNew = true;
  private final Tensor crossEntropyScratch;
  private final int lowestTrained;
  private long dropoutSeed;
  private final Replays forward;
  private final Replays backward;
  private final Replays evaluating;
  private final Runnable forwardPass = this::forwardPass;
  private final Runnable backwardPass = this::backwardPass;
  private final Runnable evaluatingPass = this::evaluatingPass;
  private final Layout layout;
  private final ActivationOffload offload;
  private final LayerWalk leaving;
  private final LayerWalk returning;

  /**
   * Takes the plan's arena and reads the weights.
   *
   * @param source of the base weights; must stay open as long as the model
   * @param storage how frozen linear layers are kept
   * @throws dev.hone.config.UserError when the source lacks a tensor or has it in another shape
   */
  public static Model open(
      Kernels kernels, ModelSpec spec, WeightSource source, Tuning tuning, Storage storage, StepShape step) {
    return new Model(kernels, spec, source, tuning, storage, step, Layout.outside(step.recompute()));
  }

  /**
   * As {@link #open(Kernels, ModelSpec, WeightSource, Tuning, Storage, StepShape)} with the base's weights and the
   * activations as a layout places them. Where the host refuses pinned memory for all the activations that go there,
   * fewer layers' do: {@link #remarks} says so.
   *
   * @param base with matrices in the device's dtype; must stay open as long as the model
   */
  public static Model open(
      Kernels kernels, ModelSpec spec, BaseBlobs base, Tuning tuning, Storage storage, StepShape step, Layout layout) {
    return new Model(kernels, spec, base, tuning, storage, step, layout);
  }

  /** The buffers that {@link #open} would take. */
  public static Plan plan(Kernels kernels, ModelSpec spec, Tuning tuning, StepShape step) {
    return plan(kernels, spec, tuning, step, Layout.outside(step.recompute()), null);
  }

  /** Bytes of scratch that the loss wants with the head on the device or in slabs. */
  public static long crossEntropyBytes(
      Kernels kernels, ModelSpec spec, Tuning tuning, StepShape step, Layout layout) {
    if (layout.head()) {
      return kernels.crossEntropyScratchBytes(
          step.tokens(), spec.hidden(), spec.vocab(), step.compute(), tuning instanceof Tuning.Full,
          spec.finalSoftcap());
    }
    long slabRows = Slabs.rows(spec.vocab(), step.compute().bytes(spec.hidden()));
    return kernels.slabCrossEntropyScratchBytes(step.tokens(), spec.hidden(), slabRows);
  }

  private static Plan plan(
      Kernels kernels, ModelSpec spec, Tuning tuning, StepShape step, Layout layout, BlobBytes blobs) {
    long crossEntropy = crossEntropyBytes(kernels, spec, tuning, step, layout);
    long workspace = kernels.workspaceBytes(TrainingPlan.largest(spec, tuning, step));
    return TrainingPlan.of(spec, tuning, step, layout, new Needs(crossEntropy, workspace, blobs));
  }

  /** @param source of {@link Layout.Weights#ARENA} a cache */
  Model(
      Kernels device, ModelSpec spec, WeightSource source, Tuning tuning, Storage storage, StepShape step,
      Layout wanted) {
    this.spec = spec;
    this.step = step;
    requireFrozenHead(wanted, tuning);
    BaseBlobs blobs = wanted.weights() == Layout.Weights.ARENA ? (BaseBlobs) source : null;
    BlobBytes pieces = blobs == null ? null : blobs.blobs(spec);
    Layout possible = device.memory() == MemorySpace.HOST ? wanted.onHost() : wanted;
    Plan all = plan(device, spec, tuning, step, possible, pieces);
    offload = ActivationOffload.reserve(device, all);
    layout = offload.granted(possible);
    plan = offload.isRefused() ? plan(device, spec, tuning, step, layout, pieces) : all;
    Plan.Memory memory = allocate(device);
    offload.bind(memory);
    kernels = ModelWeights.withWorkspace(device, memory);
    parameters = new Parameters(kernels, memory, arena, spec, tuning, step.moments());
    WeightSource placed = blobs == null ? source : new ArenaBase(kernels, blobs, spec, layout, memory, arena);
    weights = new ModelWeights(kernels, placed, spec, tuning, storage, memory, parameters, arena);
    pass = new Pass(kernels, spec, weights, memory, arena);
    inputs = new BatchInputs(kernels, memory);
    loss = memory.tensor("loss");
    crossEntropyScratch = memory.tensor("cross_entropy");
    for (int layer = 0; layer < spec.layers(); layer++) {
      Kernels.Attention settings =
          new Kernels.Attention(spec.attentionScale(), spec.windows().get(layer), spec.attentionSoftcap());
      attention.add(settings);
      attentionSteps.add(
          s -> kernels.attentionForward(s.oHeads, s.lse, s.qHeads, s.kHeads, s.vHeads, inputs.docs(), settings));
    }
    lowestTrained = lowestTrained();
    leaving = offload.forward(lowestTrained);
    returning = offload.backward(lowestTrained);
    String moved =
        !plan.offloaded().isEmpty() ? "activations travel to the host and back beside them" : weights.hindrance;
    forward = kernels.replays("training forward", moved);
    backward = kernels.replays("training backward", moved);
    evaluating = kernels.replays("evaluating", moved);
  }

  /** Takes the arena; without it the pinned memory is of no use. */
  private Plan.Memory allocate(Kernels device) {
    try {
      return plan.allocate(device, arena);
    } catch (UserError noRoom) {
      offload.close();
      throw noRoom;
    }
  }

  private void requireFrozenHead(Layout layout, Tuning tuning) {
    String name = spec.tiedHead() ? "model.embed_tokens.weight" : spec.headName();
    if (!layout.head() && ParameterShape.trained(spec, tuning).stream().anyMatch(p -> p.name().equals(name))) {
      throw UserError.of("head_placement: host is for a frozen head and this run trains %s; set head_placement: device", name);
    }
  }

  /** The lowest block that backward must reach: below it nothing trains. The embedding counts as block -1. */
  private int lowestTrained() {
    if (weights.embeddingGradient != null) {
      return -1;
    }
    int layer = 0;
    while (layer < spec.layers() && !pass.block(layer).trains()) {
      layer++;
    }
    return layer;
  }

  public ModelSpec spec() {
    return spec;
  }

  public Plan plan() {
    return plan;
  }

  /** Where things are: as asked for, or as the device's host allowed. */
  public Layout layout() {
    return layout;
  }

  /** Why {@link #layout} is not as asked for, a line each. */
  public List<String> remarks() {
    return offload.remarks(spec.layers());
  }

  public Parameters parameters() {
    return parameters;
  }

  /**
   * Forward and backward of one micro-batch; gradients are added to. As {@link #begin} and {@link #loss}.
   *
   * @return the sum of the cross-entropy over the valid targets, not divided
   */
  public double train(MicroBatch batch, float inverseCount, long dropoutSeed, float labelSmoothing) {
    begin(batch, inverseCount, dropoutSeed, labelSmoothing);
    return loss();
  }

  /**
   * Begins forward and backward of one micro-batch, which a device goes on with by itself; gradients are added to.
   *
   * @param inverseCount 1 / valid targets of the whole optimiser step, by which the gradients are scaled
   * @param seed sets this micro-batch's dropout apart
   * @param labelSmoothing epsilon, 0 none
   */
  public void begin(MicroBatch batch, float inverseCount, long seed, float labelSmoothing) {
    load(batch);
    dropoutSeed = seed;
    forward.run(batch.tokens(), batch.documents(), forwardPass);
    crossEntropy(pass.scratch().d, inverseCount, labelSmoothing);
    backward.run(batch.tokens(), batch.documents(), backwardPass);
  }

  /** The sum of the cross-entropy over the valid targets, without dropout, smoothing or gradients. */
  public double evaluate(MicroBatch batch) {
    beginEvaluation(batch);
    return loss();
  }

  /** Begins forward of one micro-batch, without dropout, smoothing or gradients. */
  public void beginEvaluation(MicroBatch batch) {
    load(batch);
    evaluating.run(batch.tokens(), batch.documents(), evaluatingPass);
    crossEntropy(null, 0, 0);
  }

  /** The sum of the cross-entropy over the valid targets of what was begun since this was last asked; waits for it. */
  public double loss() {
    lossIsNew = true;
    return loss.toDouble();
  }

  private void forwardPass() {
    pass.forward(attentionSteps, true, dropoutSeed, leaving);
    pass.finalNorm();
  }

  /** From the gradient of the final norm's output on. */
  private void backwardPass() {
    pass.finalNormBackward();
    for (int layer = spec.layers() - 1; layer >= Math.max(lowestTrained, 0); layer--) {
      weights.walk.before(layer);
      returning.before(layer);
      if (layout.activations(layer, spec.layers()).again()) {
        pass.block(layer).recompute(pass.rope(), attentionSteps.get(layer), dropoutSeed);
      }
      pass.block(layer).backward(pass.rope(), inputs.docs(), attention.get(layer), layer > lowestTrained, dropoutSeed);
      weights.walk.after(layer, layer > Math.max(lowestTrained, 0) ? layer - 1 : -1);
    }
    if (weights.embeddingGradient != null) {
      kernels.embeddingBackward(weights.embeddingGradient, pass.ids(), pass.scratch().d, spec.embeddingScale());
    }
  }

  private void evaluatingPass() {
    pass.forward(attentionSteps, false, 0, LayerWalk.NONE);
    pass.finalNorm();
  }

  /** Between the passes that may be replayed: its ops' sizes depend on how many rows are labelled, each time anew. */
  private void crossEntropy(Tensor dh, float inverseCount, float labelSmoothing) {
    weights.head.crossEntropy(
        kernels, spec, loss, dh, crossEntropyScratch, pass.scratch().normed, inputs.targets(), inputs.rows(),
        inverseCount, labelSmoothing);
  }

  private void load(MicroBatch batch) {
    pass.tokens(batch.tokens(), batch.longestDocument());
    inputs.load(batch);
    pass.embed(inputs.hostIds());
    if (lossIsNew) {
      loss.zero();
      lossIsNew = false;
    }
  }

  /**
   * The hidden states that transformers calls {@code hidden_states}: the embeddings, each block's output but the last one's, and the
   * final norm's output. For inspection; allocates.
   */
  public List<float[]> hiddenStates(MicroBatch batch) {
    load(batch);
    List<float[]> states = new ArrayList<>();
    pass.forward(attentionSteps, false, 0, new LayerWalk() {
      @Override
      public void before(int layer) {
        states.add(pass.hidden(layer).toFloats());
      }
    });
    states.add(pass.finalNorm().toFloats());
    return states;
  }

  /** The logits (M,V) of a micro-batch. For inspection; allocates. */
  public float[] logits(MicroBatch batch) {
    load(batch);
    pass.forward(attentionSteps, false, 0, LayerWalk.NONE);
    Tensor hidden = pass.finalNorm();
    try (Arena passing = Arena.ofConfined()) {
      Tensor logits = Tensor.allocate(kernels.memory(), passing, "logits", DType.F32, 1, spec.vocab());
      LogitParts parts = new LogitParts(logits, weights.head.slabs(), passing);
      float[] all = new float[batch.tokens() * spec.vocab()];
      for (int token = 0; token < batch.tokens(); token++) {
        weights.head.logits(kernels, spec, logits, hidden.view(passing, "hidden", token, 1, spec.hidden()), parts);
        System.arraycopy(logits.toFloats(), 0, all, token * spec.vocab(), spec.vocab());
      }
      return all;
    }
  }

  /** Decodes with the weights as they are now; {@code positions} is the longest text in tokens. */
  public Decoder decoder(int positions) {
    return Decoder.borrowing(kernels, spec, weights, step.compute(), Decoder.borrowedChunk(step.tokens()), positions);
  }

  @Override
  public void close() {
    forward.close();
    backward.close();
    evaluating.close();
    inputs.close();
    pass.close();
    weights.walk.close();
    offload.close();
    parameters.close();
    arena.close();
  }
}
