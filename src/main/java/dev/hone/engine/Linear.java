package dev.hone.engine;

import dev.hone.kernel.Kernels;
import dev.hone.tensor.Tensor;

/**
 * One linear layer: a weight, perhaps a bias, and what of it trains - an adapter, the weight itself, or nothing.
 *
 * @param weight (N,K) in its stored dtype
 * @param bias (N) or null
 * @param adapter low-rank adapter or null
 * @param weightGradient (N,K) f32 when the weight trains, else null
 * @param biasGradient (N) f32 when the bias trains, else null
 */
record Linear(Tensor weight, Tensor bias, Adapter adapter, Tensor weightGradient, Tensor biasGradient) {

  /**
   * A (R,K), B (N,R) with their gradients, the saved u = A x (M,R), the scratch e (M,R),
   * and what sets its dropout mask apart from every other adapter's.
   *
   * @param scale alpha/R or alpha/sqrt(R)
   */
  record Adapter(
      Tensor a, Tensor b, Tensor da, Tensor db, Tensor u, Tensor e, float scale, float dropout, int index) {

    int rank() {
      return (int) a.shape(0);
    }
  }

  boolean trains() {
    return adapter != null || weightGradient != null;
  }

  /** y = W x + b (+ scale B A x). */
  void forward(Kernels kernels, Tensor y, Tensor x, boolean training, long dropoutSeed) {
    if (adapter == null) {
      kernels.linearForward(y, x, weight, bias, false);
      return;
    }
    adapter.u.rows(x.shape(0));
    kernels.adaptedForward(
        y, x, weight, bias, adapter.u, adapter.a, adapter.b, adapter.scale, training ? adapter.dropout : 0f, seed(dropoutSeed));
  }

  /** Gradients of what trains, and dx = or += dy W (+ the adapter's part); dx may be null when nothing below trains. */
  void backward(Kernels kernels, Tensor dx, boolean accumulate, Tensor dy, Tensor x, long dropoutSeed) {
    if (adapter != null) {
      adapter.e.reshape(x.shape(0), adapter.rank());
      kernels.adaptedBackward(
          dx, accumulate, adapter.da, adapter.db, adapter.e, dy, x, weight, adapter.u, adapter.a, adapter.b, adapter.scale,
          adapter.dropout, seed(dropoutSeed));
    } else if (dx != null) {
      kernels.linearBackwardInput(dx, dy, weight, accumulate);
    }
    if (weightGradient != null) {
      kernels.linearBackwardWeight(weightGradient, biasGradient, dy, x);
    }
  }

  private long seed(long dropoutSeed) {
    return dropoutSeed + adapter.index * 0x9e3779b97f4a7c15L;
  }
}
