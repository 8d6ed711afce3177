package dev.hone.engine;

import dev.hone.kernel.Kernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.tensor.Tensor;

/**
 * One decoder block, forward and backward by hand.
 *
 * <pre>
 *   h   = norm(x)                       q, k, v = W h (+ adapters)      q, k normed where the model does so
 *   o   = attention(rope(q), rope(k), v)
 *   mid = x + m postnorm(W_o o)         m the residual multiplier, postnorm only in Gemma 2
 *   h2  = norm(mid), in the same pass   gate, up = W h2
 *   y   = mid + m postnorm(W_down (act(gate) * up))
 * </pre>
 *
 * Backward walks the same lines upwards with one running gradient d (M,C), which enters as dy and leaves as dx: the residual
 * stream's gradient stays in place and each sub-block adds its part through its norm. The norms' outputs and act(gate) * up are not
 * saved but made again.
 */
final class Block {
  private final Kernels kernels;
  private final ModelSpec spec;
  private final BlockWeights weights;
  private final BlockActivations saved;
  private final Scratch scratch;

  /** How queries meet keys and values: whole documents in training, a cache in decoding. */
  interface AttentionStep {
    void run(BlockActivations saved);
  }

  Block(Kernels kernels, ModelSpec spec, BlockWeights weights, BlockActivations saved, Scratch scratch) {
    this.kernels = kernels;
    this.spec = spec;
    this.weights = weights;
    this.saved = saved;
    this.scratch = scratch;
  }

  BlockActivations saved() {
    return saved;
  }

  boolean trains() {
    return weights.trains();
  }

  /** saved.x to saved.next. */
  void forward(Rope rope, AttentionStep attention, boolean training, long dropoutSeed) {
    run(rope, attention, training, dropoutSeed);
    kernels.residualForward(saved.next, saved.mid, scratch.branch, spec.residualMultiplier());
  }

  /** Makes again what {@link #forward} saved; the output stays unmade: the block above has long used it. */
  void recompute(Rope rope, AttentionStep attention, long dropoutSeed) {
    run(rope, attention, true, dropoutSeed);
  }

  private void run(Rope rope, AttentionStep attention, boolean training, long dropoutSeed) {
    Tensor h = scratch.normed;
    norm(h, saved.inputRstd, saved.x, weights.inputNorm());
    boolean qkNorm = spec.qkNorm();
    linear(Projection.Q).forward(kernels, qkNorm ? saved.qRaw : saved.q, h, training, dropoutSeed);
    linear(Projection.K).forward(kernels, qkNorm ? saved.kRaw : saved.k, h, training, dropoutSeed);
    linear(Projection.V).forward(kernels, saved.v, h, training, dropoutSeed);
    if (qkNorm) {
      norm(saved.qRows, saved.qRstd, saved.qRawRows, weights.qNorm());
      norm(saved.kRows, saved.kRstd, saved.kRawRows, weights.kNorm());
    }
    kernels.ropeForward(saved.qHeads, saved.kHeads, rope.cos(), rope.sin(), rope.positions());
    attention.run(saved);

    Tensor branch = spec.postNorms() ? saved.attentionRaw : scratch.branch;
    linear(Projection.O).forward(kernels, branch, saved.o, training, dropoutSeed);
    if (spec.postNorms()) {
      norm(scratch.branch, saved.attentionPostRstd, saved.attentionRaw, weights.attentionPostNorm());
    }
    kernels.residualNormForward(
        h, saved.mlpRstd, saved.mid, saved.x, scratch.branch, spec.residualMultiplier(), weights.mlpNorm().weight(),
        spec.normEps(), spec.normWeightOffset());
    linear(Projection.GATE).forward(kernels, saved.gate, h, training, dropoutSeed);
    linear(Projection.UP).forward(kernels, saved.up, h, training, dropoutSeed);
    kernels.gatedForward(scratch.product, saved.gate, saved.up, spec.activation());
    branch = spec.postNorms() ? saved.mlpRaw : scratch.branch;
    linear(Projection.DOWN).forward(kernels, branch, scratch.product, training, dropoutSeed);
    if (spec.postNorms()) {
      norm(scratch.branch, saved.mlpPostRstd, saved.mlpRaw, weights.mlpPostNorm());
    }
  }

