package dev.hone.engine;

import dev.hone.kernel.Kernels;
import dev.hone.kernel.Replays;
import dev.hone.kernel.Uploads;
import dev.hone.model.ModelSpec;
import dev.hone.model.Tuning;
import dev.hone.plan.InferencePlan;
import dev.hone.plan.Plan;
import dev.hone.plan.StepShape;
import dev.hone.plan.TrainingPlan;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/** Runs a model over a growing text with a key-value cache, one text at a time. */
public final class Decoder implements AutoCloseable {
  /** Prompt tokens that one pass takes when the decoder has memory of its own. */
  private static final int CHUNK = 64;

  private final Kernels kernels;
  private final ModelSpec spec;
  private final Arena arena = Arena.ofShared();
  private final Parameters parameters;
  private final ModelWeights weights;
  private final Pass pass;
  private final Uploads uploads;
  private final Replays passes;
  private final Replays lastPasses;
  private final Runnable layersPass = this::layersPass;
  private final Runnable lastPass = this::lastPass;
  private final int chunk;
  private final int capacity;
  private final Tensor lastHidden;
  private final Tensor logits;
  private final LogitParts logitParts;
  private final List<Block.AttentionStep> attentionSteps = new ArrayList<>();
  private int length;

  /**
   * A decoder with weights of its own.
   *
   * @param source of the base weights; must stay open as long as the decoder
   * @param tuning the adapter whose matrices {@link #parameters} will hold, or {@link Tuning.None}
   * @param compute dtype of activations and cache
   * @param positions longest text in tokens
   */
  public static Decoder open(
      Kernels kernels, ModelSpec spec, WeightSource source, Tuning tuning, Storage storage, DType compute,
      int positions) {
    return new Decoder(kernels, spec, source, tuning, storage, null, compute, CHUNK, positions);
  }

  static Decoder borrowing(
      Kernels kernels, ModelSpec spec, ModelWeights weights, DType compute, int chunk, int positions) {
    return new Decoder(kernels, spec, null, new Tuning.None(), Storage.AS_STORED, weights, compute, chunk, positions);
  }

  /** Device bytes that a decoder takes beside the model whose weights it borrows. */
  public static long bytesBeside(Kernels kernels, ModelSpec spec, DType compute, int tokens, int positions) {
    StepShape step = new StepShape(compute, true, Math.min(borrowedChunk(tokens), positions), 1, positions);
    return plan(kernels, spec, new Tuning.None(), step, false).arenaBytes();
  }

  /** Prompt tokens that one pass takes with the scratch of a model for steps of {@code tokens}. */
  static int borrowedChunk(int tokens) {
    return Math.min(CHUNK, tokens);
  }

  private static Plan plan(Kernels device, ModelSpec spec, Tuning tuning, StepShape step, boolean ownWeights) {
    long workspace = device.workspaceBytes(TrainingPlan.largest(spec, tuning, step));
    return InferencePlan.of(spec, tuning, step, ownWeights, workspace);
  }

  private Decoder(
      Kernels device, ModelSpec spec, WeightSource source, Tuning tuning, Storage storage, ModelWeights borrowed,
      DType compute, int chunk, int positions) {
    this.spec = spec;
    this.chunk = Math.min(chunk, positions);
    capacity = positions;
    StepShape step = new StepShape(compute, true, this.chunk, 1, positions);
    Plan.Memory memory = plan(device, spec, tuning, step, borrowed == null).allocate(device, arena);
    kernels = ModelWeights.withWorkspace(device, memory);
    parameters = borrowed == null ? new Parameters(kernels, memory, arena, spec, tuning, step.moments()) : null;
    weights =
        borrowed == null
            ? new ModelWeights(kernels, source, spec, tuning, storage, memory, parameters, arena)
            : borrowed;
    pass = new Pass(kernels, spec, weights, memory, arena);
    uploads = kernels.uploads(List.of(pass.ids(), pass.rope().positions()));
    passes = kernels.replays("reading a prompt", weights.hindrance);
    lastPasses = kernels.replays("decoding", weights.hindrance);
    lastHidden = memory.tensor("last");
    logits = memory.tensor("logits");
    logitParts = new LogitParts(logits, weights.head.slabs(), arena);
    for (int layer = 0; layer < spec.layers(); layer++) {
      attentionSteps.add(attention(memory, layer));
    }
  }

  private Block.AttentionStep attention(Plan.Memory memory, int layer) {
    Tensor keys = memory.tensor(InferencePlan.keys(layer));
    Tensor values = memory.tensor(InferencePlan.values(layer));
    Tensor keyHeads = keys.view(arena, keys.name(), 0, capacity, spec.kvHeads(), spec.headDim());
    Tensor valueHeads = values.view(arena, values.name(), 0, capacity, spec.kvHeads(), spec.headDim());
    Kernels.Attention settings =
        new Kernels.Attention(spec.attentionScale(), spec.windows().get(layer), spec.attentionSoftcap());
    return s -> {
      kernels.copyRows(keys, length, s.k, 0);
      kernels.copyRows(values, length, s.v, 0);
      kernels.attentionDecode(s.oHeads, s.qHeads, keyHeads, valueHeads, length, settings);
    };
  }

  /** Where an adapter's matrices go; empty with {@link Tuning.None}. Not for a decoder that borrows a model's weights. */
  public Parameters parameters() {
    return parameters;
  }

  /** Tokens the cache holds. */
  public int length() {
    return length;
  }

  public int capacity() {
    return capacity;
  }

  /** Forgets all but the first {@code kept} tokens of the text. */
  public void rewind(int kept) {
    if (kept < 0 || kept > length) {
      throw new IllegalArgumentException("rewinding to " + kept + " of " + length + " tokens");
    }
    length = kept;
  }

  /**
   * Appends tokens to the text.
   *
   * @return the logits (V) of what follows the last of them
   * @throws IllegalArgumentException when there are none, or more than the cache still takes
   */
  public float[] feed(int... ids) {
    if (ids.length == 0 || length + ids.length > capacity) {
      throw new IllegalArgumentException(
          ids.length + " tokens after " + length + " in a cache for " + capacity);
    }
    for (int from = 0; from < ids.length; from += chunk) {
      int[] part = Arrays.copyOfRange(ids, from, Math.min(ids.length, from + chunk));
      pass.tokens(part.length, length + part.length);
      pass.embed(send(part));
      boolean last = from + part.length == ids.length;
      (last ? lastPasses : passes).run(part.length, 1, last ? lastPass : layersPass);
      length += part.length;
    }
    return logits.toFloats();
  }

  private void layersPass() {
    pass.forward(attentionSteps, false, 0, LayerWalk.NONE);
  }

  private void lastPass() {
    layersPass();
    Tensor hidden = pass.finalNorm();
    kernels.copyRows(lastHidden, 0, hidden, hidden.shape(0) - 1);
    weights.head.logits(kernels, spec, logits, lastHidden, logitParts);
  }

  /** The ids of the coming pass, on the host; they and their positions are on their way. */
  private Tensor send(int[] part) {
    List<Tensor> host = uploads.next();
    Tensor ids = host.get(0).rows(part.length);
    Tensor positions = host.get(1).rows(part.length);
    ids.put(0, part);
    for (int i = 0; i < part.length; i++) {
      positions.put(i, length + i);
    }
    uploads.send();
    return ids;
  }

  @Override
  public void close() {
    passes.close();
    lastPasses.close();
    uploads.close();
    pass.close();
    arena.close();
  }
}
