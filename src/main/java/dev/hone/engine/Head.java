package dev.hone.engine;

import dev.hone.kernel.Kernels;
import dev.hone.kernel.Slabs;
import dev.hone.model.ModelSpec;
import dev.hone.tensor.Tensor;

/**
 * The matrix (V,C) that makes logits of hidden states: where the device reads it, or in slabs that pass through it.
 *
 * @param whole null when it comes in slabs
 * @param slabs null when it is whole
 * @param gradient (V,C) f32 when it trains, else null
 */
record Head(Tensor whole, Slabs slabs, Tensor gradient) {

  /** See {@link Kernels#crossEntropy}. */
  void crossEntropy(
      Kernels kernels, ModelSpec spec, Tensor loss, Tensor dh, Tensor scratch, Tensor h, Tensor targets, Tensor rows,
      float inverseCount, float labelSmoothing) {
    if (slabs == null) {
      kernels.crossEntropy(
          loss, dh, dh == null ? null : gradient, scratch, h, whole, targets, rows, inverseCount, spec.logitScale(),
          spec.finalSoftcap(), labelSmoothing);
    } else {
      kernels.crossEntropy(
          loss, dh, scratch, h, slabs, targets, rows, inverseCount, spec.logitScale(), spec.finalSoftcap(),
          labelSmoothing);
    }
  }

  /**
   * The logits of one hidden state.
   *
   * @param logits (1,V) f32
   * @param hidden (1,C)
   * @param parts views of {@code logits} by slab, see {@link LogitParts}
   */
  void logits(Kernels kernels, ModelSpec spec, Tensor logits, Tensor hidden, LogitParts parts) {
    if (slabs == null) {
      kernels.linearForward(logits, hidden, whole, null, false);
    } else {
      slabs.begin(1);
      for (int slab = 0; slab < slabs.count(); slab++) {
        kernels.linearForward(parts.of(slab), hidden, slabs.next(), null, false);
        slabs.done();
      }
    }
    kernels.softcapForward(logits, spec.logitScale(), spec.finalSoftcap());
  }
}
