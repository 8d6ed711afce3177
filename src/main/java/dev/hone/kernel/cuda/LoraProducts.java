package dev.hone.kernel.cuda;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;

/**
 * The low-rank branch: y = s u B^T with u = d(x) A^T / (1-p), and its gradients. d masks x by dropout; 1/(1-p)
 * multiplies sums.
 *
 * <pre>
 *   e  = s dy B                    dA += e^T d(x) / (1-p)      dB += s dy^T u      dx += d'(e A) / (1-p)
 * </pre>
 *
 * Gradients are sums over tokens: the tokens are split, each split leaves its part in the workspace, and the parts are
 * added in order. Ranks above what the kernels hold go in chunks.
 */
final class LoraProducts {
  private static final int HALF = 2;
  /** The largest chunk of ranks. */
  private static final int MOST_RANKS = 128;
  /** Tokens of a split are a multiple of this. */
  private static final long SPLIT_STEP = 64;

  private final Stage stage;

  LoraProducts(Stage stage) {
    this.stage = stage;
  }

  /** Bytes for the gradients of one split. */
  static long workspaceBytes(long features, int rank) {
    return Math.min(rank, MOST_RANKS) * features * Float.BYTES;
  }

  void forward(Tensor y, Tensor u, Tensor x, Tensor a, Tensor b, float scale, float dropout, long seed) {
    check("lora_forward", y, u, x, a, b, dropout);
    long m = x.shape(0);
    long k = x.shape(1);
    long n = b.shape(0);
    long r = a.shape(0);
    down(u, x, a, m, k, r, k, 1 / (1 - dropout), false, dropout, seed);
    up(y, false, u, b, m, n, r, r, scale, false, 0, 0);
  }

  /** With the product: y = x W^T + bias + s u B^T. */
  void forward(
      Products products, Tensor y, Tensor x, Tensor w, Tensor bias, Tensor u, Tensor a, Tensor b, float scale, float dropout,
      long seed) {
    check("lora_forward", y, u, x, a, b, dropout);
    down(u, x, a, x.shape(0), x.shape(1), a.shape(0), x.shape(1), 1 / (1 - dropout), false, dropout, seed);
    products.forward(y, x, w, bias, u, b, scale);
  }

  /** With the product and without dropout: dx = or += dy W + e A. */
  void backward(
      Products products, Tensor dx, boolean accumulate, Tensor da, Tensor db, Tensor e, Tensor dy, Tensor x, Tensor w, Tensor u,
      Tensor a, Tensor b, float scale) {
    checkBackward(da, db, e, dy, x, u, a, b, 0);
    error(e, dy, b, scale);
    products.backwardInput(dx, dy, w, accumulate, e, a, 1);
    gradients(da, db, e, dy, x, u, scale, 0, 0);
  }

  void backward(
      Tensor dx, Tensor da, Tensor db, Tensor e, Tensor dy, Tensor x, Tensor u, Tensor a, Tensor b,
      float scale, float dropout, long seed) {
    checkBackward(da, db, e, dy, x, u, a, b, dropout);
    error(e, dy, b, scale);
    if (dx != null) {
      long m = x.shape(0);
      long k = x.shape(1);
      Args.matrix("lora_backward", dx, stage.compute(), m, k);
      up(dx, true, e, a, m, k, a.shape(0), k, 1 / (1 - dropout), true, dropout, seed);
    }
    gradients(da, db, e, dy, x, u, scale, dropout, seed);
  }

  private void checkBackward(
      Tensor da, Tensor db, Tensor e, Tensor dy, Tensor x, Tensor u, Tensor a, Tensor b, float dropout) {
    String op = "lora_backward";
    check(op, dy, u, x, a, b, dropout);
    Args.matrix(op, da, DType.F32, a.shape(0), x.shape(1));
    Args.matrix(op, db, DType.F32, b.shape(0), a.shape(0));
    Args.matrix(op, e, stage.compute(), x.shape(0), a.shape(0));
  }

  /** e (M,R) = scale dy B. */
  private void error(Tensor e, Tensor dy, Tensor b, float scale) {
    down(e, dy, b, dy.shape(0), dy.shape(1), b.shape(1), b.shape(1), scale, true, 0, 0);
  }

  private void gradients(
      Tensor da, Tensor db, Tensor e, Tensor dy, Tensor x, Tensor u, float scale, float dropout, long seed) {
    long m = x.shape(0);
    long k = x.shape(1);
    long n = dy.shape(1);
    long r = e.shape(1);
    gradient(da, e, x, m, k, r, k, 1 / (1 - dropout), false, dropout, seed);
    gradient(db, u, dy, m, n, r, r, scale, true, 0, 0);
  }

