package dev.hone.kernel;

import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.function.DoubleUnaryOperator;

/**
 * One attention problem with a straightforward reference: whole score matrices in double, every intermediate passed through a
 * rounding, so that the same code gives the exact result (no rounding) and what a naive f32 or bf16 implementation would give.
 */
record AttentionCase(int heads, int kvHeads, int dim, int window, float softcap, int... lengths) {
  static final DoubleUnaryOperator EXACT = x -> x;
  static final DoubleUnaryOperator F32 = x -> (float) x;
  static final DoubleUnaryOperator BF16 = x -> bf16((float) x);

  /** Results of forward and backward, each laid out as the tensor of that name; dpSize (1) is the largest |dout . v|. */
  record Result(double[] o, double[] lse, double[] dq, double[] dk, double[] dv, double[] dpSize) {}

  static AttentionCase of(int heads, int kvHeads, int dim, int... lengths) {
    return new AttentionCase(heads, kvHeads, dim, 0, 0, lengths);
  }

  AttentionCase withWindow(int w) {
    return new AttentionCase(heads, kvHeads, dim, w, softcap, lengths);
  }

  AttentionCase withSoftcap(float c) {
    return new AttentionCase(heads, kvHeads, dim, window, c, lengths);
  }

  /** Odd head dims and lengths, group ratios 1 to 7, windows below, at and above tile and document sizes, caps. */
  static AttentionCase[] oddShapes() {
    return new AttentionCase[] {
      of(2, 1, 8, 1, 5, 1, 17),
      of(4, 2, 24, 70, 1, 33),
      of(3, 3, 16, 65),
      of(4, 1, 13, 77, 2),
      of(4, 1, 40, 130, 3).withWindow(20),
      of(2, 2, 64, 200).withWindow(70),
      of(3, 1, 72, 64, 64).withSoftcap(1.5f),
      of(2, 1, 96, 129, 1, 1, 40).withWindow(1),
      of(1, 1, 128, 150).withWindow(64).withSoftcap(2),
      of(1, 1, 256, 100),
      of(7, 1, 56, 31, 90).withWindow(500),
      of(2, 1, 32, 330, 7).withWindow(200).withSoftcap(30),
      of(2, 2, 104, 97),
    };
  }

  int tokens() {
    return Arrays.stream(lengths).sum();
  }

  /** A scale that is no power of two and leaves scores of a few units. */
  float scale() {
    return 1.7f / (float) Math.sqrt(dim);
  }

  Kernels.Attention settings() {
    return new Kernels.Attention(scale(), window, softcap);
  }

  int[] docs() {
    int[] docs = new int[lengths.length + 1];
    for (int j = 0; j < lengths.length; j++) {
      docs[j + 1] = docs[j] + lengths[j];
    }
    return docs;
  }

  /** Document {@code j} by itself. */
  AttentionCase alone(int j) {
    return new AttentionCase(heads, kvHeads, dim, window, softcap, lengths[j]);
  }

  float[] random(int headCount, long seed) {
    var random = new SplittableRandom(seed);
    float[] out = new float[tokens() * headCount * dim];
    for (int i = 0; i < out.length; i++) {
      out[i] = bf16((float) (random.nextDouble() + random.nextDouble() + random.nextDouble() - 1.5) * 1.6f);
    }
    return out;
  }

  static float bf16(float x) {
    int bits = Float.floatToRawIntBits(x);
    return Float.intBitsToFloat((bits + 0x7fff + ((bits >>> 16) & 1)) & 0xffff0000);
  }

