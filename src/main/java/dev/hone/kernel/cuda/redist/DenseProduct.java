package dev.hone.kernel.cuda.redist;

import dev.hone.tensor.DType;

/**
 * One dense product of the op contract, in row-major terms: what must be equal for two calls to be the same work.
 *
 * @param forward {@code y (M,N) (+)= x (M,K) w (N,K)^T}; else {@code dx (M,K) (+)= dy (M,N) w (N,K)}
 * @param dtype bf16 or f16, of all three matrices; products are summed in f32
 * @param ldIn elements from a row of x, or of dy, to the next
 * @param ldWeight likewise of w
 * @param ldOut likewise of y, or of dx
 * @param accumulate += instead of =
 */
public record DenseProduct(
    boolean forward, DType dtype, long m, long n, long k, long ldIn, long ldWeight, long ldOut, boolean accumulate) {

  /** y (+)= x w^T. */
  public static DenseProduct forward(
      DType dtype, long m, long n, long k, long ldIn, long ldOut, boolean accumulate) {
    return new DenseProduct(true, dtype, m, n, k, ldIn, k, ldOut, accumulate);
  }

  /** dx (+)= dy w. */
  public static DenseProduct backward(
      DType dtype, long m, long n, long k, long ldIn, long ldWeight, long ldOut, boolean accumulate) {
    return new DenseProduct(false, dtype, m, n, k, ldIn, ldWeight, ldOut, accumulate);
  }

  /** The same with M rounded up to a power of two: batches differ in M, and speed little within such a range. */
  public DenseProduct roundedUp() {
    long roof = Long.highestOneBit(Math.max(1, 2 * m - 1));
    return new DenseProduct(forward, dtype, roof, n, k, ldIn, ldWeight, ldOut, accumulate);
  }

  /** A name of one word, for records and logs. */
  public String key() {
    return (forward ? "linear_fwd" : "linear_bwd_input") + (accumulate ? "+/" : "/")
        + dtype.name().toLowerCase()
        + "/" + m + "x" + n + "x" + k + "/" + ldIn + "," + ldWeight + "," + ldOut;
  }
}
