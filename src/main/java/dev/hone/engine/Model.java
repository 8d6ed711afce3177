package dev.hone.engine;

import dev.hone.data.MicroBatch;
import dev.hone.kernel.Kernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.Tuning;
import dev.hone.plan.BlobBytes;
import dev.hone.plan.Layout;
import dev.hone.plan.Needs;
import dev.hone.plan.Plan;
import dev.hone.plan.StepShape;
import dev.hone.plan.TrainingPlan;
import dev.hone.tensor.DType;
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
  private final Tensor crossEntropyScratch;
  private final int lowestTrained;

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
   * As {@link #open(Kernels, ModelSpec, WeightSource, Tuning, Storage, StepShape)} with the base's weights as a layout places them.
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

  private static Plan plan(
      Kernels kernels, ModelSpec spec, Tuning tuning, StepShape step, Layout layout, BlobBytes blobs) {
    long crossEntropy =
        kernels.crossEntropyScratchBytes(step.tokens(), spec.hidden(), spec.vocab(), step.compute());
    long workspace = kernels.workspaceBytes(TrainingPlan.largest(spec, tuning, step));
    return TrainingPlan.of(spec, tuning, step, layout, new Needs(crossEntropy, workspace, blobs));
  }

  private Model(
      Kernels device, ModelSpec spec, WeightSource source, Tuning tuning, Storage storage, StepShape step, Layout layout) {
    this.spec = spec;
    this.step = step;
    BaseBlobs blobs = layout.weights() == Layout.Weights.ARENA ? (BaseBlobs) source : null;
    plan = plan(device, spec, tuning, step, layout, blobs == null ? null : blobs.blobs(spec));
    Plan.Memory memory = plan.allocate(device.memory(), arena);
    kernels = ModelWeights.withWorkspace(device, memory);
    parameters = new Parameters(memory, arena, spec, tuning);
    WeightSource placed = blobs == null ? source : new ArenaBase(kernels, blobs, spec, layout, memory, arena);
    weights = new ModelWeights(kernels, placed, spec, tuning, storage, memory, parameters, arena);
    pass = new Pass(kernels, spec, weights, memory, arena);
    inputs = new BatchInputs(memory, arena);
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

  public Parameters parameters() {
    return parameters;
  }

  /**
   * Forward and backward of one micro-batch; gradients are added to.
   *
   * @param inverseCount 1 / valid targets of the whole optimiser step, by which the gradients are scaled
   * @param dropoutSeed sets this micro-batch's dropout apart
   * @param labelSmoothing epsilon, 0 none
   * @return the sum of the cross-entropy over the valid targets, not divided
   */
  public double train(MicroBatch batch, float inverseCount, long dropoutSeed, float labelSmoothing) {
    double sum = forward(batch, true, dropoutSeed, inverseCount, labelSmoothing);
    pass.finalNormBackward();
    for (int layer = spec.layers() - 1; layer >= Math.max(lowestTrained, 0); layer--) {
      weights.walk.before(layer);
      if (step.recompute() && layer < spec.layers() - 1) {
        pass.block(layer).recompute(pass.rope(), attentionSteps.get(layer), dropoutSeed);
      }
      pass.block(layer).backward(pass.rope(), inputs.docs(), attention.get(layer), layer > lowestTrained, dropoutSeed);
      weights.walk.after(layer, layer > Math.max(lowestTrained, 0) ? layer - 1 : -1);
    }
    if (weights.embeddingGradient != null) {
      kernels.embeddingBackward(weights.embeddingGradient, pass.ids(), pass.scratch().d, spec.embeddingScale());
    }
    return sum;
  }

  /** The sum of the cross-entropy over the valid targets, without dropout, smoothing or gradients. */
  public double evaluate(MicroBatch batch) {
    return forward(batch, false, 0, 0, 0);
  }

  private double forward(
      MicroBatch batch, boolean training, long dropoutSeed, float inverseCount, float labelSmoothing) {
    load(batch);
    pass.forward(attentionSteps, training, dropoutSeed);
    Tensor h = pass.finalNorm();
    loss.zero();
    kernels.crossEntropy(
        loss, training ? pass.scratch().d : null, training ? weights.headGradient : null, crossEntropyScratch, h,
        weights.head, inputs.targets(), inverseCount, spec.logitScale(), spec.finalSoftcap(), labelSmoothing);
    return loss.toDouble();
  }

  private void load(MicroBatch batch) {
    pass.tokens(batch.tokens(), batch.longestDocument());
    inputs.load(batch);
  }

  /**
   * The hidden states that transformers calls {@code hidden_states}: the embeddings, each block's output but the last one's, and the
   * final norm's output. For inspection; allocates.
   */
  public List<float[]> hiddenStates(MicroBatch batch) {
    load(batch);
    pass.forward(attentionSteps, false, 0);
    List<float[]> states = new ArrayList<>();
    for (int layer = 0; layer < spec.layers(); layer++) {
      states.add(pass.hidden(layer).toFloats());
    }
    states.add(pass.finalNorm().toFloats());
    return states;
  }

  /** The logits (M,V) of a micro-batch. For inspection; allocates. */
  public float[] logits(MicroBatch batch) {
    load(batch);
    pass.forward(attentionSteps, false, 0);
    try (Arena passing = Arena.ofConfined()) {
      Tensor logits = Tensor.allocate(kernels.memory(), passing, "logits", DType.F32, batch.tokens(), spec.vocab());
      kernels.linearForward(logits, pass.finalNorm(), weights.head, null);
      kernels.softcapForward(logits, spec.logitScale(), spec.finalSoftcap());
      return logits.toFloats();
    }
  }

  /** Decodes with the weights as they are now; {@code positions} is the longest text in tokens. */
  public Decoder decoder(int positions) {
    return Decoder.borrowing(kernels, spec, weights, step.compute(), Decoder.borrowedChunk(step.tokens()), positions);
  }

  @Override
  public void close() {
    weights.walk.close();
    arena.close();
  }
}
