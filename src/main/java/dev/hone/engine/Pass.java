package dev.hone.engine;

import dev.hone.kernel.Kernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.RopeTable;
import dev.hone.plan.Plan;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;

/**
 * A model's weights joined to one set of planned buffers: the blocks, the token stream's inputs and the walk through the layers.
 * Training and decoding differ only in how attention meets its keys and in what is kept.
 */
final class Pass implements AutoCloseable {
  private final Kernels kernels;
  private final ModelSpec spec;
  private final ModelWeights weights;
  private final Scratch scratch;
  private final List<Block> blocks = new ArrayList<>();
  private final Tensor ids;
  private final Rope rope;
  private final Tensor finalRstd;
  private final EmbeddingRows embedding;
  private final boolean ropeVaries;
  private int ropeLength;

  Pass(Kernels kernels, ModelSpec spec, ModelWeights weights, Plan.Memory memory, Arena arena) {
    this.kernels = kernels;
    this.spec = spec;
    this.weights = weights;
    scratch = new Scratch(memory, arena, spec);
    for (int layer = 0; layer < spec.layers(); layer++) {
      BlockActivations saved = new BlockActivations(memory, arena, spec, layer);
      blocks.add(new Block(kernels, spec, weights.blocks.get(layer), saved, scratch));
    }
    ids = memory.tensor("batch.ids");
    rope = new Rope(memory.tensor("rope.cos"), memory.tensor("rope.sin"), memory.tensor("batch.positions"));
    finalRstd = memory.tensor("final.rstd");
    embedding = new EmbeddingRows(kernels, weights.embedding, spec.embeddingScale(), hidden(0), arena);
    int positions = (int) rope.cos().shape(0);
    ropeVaries = RopeTable.variesWithLength(spec.rope(), positions);
    rotate(positions);
  }

  private void rotate(int length) {
    RopeTable table = RopeTable.of(spec.rope(), length);
    rope.cos().rows(length).set(table.cos());
    rope.sin().rows(length).set(table.sin());
    ropeLength = length;
  }

  /**
   * Sets the shape of the coming pass; {@link #ids} and the positions are written after it.
   *
   * @param m tokens
   * @param longest one more than the largest position
   */
  void tokens(int m, int longest) {
    ids.rows(m);
    rope.positions().rows(m);
    if (ropeVaries && longest != ropeLength) {
      rotate(longest); // dynamic and longrope scaling choose frequencies by the sequence at hand, as transformers does
    }
    finalRstd.rows(m);
    scratch.tokens(m);
    for (Block block : blocks) {
      block.saved().tokens(m);
    }
  }

  /**
   * The first block's input.
   *
   * @param hostIds what {@link #ids} holds, on the host
   */
  void embed(Tensor hostIds) {
    embedding.gather(hidden(0), ids, hostIds);
  }

  /**
   * The first block's input to the last block's output.
   *
   * @param saved told of the layers as the weights' walk is, for what they save
   */
  void forward(List<Block.AttentionStep> attention, boolean training, long dropoutSeed, LayerWalk saved) {
    for (int layer = 0; layer < blocks.size(); layer++) {
      int next = layer + 1 < blocks.size() ? layer + 1 : -1;
      weights.walk.before(layer);
      saved.before(layer);
      blocks.get(layer).forward(rope, attention.get(layer), training, dropoutSeed);
      saved.after(layer, next);
      weights.walk.after(layer, next);
    }
  }

  /** The final norm of the last block's output, (M,C); valid until the next block runs. */
  Tensor finalNorm() {
    Norm norm = weights.finalNorm;
    kernels.rmsNormForward(
        scratch.normed, finalRstd, hidden(blocks.size()), norm.weight(), spec.normEps(), spec.normWeightOffset());
    return scratch.normed;
  }

  /** Turns scratch.d from the gradient of the final norm's output into that of its input. */
  void finalNormBackward() {
    Norm norm = weights.finalNorm;
    kernels.rmsNormBackward(
        scratch.d, norm.gradient(), scratch.d, hidden(blocks.size()), norm.weight(), finalRstd,
        spec.normWeightOffset(), false);
  }

  /** The input of block {@code layer}, or of the final norm for layer L; (M,C). */
  Tensor hidden(int layer) {
    return layer == 0 ? blocks.getFirst().saved().x : blocks.get(layer - 1).saved().next;
  }

  Block block(int layer) {
    return blocks.get(layer);
  }

  Scratch scratch() {
    return scratch;
  }

  Rope rope() {
    return rope;
  }

  Tensor ids() {
    return ids;
  }

  @Override
  public void close() {
    embedding.close();
  }
}
