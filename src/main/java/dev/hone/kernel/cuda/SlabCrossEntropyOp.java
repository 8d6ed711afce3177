package dev.hone.kernel.cuda;

import dev.hone.kernel.Slabs;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;

/**
 * Linear + cross-entropy of the labelled rows with a head that comes in slabs U_i of S rows; the derivation is in {@code
 * kernels/cuda/cross_entropy_slab.cu}.
 *
 * <pre>
 *   before              g, the labelled rows of h, and their labels
 *   pass 1, each slab   z = g U_i^T    counts of each row go on
 *   between             lse and loss of each row;  loss += their sum, in f64
 *   pass 2, each slab   z = g U_i^T    dz in place of z    sums (+)= dz U_i
 *   its last slab       g = sums, rounded: a row of g has made its last z by then
 *   after               dh = zero, and the rows of g where they belong; sums' place holds g meanwhile
 * </pre>
 *
 * Without a gradient there is no pass 2, without labels nothing at all. While a slab is computed the next one travels:
 * the head crosses the link once a pass, whatever the number of rows.
 *
 * <p>Scratch, for M labelled rows: loss, lse and picked f32 and labels i32 (M); counts (M,3,256) f32 and, once they are
 * used up, sums (M,C) f32 in their place; z of as many rows as {@value #Z_BYTES} bytes hold. g (M,C) lies in dh, which
 * has its value at the end; without a gradient behind the counts, where there are no sums.
 *
 * <p>Rounding: z, loss and dh have the bits of {@link CrossEntropyOp} wherever the shipped products do both, since
 * rows, threads and sums keep their order. Where cuBLASLt makes the resident head's products the two differ as its
 * sums do.
 */
final class SlabCrossEntropyOp {
  /** Of the logits of one slab. */
  private static final long Z_BYTES = 16 << 20;
  /** Tokens at a time are a multiple of this: the products' tiles. */
  private static final long STEP = 128;
  private static final int HALF = 2;
  /** Maximum, sum and total of each of a block's threads. */
  private static final long COUNTS = 3L * 256 * Float.BYTES;

  private final Stage stage;
  private final Products products;

  SlabCrossEntropyOp(Stage stage, Products products) {
    this.stage = stage;
    this.products = products;
  }

  private static long chunk(long tokens, long slabRows) {
    return Math.min(tokens, Math.max(STEP, Z_BYTES / (HALF * slabRows) / STEP * STEP));
  }

  private static long rowsBytes(long tokens) {
    return Math.ceilDiv(tokens * Float.BYTES, 256L) * 256;
  }

  /** Of counts and gathered rows, or sums. */
  private static long sumsBytes(long tokens, long hidden) {
    return Math.ceilDiv(tokens * Math.max(COUNTS + hidden * HALF, hidden * Float.BYTES), 256L) * 256;
  }

  static long scratchBytes(long tokens, long hidden, long slabRows) {
    return 4 * rowsBytes(tokens) + sumsBytes(tokens, hidden) + chunk(tokens, slabRows) * slabRows * HALF;
  }

  void run(
      Tensor loss, Tensor dh, Tensor scratch, Tensor h, Slabs u, Tensor targets, Tensor rows,
      float invCount, float logitScale, float softcap, float labelSmoothing) {
    String op = "cross_entropy";
    Args.vector(op, loss, DType.F64, 1);
    Args.matrix(op, h, stage.compute(), Args.ANY, u.columns());
    long m = h.shape(0);
    long hidden = h.shape(1);
    Args.vector(op, targets, DType.I32, m);
    Args.rows(op, rows, m);
    if (dh != null) {
      Args.matrix(op, dh, stage.compute(), m, hidden);
    }
    Args.atLeast(op, scratch, scratchBytes(m, hidden, u.slabRows()));
    long n = rows.shape(0);
    if (n == 0) {
      if (dh != null) {
        dh.zero();
      }
      return;
    }

    long lse = rowsBytes(m);
    long picked = 2 * lse;
    long labels = 3 * lse;
    long counts = 4 * lse;
    long z = counts + sumsBytes(m, hidden);
    long chunk = chunk(m, u.slabRows());
    Tensor g = dh == null ? scratch : dh;
    long gathered = dh == null ? counts + n * COUNTS : 0;
    stage.begin("labelled_gather").tensor(g, gathered).tensor(scratch, labels).tensor(h).tensor(targets)
        .tensor(rows).dim(n).dim(m).dim(hidden).rows(n, hidden);
    u.begin(dh == null ? 1 : 2);
    for (int slab = 0; slab < u.count(); slab++) {
      Tensor part = slab(op, u);
      for (long row = 0; row < n; row += chunk) {
        long some = Math.min(chunk, n - row);
        products.forward(scratch, z, g, gathered + HALF * row * hidden, part, null, some, false);
        stage.begin("ce_slab_fwd").tensor(scratch, z).tensor(scratch, labels + DType.I32.bytes(row))
            .tensor(scratch, counts + row * COUNTS).tensor(scratch, picked + DType.F32.bytes(row)).dim(some)
            .dim(part.shape(0)).dim(u.first(slab)).dim(u.rows()).real(logitScale).real(softcap)
            .rows(some, part.shape(0));
      }
      u.done();
    }
    stage.begin("ce_slab_loss").tensor(scratch).tensor(scratch, lse).tensor(scratch, counts).tensor(scratch, picked)
        .tensor(scratch, labels).dim(n).dim(u.rows()).real(labelSmoothing).rows(n, u.rows());
    sum(loss, scratch, n, CrossEntropyOp.chunk(m, u.rows()));
    if (dh == null) {
      return;
    }
    for (int slab = 0; slab < u.count(); slab++) {
      Tensor part = slab(op, u);
      for (long row = 0; row < n; row += chunk) {
        long some = Math.min(chunk, n - row);
        long here = HALF * row * hidden;
        products.forward(scratch, z, dh, here, part, null, some, false);
        stage.begin("ce_slab_bwd").tensor(scratch, z).tensor(scratch, labels + DType.I32.bytes(row))
            .tensor(scratch, lse + DType.F32.bytes(row)).tensor(scratch, picked + DType.F32.bytes(row)).dim(some)
            .dim(part.shape(0)).dim(u.first(slab)).dim(u.rows()).real(logitScale).real(softcap).real(invCount)
            .real(labelSmoothing).rows(some, part.shape(0));
        stage.begin("linear_bwd_slab").tensor(dh, here)
            .tensor(scratch, counts + DType.F32.bytes(row * hidden)).tensor(scratch, z).tensor(part).dim(some)
            .dim(part.shape(0)).dim(hidden).flag(slab == 0).flag(slab == u.count() - 1).tiles(some, hidden);
      }
      u.done();
    }
    stage.copy(scratch.data().address() + counts, dh.data().address(), HALF * n * hidden);
    dh.zero();
    stage.begin("labelled_scatter").tensor(dh).tensor(scratch, counts).tensor(rows).dim(n).dim(m).dim(hidden)
        .rows(n, hidden);
  }

  private Tensor slab(String op, Slabs u) {
    Tensor part = u.next();
    Args.matrix(op, part, stage.compute(), Args.ANY, u.columns());
    return part;
  }

  /** loss += the rows' losses, in the same groups as with a whole head: f64 sums depend on them. */
  private void sum(Tensor loss, Tensor rowLosses, long rows, long group) {
    for (long row = 0; row < rows; row += group) {
      stage.begin("sum_rows", DType.F32).tensor(loss).tensor(rowLosses, DType.F32.bytes(row))
          .dim(Math.min(group, rows - row)).blocks(1, 1);
    }
  }
}
