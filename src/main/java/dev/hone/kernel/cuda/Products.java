package dev.hone.kernel.cuda;

import dev.hone.tensor.DType;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;

/**
 * Products with a frozen weight W (N,K), in the compute dtype, NF4 or I8.
 *
 * <pre>
 *   forward   y (M,N) (+)= x W^T + bias   NF4, I8: slabs of rows of W, each dequantised to the workspace and used at once
 *   backward  dx (M,K) (+)= dy W          NF4, I8: slabs of columns of W, so that dx needs no sum over slabs
 * </pre>
 *
 * Either may begin with an adapter's branch, alpha u b of a few ranks, which then costs no pass over y or dx: b is B (N,R) forward
 * and A (R,K) backward, f32; u is u or e (M,R).
 *
 * A slab is at most {@value #SLAB} bytes: it stays in the second-level cache between the two kernels, and W never
 * exists whole. Up to {@value #GEMV_ROWS} rows of x take kernels that read W once without tensor cores.
 */
final class Products {
  private static final long SLAB = 16 << 20;
  /** Rows or columns of a slab are a multiple of this: the largest tile's edge. */
  private static final long SLAB_STEP = 256;
  /** Least extent of a slab, whatever the weight's other one. */
  private static final long SLAB_LEAST = 64;
  private static final int GEMV_ROWS = 8;
  private static final int HALF = 2;
  /** Elements of 16 bytes. */
  private static final int CHUNK = 8;

  private final Stage stage;

  Products(Stage stage) {
    this.stage = stage;
  }

  /** Bytes that a slab of any weight of a run needs. */
  static long workspaceBytes(long features, long weight) {
    return Math.max(Math.min(SLAB, weight * HALF), features * SLAB_LEAST * HALF);
  }

  /** Whether products of so many rows take a branch of so many ranks, which must come in 16 bytes. */
  boolean takeBranch(long m, long ranks) {
    Rivals rivals = stage.device().rivals();
    return m > GEMV_ROWS && ranks % CHUNK == 0 && (rivals == null || !rivals.haveProducts());
  }

  /** y = x W^T + bias + alpha u b^T where {@link #takeBranch} says so. */
  void forward(Tensor y, Tensor x, Tensor w, Tensor bias, Tensor u, Tensor b, float alpha) {
    checkForward(y, x, w, bias, stage.compute());
    forward(y, 0, x, 0, w, bias, x.shape(0), false, u, b, alpha);
  }

  private void checkForward(Tensor y, Tensor x, Tensor w, Tensor bias, DType out) {
    String op = "linear_forward";
    Args.matrix(op, x, stage.compute(), Args.ANY, Args.ANY);
    Args.weight(op, w, stage.compute(), Args.ANY, x.shape(1));
    Args.matrix(op, y, out, x.shape(0), w.shape(0));
    if (bias != null) {
      Args.vector(op, bias, DType.F32, w.shape(0));
    }
  }

  void forward(Tensor y, Tensor x, Tensor w, Tensor bias, boolean accumulate) {
    String op = "linear_forward";
    boolean wide = y != null && y.dtype() == DType.F32;
    checkForward(y, x, w, bias, wide ? DType.F32 : stage.compute());
    long m = x.shape(0);
    if (wide) {
      if (w.dtype().isQuantised()) {
        throw Args.bad(op + ": " + w + " with f32 output: not on a card");
      }
      for (long row = 0; row < m; row += GEMV_ROWS) {
        gemv("linear_gemv_f32", y, row, x, w, bias, Math.min(GEMV_ROWS, m - row), accumulate);
      }
    } else if (m <= GEMV_ROWS) {
      String rows =
          switch (w.dtype()) {
            case NF4 -> "gemv_nf4";
            case I8 -> "gemv_int8";
            default -> "linear_gemv";
          };
      gemv(rows, y, 0, x, w, bias, m, accumulate);
    } else {
      forward(y, 0, x, 0, w, bias, m, accumulate);
    }
  }

  private void gemv(String op, Tensor y, long row, Tensor x, Tensor w, Tensor bias, long m, boolean accumulate) {
    long n = w.shape(0);
    long k = w.shape(1);
    Launcher launch = stage.begin(op).tensor(y, y.dtype().bytes(row * n)).tensor(x, HALF * row * k);
    weight(launch, w).tensor(bias).dim(m).dim(n).dim(k).flag(accumulate);
    launch.rows(n, k);
  }

  /** m rows from {@code yAt} bytes into y = or += m rows from {@code xAt} bytes into x times W^T, by tiles. */
  void forward(Tensor y, long yAt, Tensor x, long xAt, Tensor w, Tensor bias, long m, boolean accumulate) {
    forward(y, yAt, x, xAt, w, bias, m, accumulate, null, null, 0);
  }