  /** Attention and its gradients with every intermediate rounded by {@code round}; products sum in the rounding of f32 at best. */
  Result naive(float[] q, float[] k, float[] v, float[] dout, DoubleUnaryOperator round) {
    int m = tokens();
    boolean exact = round == EXACT;
    var result =
        new Result(new double[m * heads * dim], new double[heads * m], new double[m * heads * dim],
            new double[m * kvHeads * dim], new double[m * kvHeads * dim], new double[1]);
    int[] docs = docs();
    for (int j = 0; j < lengths.length; j++) {
      for (int h = 0; h < heads; h++) {
        for (int i = docs[j]; i < docs[j + 1]; i++) {
          row(result, q, k, v, dout, round, exact, h, i, Math.max(docs[j], window > 0 ? i - window + 1 : 0));
        }
      }
    }
    for (double[] gradient : new double[][] {result.dk, result.dv}) {
      Arrays.setAll(gradient, i -> round.applyAsDouble(gradient[i]));
    }
    return result;
  }

  private void row(
      Result result, float[] q, float[] k, float[] v, float[] dout, DoubleUnaryOperator round, boolean exact,
      int h, int i, int first) {
    int keys = i - first + 1;
    int qAt = (i * heads + h) * dim;
    int kvHead = h / (heads / kvHeads);
    double[] s = new double[keys];
    double[] slope = new double[keys];
    double top = Double.NEGATIVE_INFINITY;
    for (int n = 0; n < keys; n++) {
      double x = round.applyAsDouble(scale() * dot(q, qAt, k, ((first + n) * kvHeads + kvHead) * dim, exact));
      double t = softcap > 0 ? round.applyAsDouble(Math.tanh(x / softcap)) : 0;
      s[n] = softcap > 0 ? round.applyAsDouble(softcap * t) : x;
      slope[n] = 1 - t * t;
      top = Math.max(top, s[n]);
    }
    double total = 0;
    for (int n = 0; n < keys; n++) {
      total = sum(exact, total + sum(exact, Math.exp(s[n] - top)));
    }
    result.lse[h * tokens() + i] = sum(exact, top + Math.log(total));
    double[] p = new double[keys];
    double[] dp = new double[keys];
    double delta = 0;
    for (int n = 0; n < keys; n++) {
      int vAt = ((first + n) * kvHeads + kvHead) * dim;
      p[n] = round.applyAsDouble(Math.exp(s[n] - top) / total);
      dp[n] = round.applyAsDouble(dot(dout, qAt, v, vAt, exact));
      delta = sum(exact, delta + p[n] * dp[n]);
      result.dpSize[0] = Math.max(result.dpSize[0], Math.abs(dp[n]));
      for (int d = 0; d < dim; d++) {
        result.o[qAt + d] = sum(exact, result.o[qAt + d] + p[n] * v[vAt + d]);
        result.dv[vAt + d] = sum(exact, result.dv[vAt + d] + p[n] * dout[qAt + d]);
      }
    }
    for (int n = 0; n < keys; n++) {
      int kAt = ((first + n) * kvHeads + kvHead) * dim;
      double ds = round.applyAsDouble(scale() * slope[n] * p[n] * (dp[n] - delta));
      for (int d = 0; d < dim; d++) {
        result.dq[qAt + d] = sum(exact, result.dq[qAt + d] + ds * k[kAt + d]);
        result.dk[kAt + d] = sum(exact, result.dk[kAt + d] + ds * q[qAt + d]);
      }
    }
    for (int d = 0; d < dim; d++) {
      result.o[qAt + d] = round.applyAsDouble(result.o[qAt + d]);
      result.dq[qAt + d] = round.applyAsDouble(result.dq[qAt + d]);
    }
  }

  /** A running sum, kept in f32 unless the result is to be exact. */
  private static double sum(boolean exact, double x) {
    return exact ? x : (float) x;
  }

  private double dot(float[] a, int aAt, float[] b, int bAt, boolean exact) {
    double total = 0;
    for (int d = 0; d < dim; d++) {
      total = sum(exact, total + (double) a[aAt + d] * b[bAt + d]);
    }
    return total;
  }

  @Override
  public String toString() {
    return "H" + heads + " KV" + kvHeads + " D" + dim + " w" + window + " c" + softcap + " " + Arrays.toString(lengths);
  }
}
