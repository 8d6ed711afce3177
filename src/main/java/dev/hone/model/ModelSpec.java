package dev.hone.model;

import dev.hone.format.PeftAdapter;
import dev.hone.kernel.Activation;
import java.util.ArrayList;
import java.util.List;
import java.util.Set;

/**
 * An architecture as data: what the engine must know to run a decoder-only model whose blocks are attention and a gated
 * MLP with RMSNorm. A new architecture is a mapping from its config.json to this record.
 *
 * @param architecture Hugging Face's model_type, such as {@code llama}
 * @param vocab V, rows of the embedding
 * @param hidden C
 * @param layers number of blocks
 * @param heads H, query heads
 * @param kvHeads KV, key and value heads; H is a multiple of it
 * @param headDim D
 * @param intermediate I
 * @param maxPositions max_position_embeddings: the longest sequence the model was made for
 * @param normEps epsilon inside every RMSNorm's root
 * @param normWeightOffset 0 (y = w x/rms) or 1 (Gemma: y = (1 + w) x/rms)
 * @param activation of the gated MLP
 * @param tiedHead the head is the embedding's table
 * @param biases projections that have a bias
 * @param qkNorm RMSNorm over the head dim of queries and keys before RoPE
 * @param postNorms Gemma 2: each sub-block's output is normed before it is added (post_attention_layernorm,
 *     pre_feedforward_layernorm, post_feedforward_layernorm)
 * @param embeddingScale factor on embeddings (Gemma: sqrt(hidden) rounded to the weights' dtype), else 1
 * @param residualMultiplier factor on each sub-block's output before the addition, else 1
 * @param logitScale factor on the logits before the softcap, else 1
 * @param attentionScale factor on q.k
 * @param attentionSoftcap c of c tanh(s / c) on scores, 0 none
 * @param finalSoftcap the same on logits, 0 none
 * @param windows for each layer the sliding window (key > query - window), 0 none
 * @param rope rotary embedding
 * @param bosId beginning-of-sequence token, -1 none
 * @param eosIds tokens that end a generation, from config.json and generation_config.json
 * @param padId -1 none
 */
public record ModelSpec(
    String architecture,
    int vocab,
    int hidden,
    int layers,
    int heads,
    int kvHeads,
    int headDim,
    int intermediate,
    int maxPositions,
    float normEps,
    float normWeightOffset,
    Activation activation,
    boolean tiedHead,
    Set<Projection> biases,
    boolean qkNorm,
    boolean postNorms,
    float embeddingScale,
    float residualMultiplier,
    float logitScale,
    float attentionScale,
    float attentionSoftcap,
    float finalSoftcap,
    List<Integer> windows,
    RopeSpec rope,
    int bosId,
    List<Integer> eosIds,
    int padId) {

  /** The same architecture with another rotary embedding. */
  public ModelSpec withRope(RopeSpec other, int positions) {
    return new ModelSpec(
        architecture, vocab, hidden, layers, heads, kvHeads, headDim, intermediate, positions, normEps, normWeightOffset,
        activation, tiedHead, biases, qkNorm, postNorms, embeddingScale, residualMultiplier, logitScale, attentionScale,
        attentionSoftcap, finalSoftcap, windows, other, bosId, eosIds, padId);
  }

  public int queryDim() {
    return heads * headDim;
  }

  public int keyValueDim() {
    return kvHeads * headDim;
  }

  /** The checkpoint's name of the head's weight. */
  public String headName() {
    return tiedHead ? "model.embed_tokens.weight" : "lm_head.weight";
  }

  /** The linear layers of all blocks in the order of the forward pass: what adapters may sit on. */
  public List<PeftAdapter.Linear> linears() {
    var linears = new ArrayList<PeftAdapter.Linear>();
    for (int layer = 0; layer < layers; layer++) {
      for (Projection p : Projection.values()) {
        linears.add(new PeftAdapter.Linear(p.module(layer), p.out(this), p.in(this)));
      }
    }
    return linears;
  }

  /** Weights of the model, the head counted once when it is tied. */
  public long parameters() {
    long block = 0;
    for (Projection p : Projection.values()) {
      block += (long) p.out(this) * p.in(this) + (biases.contains(p) ? p.out(this) : 0);
    }
    block += (postNorms ? 4L : 2L) * hidden + (qkNorm ? 2L * headDim : 0);
    return layers * block + (long) vocab * hidden * (tiedHead ? 1 : 2) + hidden;
  }
}