  private void forward(
      Tensor y, long yAt, Tensor x, long xAt, Tensor w, Tensor bias, long m, boolean accumulate, Tensor u, Tensor b,
      float alpha) {
    long n = w.shape(0);
    long k = w.shape(1);
    long ranks = u == null ? 0 : u.shape(1);
    if (!w.dtype().isQuantised()) {
      stage.begin("linear_fwd").tensor(y, yAt).tensor(x, xAt).tensor(w).tensor(bias).tensor(u).tensor(b)
          .dim(m).dim(n).dim(k).dim(ranks).dim(n).dim(ranks).dim(ranks).real(alpha).flag(accumulate).tiles(m, n);
      return;
    }
    Tensor slab = stage.workspace("linear_forward", slab(n, k) * k * HALF);
    for (long first = 0; first < n; first += slab(n, k)) {
      long rows = Math.min(slab(n, k), n - first);
      dequantize(slab, w, first, rows, 0, k);
      stage.begin("linear_fwd").tensor(y, yAt + HALF * first).tensor(x, xAt).tensor(slab)
          .tensor(bias, DType.F32.bytes(first)).tensor(u).tensor(b, DType.F32.bytes(first * ranks))
          .dim(m).dim(rows).dim(k).dim(ranks).dim(n).dim(ranks).dim(ranks).real(alpha).flag(accumulate).tiles(m, rows);
    }
  }

  void backwardInput(Tensor dx, Tensor dy, Tensor w, boolean accumulate) {
    String op = "linear_backward_input";
    Args.matrix(op, dy, stage.compute(), Args.ANY, Args.ANY);
    Args.weight(op, w, stage.compute(), dy.shape(1), Args.ANY);
    Args.matrix(op, dx, stage.compute(), dy.shape(0), w.shape(1));
    backwardInput(dx, 0, dy, 0, w, accumulate, dy.shape(0));
  }

  /** dx = or += dy W + alpha e a where {@link #takeBranch} says so. */
  void backwardInput(Tensor dx, Tensor dy, Tensor w, boolean accumulate, Tensor e, Tensor a, float alpha) {
    String op = "linear_backward_input";
    Args.matrix(op, dy, stage.compute(), Args.ANY, Args.ANY);
    Args.weight(op, w, stage.compute(), dy.shape(1), Args.ANY);
    Args.matrix(op, dx, stage.compute(), dy.shape(0), w.shape(1));
    backwardInput(dx, 0, dy, 0, w, accumulate, dy.shape(0), e, a, alpha);
  }

  /** m rows from {@code dxAt} bytes into dx = or += m rows from {@code dyAt} bytes into dy times W. */
  void backwardInput(Tensor dx, long dxAt, Tensor dy, long dyAt, Tensor w, boolean accumulate, long m) {
    backwardInput(dx, dxAt, dy, dyAt, w, accumulate, m, null, null, 0);
  }

  private void backwardInput(
      Tensor dx, long dxAt, Tensor dy, long dyAt, Tensor w, boolean accumulate, long m, Tensor e, Tensor a, float alpha) {
    long n = w.shape(0);
    long k = w.shape(1);
    long ranks = e == null ? 0 : e.shape(1);
    long lda = e == null ? 0 : k;
    if (!w.dtype().isQuantised()) {
      stage.begin("linear_bwd_input").tensor(dx, dxAt).tensor(dy, dyAt).tensor(w).tensor(e).tensor(a)
          .dim(m).dim(n).dim(k).dim(ranks).dim(n).dim(k).dim(k).dim(ranks).dim(lda).real(alpha).flag(accumulate).tiles(m, k);
      return;
    }
    Tensor slab = stage.workspace("linear_backward_input", slab(k, n) * n * HALF);
    for (long first = 0; first < k; first += slab(k, n)) {
      long columns = Math.min(slab(k, n), k - first);
      dequantize(slab, w, 0, n, first, columns);
      stage.begin("linear_bwd_input").tensor(dx, dxAt + HALF * first).tensor(dy, dyAt).tensor(slab)
          .tensor(e).tensor(a, DType.F32.bytes(first)).dim(m).dim(n).dim(columns).dim(ranks).dim(n).dim(k).dim(columns)
          .dim(ranks).dim(lda).real(alpha).flag(accumulate).tiles(m, columns);
    }
  }

  /** Rows (or columns) of a slab of a weight with {@code extent} of them, {@code other} elements each. */
  private static long slab(long extent, long other) {
    long most = SLAB / (HALF * other);
    if (extent <= most) {
      return extent;
    }
    return most >= SLAB_STEP ? most / SLAB_STEP * SLAB_STEP : Math.max(SLAB_LEAST, most / SLAB_LEAST * SLAB_LEAST);
  }

  /** out (rows,columns) = the part of an NF4 or I8 weight from (row, column) on. */
  void dequantize(Tensor out, Tensor w, long row, long rows, long column, long columns) {
    Launcher launch = stage.begin(w.dtype() == DType.NF4 ? "nf4_dequant" : "int8_dequant").tensor(out);
    weight(launch, w).count(row).dim(rows).dim(column).dim(columns).dim(w.shape(1)).flat(rows * columns);
  }

  /** A weight as kernels take it: its address, or a quantised one's codes and side data. */
  private static Launcher weight(Launcher launch, Tensor w) {
    launch.tensor(w);
    Quant quant = w.quant();
    if (quant == null) {
      return launch;
    }
    if (w.dtype() == DType.I8) {
      return launch.tensor(quant.absmax());
    }
    boolean nested = quant.isDouble();
    if (quant.block() != 64 || nested && quant.nestedBlock() != 256) {
      throw Args.bad(
          "nf4: " + w + " in blocks of " + quant.block() + " and " + quant.nestedBlock() + ", want 64 and 256");
    }
    return launch.tensor(nested ? null : quant.absmax()).tensor(nested ? quant.absmax() : null)
        .tensor(nested ? quant.nestedCode() : null).tensor(nested ? quant.nestedAbsmax() : null)
        .real(quant.nestedOffset()).tensor(quant.code());
  }
}
