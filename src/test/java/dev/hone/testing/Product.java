package dev.hone.testing;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.ValueLayout;
import java.util.function.DoubleSupplier;
import java.util.function.IntToDoubleFunction;

/**
 * C (m,n) = A (m,k) B^T (k,n), scaled and added to, in double precision, and the bound within which a kernel must come
 * to it.
 *
 * <p>f32 arithmetic: for each element (k + 4) u (scale sum |a b| + |addend|) with u = 2^-24, the standard bound of a
 * dot product of k terms in any order of summation plus a few roundings at its end; one more of the output's own dtype.
 * bf16 operands: at most twice the largest error that the same product makes in double precision when its operands and
 * its output are rounded to bf16, above the f32 bound.
 */
public final class Product {
  private static final double F32_ROUNDING = 0x1p-24;
  private static final double BF16_ROUNDING = 0x1p-8;

  private final int n;
  private final int k;
  private final double[] exact;
  private final double[] rounded;
  private final double[] magnitude;

  /** The product of a (m,k) and b (n,k), the very values that the kernel is given. */
  public Product(int m, int n, int k, float[] a, float[] b) {
    this(n, k, new double[m * n], new double[m * n], new double[m * n]);
    float[] a16 = toBf16(a);
    float[] b16 = toBf16(b);
    for (int i = 0; i < m; i++) {
      for (int j = 0; j < n; j++) {
        double sum = 0;
        double sum16 = 0;
        double size = 0;
        for (int l = 0; l < k; l++) {
          double term = (double) a[i * k + l] * b[j * k + l];
          sum += term;
          size += Math.abs(term);
          sum16 += (double) a16[i * k + l] * b16[j * k + l];
        }
        exact[i * n + j] = sum;
        rounded[i * n + j] = sum16;
        magnitude[i * n + j] = size;
      }
    }
  }

  private Product(int n, int k, double[] exact, double[] rounded, double[] magnitude) {
    this.n = n;
    this.k = k;
    this.exact = exact;
    this.rounded = rounded;
    this.magnitude = magnitude;
  }

  private Product with(double scale, IntToDoubleFunction addend) {
    var out = new Product(n, k, exact.clone(), rounded.clone(), magnitude.clone());
    for (int i = 0; i < exact.length; i++) {
      double add = addend.applyAsDouble(i);
      out.exact[i] = scale * exact[i] + add;
      out.rounded[i] = scale * rounded[i] + add;
      out.magnitude[i] = Math.abs(scale) * magnitude[i] + Math.abs(add);
    }
    return out;
  }

  /** This product times {@code factor}. */
  public Product scale(double factor) {
    return with(factor, i -> 0);
  }

  /** This product plus {@code bias} (n) in every row; null is no bias. */
  public Product bias(Tensor bias) {
    float[] row = bias == null ? new float[n] : bias.toFloats();
    return with(1, i -> row[i % n]);
  }

  /** This product plus what {@code before} holds. */
  public Product plus(Tensor before) {
    float[] values = before.toFloats();
    return with(1, i -> values[i]);
  }

  /** The exact values. */
  public double[] exact() {
    return exact.clone();
  }

  /** Fails unless {@code c} is within the bound. */
  public void check(String what, Tensor c, boolean bf16Operands) {
    float[] got = c.toFloats();
    boolean bf16Out = c.dtype() == DType.BF16;
    double naive = 0;
    if (bf16Operands) {
      for (int i = 0; i < exact.length; i++) {
        double out = bf16Out ? GuardedTensors.bf16((float) rounded[i]) : rounded[i];
        naive = Math.max(naive, Math.abs(out - exact[i]));
      }
    }
    for (int i = 0; i < exact.length; i++) {
      double store = bf16Out ? BF16_ROUNDING * Math.abs(exact[i]) : 0;
      double bound = (k + 4) * F32_ROUNDING * magnitude[i] + 2 * naive + store;
      if (!(Math.abs(got[i] - exact[i]) <= bound + Float.MIN_NORMAL)) {
        throw new AssertionError(
            "%s: %s[%d,%d] = %s, want %s within %s".formatted(what, c, i / n, i % n, got[i], exact[i], bound));
      }
    }
  }

  /** (rows, columns) to (columns, rows). */
  public static float[] transpose(float[] values, int rows, int columns) {
    float[] out = new float[values.length];
    for (int i = 0; i < rows; i++) {
      for (int j = 0; j < columns; j++) {
        out[j * rows + i] = values[i * columns + j];
      }
    }
    return out;
  }

  /** Sum of products, in double. */
  public static double inner(float[] p, float[] q) {
    double sum = 0;
    for (int i = 0; i < p.length; i++) {
      sum += (double) p[i] * q[i];
    }
    return sum;
  }

  /**
   * Fails unless {@code gradient} is the central difference of {@code loss} at every element of {@code parameter}
   * (F32). For a loss that is linear in each element there is no truncation error, so the step is large (1/2) and what
   * is left is the f32 rounding inside {@code loss}: 2e-5 of the gradient's size, allowed here with the largest
   * gradient as measure.
   */
  public static void checkDifferences(Tensor parameter, Tensor gradient, DoubleSupplier loss) {
    float[] grad = gradient.toFloats();
    double largest = 1;
    for (float g : grad) {
      largest = Math.max(largest, Math.abs(g));
    }
    for (int i = 0; i < grad.length; i++) {
      float value = parameter.data().getAtIndex(ValueLayout.JAVA_FLOAT, i);
      parameter.data().setAtIndex(ValueLayout.JAVA_FLOAT, i, value + 0.5f);
      double above = loss.getAsDouble();
      parameter.data().setAtIndex(ValueLayout.JAVA_FLOAT, i, value - 0.5f);
      double below = loss.getAsDouble();
      parameter.data().setAtIndex(ValueLayout.JAVA_FLOAT, i, value);
      double step = (double) (value + 0.5f) - (double) (value - 0.5f);
      assertThat((above - below) / step)
          .as("d loss / d %s[%d]", parameter, i)
          .isCloseTo(grad[i], org.assertj.core.data.Offset.offset(2e-5 * largest));
    }
  }

  private static float[] toBf16(float[] values) {
    float[] out = new float[values.length];
    for (int i = 0; i < out.length; i++) {
      out[i] = GuardedTensors.bf16(values[i]);
    }
    return out;
  }
}