  private void check(String op, Tensor y, Tensor u, Tensor x, Tensor a, Tensor b, float dropout) {
    Args.matrix(op, x, stage.compute(), Args.ANY, Args.ANY);
    Args.matrix(op, a, DType.F32, Args.ANY, x.shape(1));
    Args.matrix(op, b, DType.F32, Args.ANY, a.shape(0));
    Args.matrix(op, y, stage.compute(), x.shape(0), b.shape(0));
    Args.matrix(op, u, stage.compute(), x.shape(0), a.shape(0));
    if (!(dropout >= 0 && dropout < 1)) {
      throw Args.bad(op + ": dropout " + dropout + ", want 0 <= dropout < 1");
    }
  }

  /** u (M,R) = alpha d(x) a^T; a (R,K), or (K,R) when transposed. */
  private void down(
      Tensor u, Tensor x, Tensor a, long m, long k, long r, long lda, float alpha, boolean transposed, float dropout,
      long seed) {
    for (long first = 0; first < r; first += MOST_RANKS) {
      long ranks = Math.min(MOST_RANKS, r - first);
      Launcher launch = stage.begin("lora_down").tensor(u, HALF * first).tensor(x)
          .tensor(a, DType.F32.bytes(transposed ? first : first * lda)).dim(m).dim(k).dim(ranks).dim(r).dim(lda)
          .real(alpha).flag(transposed).real(dropout).bits(dropout > 0 ? seed : 0);
      Program.Kernel kernel = launch.choose(m, 1, 1, "R", (int) ranks, -1);
      launch.launch(kernel, Math.ceilDiv(m, (long) kernel.entry().constant("BM")), 1);
    }
  }

  /** y (M,N) = or += alpha mask(u b^T); b (N,R), or (R,N) when transposed. Later chunks of ranks add to the first. */
  private void up(
      Tensor y, boolean accumulate, Tensor u, Tensor b, long m, long n, long r, long ldb, float alpha,
      boolean transposed, float dropout, long seed) {
    for (long first = 0; first < r; first += MOST_RANKS) {
      long ranks = Math.min(MOST_RANKS, r - first);
      Launcher launch = stage.begin("lora_up").tensor(y).tensor(u, HALF * first)
          .tensor(b, DType.F32.bytes(transposed ? first * ldb : first)).dim(m).dim(n).dim(ranks).dim(n).dim(r).dim(ldb)
          .real(alpha).flag(transposed).flag(accumulate || first > 0).real(dropout).bits(dropout > 0 ? seed : 0);
      Program.Kernel kernel = launch.choose(m, n, 1, "R", (int) ranks, -1);
      launch.launch(kernel, Launcher.tilesOf(kernel, m, n), 1);
    }
  }

  /** g (R,K), or (K,R) when transposed, += alpha e^T d(x); e (M,R), x (M,K). */
  private void gradient(
      Tensor g, Tensor e, Tensor x, long m, long k, long r, long ldg, float alpha, boolean transposed, float dropout,
      long seed) {
    for (long first = 0; first < r; first += MOST_RANKS) {
      long ranks = Math.min(MOST_RANKS, r - first);
      long partBytes = ranks * k * Float.BYTES;
      Tensor parts = stage.workspace("lora_backward", partBytes);
      long rows = splitRows(m, k, parts.bytes() / partBytes);
      long splits = Math.ceilDiv(m, rows);
      Launcher launch = stage.begin("lora_grad").tensor(parts).tensor(e, HALF * first).tensor(x).dim(m).dim(k)
          .dim(ranks).dim(r).dim(rows).real(dropout).bits(dropout > 0 ? seed : 0);
      Program.Kernel kernel = launch.choose(1, k, splits, "R", (int) ranks, -1);
      launch.launch(kernel, Math.ceilDiv(k, (long) kernel.entry().constant("BN")), splits);
      stage.begin("lora_reduce", DType.F32).tensor(g, DType.F32.bytes(transposed ? first : first * ldg)).tensor(parts)
          .dim(splits).dim(k).dim(ranks).dim(ldg).real(alpha).flag(transposed).flat(ranks * k);
    }
  }

  /** Tokens of a split: enough splits to give every multiprocessor two blocks, as many as the workspace takes. */
  private long splitRows(long m, long k, long most) {
    long blocks = Math.ceilDiv(k, SPLIT_STEP);
    long wanted = Math.ceilDiv(2L * stage.device().card().multiprocessors(), blocks);
    long splits = Math.clamp(wanted, 1, Math.min(most, Math.ceilDiv(m, SPLIT_STEP)));
    return Math.ceilDiv(Math.ceilDiv(m, splits), SPLIT_STEP) * SPLIT_STEP;
  }
}
