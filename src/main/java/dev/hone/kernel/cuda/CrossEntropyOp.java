package dev.hone.kernel.cuda;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;

/**
 * Linear + cross-entropy over chunks of Tc labelled rows; rows without a label are not computed:
 *
 * <pre>
 *   g                the chunk's rows of h and their labels, gathered; g (Tc,C) in the scratch
 *   z = g U^T        a product; z (Tc,V) in the scratch
 *   loss rows, dz    one kernel over z's rows, dz in place of z
 *   loss += sum of the rows, in f64
 *   g = dz U         a product, in place of the gathered rows
 *   dh               zero, and the rows of g where they belong
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

  /** Rows of a chunk, of a batch of {@code tokens} whether all are labelled or not. */
  static long chunk(long tokens, long vocab) {
    return Math.min(tokens, Math.max(STEP, CHUNK_BYTES / (HALF * vocab) / STEP * STEP));
  }

  /** Bytes of a part of the scratch, so that the next one is aligned whatever the number of rows. */
  private static long part(long bytes) {
    return Math.ceilDiv(bytes, 256L) * 256;
  }

  static long scratchBytes(long tokens, long hidden, long vocab) {
    long chunk = chunk(tokens, vocab);
    return 2 * part(chunk * Float.BYTES) + part(chunk * hidden * HALF) + chunk * vocab * HALF;
  }

  void run(
      Tensor loss, Tensor dh, Tensor du, Tensor scratch, Tensor h, Tensor u, Tensor targets, Tensor rows,
      float invCount, float logitScale, float softcap, float labelSmoothing) {
    String op = "cross_entropy";
    Args.frozen(op, du);
    Args.vector(op, loss, DType.F64, 1);
    Args.matrix(op, h, stage.compute(), Args.ANY, Args.ANY);
    long m = h.shape(0);
    long hidden = h.shape(1);
    Args.weight(op, u, stage.compute(), Args.ANY, hidden);
    long vocab = u.shape(0);
    Args.vector(op, targets, DType.I32, m);
    Args.rows(op, rows, m);
    if (dh != null) {
      Args.matrix(op, dh, stage.compute(), m, hidden);
    }
    Args.atLeast(op, scratch, scratchBytes(m, hidden, vocab));

    long chunk = chunk(m, vocab);
    long labels = part(chunk * Float.BYTES);
    long gathered = 2 * labels;
    long z = gathered + part(chunk * hidden * HALF);
    if (dh != null) {
      dh.zero();
    }
    for (long first = 0; first < rows.shape(0); first += chunk) {
      long n = Math.min(chunk, rows.shape(0) - first);
      stage.begin("labelled_gather").tensor(scratch, gathered).tensor(scratch, labels).tensor(h).tensor(targets)
          .tensor(rows, DType.I32.bytes(first)).dim(n).dim(m).dim(hidden).rows(n, hidden);
      products.forward(scratch, z, scratch, gathered, u, null, n, false);
      stage.begin("ce_rows").tensor(scratch, z).tensor(scratch, labels).tensor(scratch)
          .dim(n).dim(vocab).real(logitScale).real(softcap).real(invCount).real(labelSmoothing).flag(dh != null)
          .rows(n, vocab);
      stage.begin("sum_rows", DType.F32).tensor(loss).tensor(scratch).dim(n).blocks(1, 1);
      if (dh != null) {
        products.backwardInput(scratch, gathered, scratch, z, u, false, n);
        stage.begin("labelled_scatter").tensor(dh).tensor(scratch, gathered).tensor(rows, DType.I32.bytes(first))
            .dim(n).dim(m).dim(hidden).rows(n, hidden);
      }
    }
  }
}
