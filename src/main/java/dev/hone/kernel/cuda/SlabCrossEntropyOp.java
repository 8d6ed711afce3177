package dev.hone.kernel.cuda;

import dev.hone.kernel.Slabs;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;

/**
 * Linear + cross-entropy with a head that comes in slabs U_i of S rows; the derivation is in {@code
 * kernels/cuda/cross_entropy_slab.cu}.
 *
 * <pre>
 *   pass 1, each slab   z = h U_i^T    counts of each row go on
 *   between             lse and loss of each row;  loss += their sum, in f64
 *   pass 2, each slab   z = h U_i^T    dz in place of z    dh = sums (+)= dz U_i
 * </pre>
 *
 * Without a gradient there is no pass 2. While a slab is computed the next one travels: the head crosses the link once
 * a pass, whatever the number of tokens.
 *
 * <p>Scratch: loss, lse and picked (M) f32; counts (M,3,256) f32 and, once they are used up, sums (M,C) f32 in their
 * place; z of as many tokens as {@value #Z_BYTES} bytes hold.
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

  private static long countsBytes(long tokens, long hidden) {
    return Math.ceilDiv(tokens * Math.max(COUNTS, hidden * Float.BYTES), 256L) * 256;
  }

  static long scratchBytes(long tokens, long hidden, long slabRows) {
    return 3 * rowsBytes(tokens) + countsBytes(tokens, hidden) + chunk(tokens, slabRows) * slabRows * HALF;
  }

  void run(
      Tensor loss, Tensor dh, Tensor scratch, Tensor h, Slabs u, Tensor targets,
      float invCount, float logitScale, float softcap, float labelSmoothing) {
    String op = "cross_entropy";
    Args.vector(op, loss, DType.F64, 1);
    Args.matrix(op, h, stage.compute(), Args.ANY, u.columns());
    long m = h.shape(0);
    long hidden = h.shape(1);
    Args.vector(op, targets, DType.I32, m);
    if (dh != null) {
      Args.matrix(op, dh, stage.compute(), m, hidden);
    }
    Args.dtype(op, scratch, DType.U8);
    long wanted = scratchBytes(m, hidden, u.slabRows());
    Args.require(scratch.bytes() >= wanted, op, scratch + ", want " + wanted + " bytes");

    long lse = rowsBytes(m);
    long picked = 2 * lse;
    long counts = 3 * lse;
    long z = counts + countsBytes(m, hidden);
    long chunk = chunk(m, u.slabRows());
    u.begin(dh == null ? 1 : 2);
    for (int slab = 0; slab < u.count(); slab++) {
      Tensor part = slab(op, u);
      for (long row = 0; row < m; row += chunk) {
        long rows = Math.min(chunk, m - row);
        products.forward(scratch, z, h, HALF * row * hidden, part, null, rows, false);
        stage.begin("ce_slab_fwd").tensor(scratch, z).tensor(targets, DType.I32.bytes(row))
            .tensor(scratch, counts + row * COUNTS).tensor(scratch, picked + DType.F32.bytes(row)).dim(rows)
            .dim(part.shape(0)).dim(u.first(slab)).dim(u.rows()).real(logitScale).real(softcap)
            .rows(rows, part.shape(0));
      }
      u.done();
    }
    stage.begin("ce_slab_loss").tensor(scratch).tensor(scratch, lse).tensor(scratch, counts).tensor(scratch, picked)
        .tensor(targets).dim(m).dim(u.rows()).real(labelSmoothing).rows(m, u.rows());
    sum(loss, scratch, m, u.rows());
    for (int slab = 0; dh != null && slab < u.count(); slab++) {
      Tensor part = slab(op, u);
      for (long row = 0; row < m; row += chunk) {
        long rows = Math.min(chunk, m - row);
        products.forward(scratch, z, h, HALF * row * hidden, part, null, rows, false);
        stage.begin("ce_slab_bwd").tensor(scratch, z).tensor(targets, DType.I32.bytes(row))
            .tensor(scratch, lse + DType.F32.bytes(row)).tensor(scratch, picked + DType.F32.bytes(row)).dim(rows)
            .dim(part.shape(0)).dim(u.first(slab)).dim(u.rows()).real(logitScale).real(softcap).real(invCount)
            .real(labelSmoothing).rows(rows, part.shape(0));
        stage.begin("linear_bwd_slab").tensor(dh, HALF * row * hidden)
            .tensor(scratch, counts + DType.F32.bytes(row * hidden)).tensor(scratch, z).tensor(part).dim(rows)
            .dim(part.shape(0)).dim(hidden).flag(slab == 0).flag(slab == u.count() - 1).tiles(rows, hidden);
      }
      u.done();
    }
  }

  private Tensor slab(String op, Slabs u) {
    Tensor part = u.next();
    Args.matrix(op, part, stage.compute(), Args.ANY, u.columns());
    return part;
  }

  /** loss += the rows' losses, in the same groups as with a whole head: f64 sums depend on them. */
  private void sum(Tensor loss, Tensor rowLosses, long tokens, long vocab) {
    long chunk = CrossEntropyOp.chunk(tokens, vocab);
    for (long row = 0; row < tokens; row += chunk) {
      stage.begin("sum_rows", DType.F32).tensor(loss).tensor(rowLosses, DType.F32.bytes(row))
          .dim(Math.min(chunk, tokens - row)).blocks(1, 1);
    }
  }
}
