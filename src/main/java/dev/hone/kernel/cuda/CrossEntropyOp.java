package dev.hone.kernel.cuda;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;

/**
 * Linear + cross-entropy over chunks of tokens:
 *
 * <pre>
 *   z = h U^T        a product; z (Tc,V) in the scratch
 *   loss rows, dz    one kernel over z's rows, dz in place of z
 *   dh = dz U        a product
 *   loss += sum of the rows, in f64
 * </pre>
 */
final class CrossEntropyOp {
  /** Of the chunk's logits. */
  private static final long CHUNK_BYTES = 64 << 20;
  /** A chunk is a multiple of this many tokens: the products' tiles. */
  private static final long STEP = 128;
  private static final int HALF = 2;

  private final Stage stage;
  private final Products products;

  CrossEntropyOp(Stage stage, Products products) {
    this.stage = stage;
    this.products = products;
  }

  static long chunk(long tokens, long vocab) {
    return Math.min(tokens, Math.max(STEP, CHUNK_BYTES / (HALF * vocab) / STEP * STEP));
  }

  /** The row losses (Tc) f32 come first, so that the logits behind them are aligned whatever their number. */
  private static long lossBytes(long chunk) {
    return Math.ceilDiv(chunk * Float.BYTES, 256L) * 256;
  }

  static long scratchBytes(long tokens, long vocab) {
    long chunk = chunk(tokens, vocab);
    return lossBytes(chunk) + chunk * vocab * HALF;
  }

  void run(
      Tensor loss, Tensor dh, Tensor du, Tensor scratch, Tensor h, Tensor u, Tensor targets,
      float invCount, float logitScale, float softcap, float labelSmoothing) {
    String op = "cross_entropy";
    Args.frozen(op, du);
    Args.vector(op, loss, DType.F64, 1);
    Args.matrix(op, h, stage.compute(), Args.ANY, Args.ANY);
    long m = h.shape(0);
    Args.weight(op, u, stage.compute(), Args.ANY, h.shape(1));
    Args.vector(op, targets, DType.I32, m);
    if (dh != null) {
      Args.matrix(op, dh, stage.compute(), m, h.shape(1));
    }
    long vocab = u.shape(0);
    long rowBytes = HALF * h.shape(1);
    Args.dtype(op, scratch, DType.U8);
    long wanted = scratchBytes(m, vocab);
    Args.require(scratch.bytes() >= wanted, op, scratch + ", want " + wanted + " bytes");
    long chunk = chunk(m, vocab);
    for (long row = 0; row < m; row += chunk) {
      long rows = Math.min(chunk, m - row);
      products.forward(scratch, lossBytes(chunk), h, row * rowBytes, u, null, rows, false);
      stage.begin("ce_rows").tensor(scratch, lossBytes(chunk)).tensor(targets, DType.I32.bytes(row)).tensor(scratch)
          .dim(rows).dim(vocab).real(logitScale).real(softcap).real(invCount).real(labelSmoothing).flag(dh != null)
          .rows(rows, vocab);
      stage.begin("sum_rows", DType.F32).tensor(loss).tensor(scratch).dim(rows).blocks(1, 1);
      if (dh != null) {
        products.backwardInput(dh, row * rowBytes, scratch, lossBytes(chunk), u, false, rows);
      }
    }
  }
}