  /**
   * Adds this block's gradients and turns scratch.d from dy into dx; gate, up, q and k of {@code saved} are used up.
   *
   * @param inputWanted false in the lowest block that trains: then dx is not computed and d is left meaningless
   */
  void backward(Rope rope, Tensor docs, Kernels.Attention attention, boolean inputWanted, long dropoutSeed) {
    mlpBackward(dropoutSeed);
    attentionBackward(rope, docs, attention, inputWanted, dropoutSeed);
  }

  private void mlpBackward(long dropoutSeed) {
    Tensor dy = branchGradient(weights.mlpPostNorm(), saved.mlpRaw, saved.mlpPostRstd);
    kernels.gatedForward(scratch.product, saved.gate, saved.up, spec.activation());
    linear(Projection.DOWN).backward(kernels, scratch.dProduct, false, dy, scratch.product, dropoutSeed);
    Tensor dGate = saved.gate;
    Tensor dUp = saved.up;
    kernels.gatedBackward(dGate, dUp, scratch.dProduct, saved.gate, saved.up, spec.activation());
    norm(scratch.normed, saved.mlpRstd, saved.mid, weights.mlpNorm());
    linear(Projection.GATE).backward(kernels, scratch.branch, false, dGate, scratch.normed, dropoutSeed);
    linear(Projection.UP).backward(kernels, scratch.branch, true, dUp, scratch.normed, dropoutSeed);
    normBackward(scratch.d, scratch.branch, saved.mid, weights.mlpNorm(), saved.mlpRstd, true);
  }

  private void attentionBackward(
      Rope rope, Tensor docs, Kernels.Attention attention, boolean inputWanted, long dropoutSeed) {
    Tensor dy = branchGradient(weights.attentionPostNorm(), saved.attentionRaw, saved.attentionPostRstd);
    linear(Projection.O).backward(kernels, scratch.dO, false, dy, saved.o, dropoutSeed);
    kernels.attentionBackward(
        scratch.dQHeads, scratch.dKHeads, scratch.dVHeads, scratch.delta, scratch.dOHeads, saved.oHeads, saved.lse,
        saved.qHeads, saved.kHeads, saved.vHeads, docs, attention);
    kernels.ropeBackward(scratch.dQHeads, scratch.dKHeads, rope.cos(), rope.sin(), rope.positions());
    if (spec.qkNorm()) {
      normBackward(scratch.dQRows, scratch.dQRows, saved.qRawRows, weights.qNorm(), saved.qRstd, false);
      normBackward(scratch.dKRows, scratch.dKRows, saved.kRawRows, weights.kNorm(), saved.kRstd, false);
    }
    norm(scratch.normed, saved.inputRstd, saved.x, weights.inputNorm());
    Tensor dh = inputWanted ? scratch.branch : null;
    linear(Projection.Q).backward(kernels, dh, false, scratch.dQ, scratch.normed, dropoutSeed);
    linear(Projection.K).backward(kernels, dh, true, scratch.dK, scratch.normed, dropoutSeed);
    linear(Projection.V).backward(kernels, dh, true, scratch.dV, scratch.normed, dropoutSeed);
    if (inputWanted) {
      normBackward(scratch.d, scratch.branch, saved.x, weights.inputNorm(), saved.inputRstd, true);
    }
  }

  /** Gradient of a sub-block's output before multiplier and post-norm: d itself where there is neither. */
  private Tensor branchGradient(Norm postNorm, Tensor raw, Tensor rstd) {
    Tensor dy = scratch.d;
    if (spec.residualMultiplier() != 1f) {
      kernels.residualBackward(scratch.branch, dy, spec.residualMultiplier());
      dy = scratch.branch;
    }
    if (postNorm != null) {
      normBackward(scratch.branch, dy, raw, postNorm, rstd, false);
      dy = scratch.branch;
    }
    return dy;
  }

  private Linear linear(Projection p) {
    return weights.linear(p);
  }

  private void norm(Tensor y, Tensor rstd, Tensor x, Norm norm) {
    kernels.rmsNormForward(y, rstd, x, norm.weight(), spec.normEps(), spec.normWeightOffset());
  }

  private void normBackward(Tensor dx, Tensor dy, Tensor x, Norm norm, Tensor rstd, boolean accumulate) {
    kernels.rmsNormBackward(
        dx, norm.gradient(), dy, x, norm.weight(), rstd, spec.normWeightOffset(), accumulate);
  }
}
