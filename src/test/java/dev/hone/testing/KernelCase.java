package dev.hone.testing;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.kernel.cpu.CpuKernels.Isa;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.Stream;

/**
 * One case of a CPU kernel test: an instruction set, random tensors, and guard bands around each
 * ({@link GuardedTensors}), which {@link #close} finds intact. Closing goes back to the best instruction set and the
 * thread count found.
 */
public final class KernelCase implements AutoCloseable {
  public final CpuKernels kernels = new CpuKernels();
  private final GuardedTensors tensors = new GuardedTensors();
  private final Random random;
  private final int threads = kernels.threads();

  public KernelCase(Isa isa, long seed) {
    kernels.useIsa(isa);
    random = new Random(seed);
  }

  /** The instruction sets of this machine, the plain reference first. */
  public static Stream<Isa> isas() {
    try (var kernels = new CpuKernels()) {
      return Arrays.stream(Isa.values()).filter(isa -> isa.compareTo(kernels.bestIsa()) <= 0).toList().stream();
    }
  }

  /** A tensor of NaN (all bits set), so that an element that an op leaves out shows. */
  public Tensor output(String name, DType dtype, long... shape) {
    return tensors.allocate(name, dtype, shape);
  }

  /** A tensor of zeros. */
  public Tensor zeros(String name, DType dtype, long... shape) {
    return tensors.zeros(name, dtype, shape);
  }

  /** Normally distributed values, rounded to the dtype. */
  public Tensor normal(String name, DType dtype, double deviation, long... shape) {
    return tensors.of(name, dtype, gaussians(deviation, shape), shape);
  }

  /** Normally distributed values, quantised twice to NF4. */
  public Tensor nf4(String name, double deviation, long... shape) {
    return tensors.nf4(kernels, name, true, gaussians(deviation, shape), shape);
  }

  private float[] gaussians(double deviation, long... shape) {
    float[] values = new float[(int) Arrays.stream(shape).reduce(1, (a, b) -> a * b)];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) (deviation * random.nextGaussian());
    }
    return values;
  }

  public Tensor of(String name, DType dtype, float[] values, long... shape) {
    return tensors.of(name, dtype, values, shape);
  }

  public Tensor ints(String name, int... values) {
    return output(name, DType.I32, values.length).set(values);
  }

  /** Values below {@code bound}. */
  public Tensor randomInts(String name, int bound, int count) {
    return ints(name, random.ints(count, 0, bound).toArray());
  }

  /** A copy with guard bands of its own. */
  public Tensor copy(Tensor tensor) {
    Tensor copy = output(tensor.name() + "'", tensor.dtype(), tensor.shape());
    MemorySegment.copy(tensor.data(), 0, copy.data(), 0, tensor.bytes());
    return copy;
  }

  /** The elements, widened. */
  public static double[] read(Tensor tensor) {
    if (tensor.dtype() == DType.F64) {
      return tensor.data().asSlice(0, tensor.bytes()).toArray(ValueLayout.JAVA_DOUBLE);
    }
    float[] floats = tensor.toFloats();
    double[] out = new double[floats.length];
    for (int i = 0; i < out.length; i++) {
      out[i] = floats[i];
    }
    return out;
  }

  public static int[] readInts(Tensor tensor) {
    return tensor.data().asSlice(0, tensor.bytes()).toArray(ValueLayout.JAVA_INT);
  }

  public static byte[] bytes(Tensor tensor) {
    return tensor.data().asSlice(0, tensor.bytes()).toArray(ValueLayout.JAVA_BYTE);
  }

  /**
   * Fails unless each element is within {@code f32Roundings} units 2^-24 of {@code magnitude} (what its terms add up to
   * without their signs), and, in a BF16 tensor, further {@code bf16Roundings} half steps 2^-8 of the element itself.
   * Below 2^-120 anything goes: factors of it may have underflowed.
   */
  public static void assertClose(
      Tensor got, double[] want, double[] magnitude, double f32Roundings, double bf16Roundings) {
    double[] values = read(got);
    assertThat(values).hasSameSizeAs(want);
    for (int i = 0; i < want.length; i++) {
      double bound = f32Roundings * 0x1p-24 * magnitude[i] + 0x1p-120;
      if (got.dtype() == DType.BF16) {
        bound += bf16Roundings * 0x1p-8 * (Math.abs(want[i]) + bound);
      }
      if (!(Math.abs(values[i] - want[i]) <= bound)) {
        throw new AssertionError(got + "[" + i + "] = " + values[i] + ", want " + want[i] + " within " + bound);
      }
    }
  }

  public static double dot(double[] a, double[] b) {
    assertThat(a).hasSameSizeAs(b);
    double sum = 0;
    for (int i = 0; i < a.length; i++) {
      sum += a[i] * b[i];
    }
    return sum;
  }

  /** A function of one number, here of the step along a direction. */
  @FunctionalInterface
  public interface Along {
    double at(double step);
  }

  /** The derivative at 0 by central differences of h and h/2, extrapolated: error O(h^4) and the noise of f over h. */
  public static double derivative(Along f, double h) {
    double wide = (f.at(h) - f.at(-h)) / (2 * h), narrow = (f.at(h / 2) - f.at(-h / 2)) / h;
    return (4 * narrow - wide) / 3;
  }

  /** Writes base + step * direction into an F32 tensor. */
  public static void shift(Tensor tensor, double[] base, double[] direction, double step) {
    float[] values = new float[base.length];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) (base[i] + step * direction[i]);
    }
    tensor.set(values);
  }

  @Override
  public void close() {
    try {
      assertThat(tensors.damage()).as("written outside a tensor").isNull();
    } finally {
      kernels.useThreads(threads);
      kernels.useIsa(kernels.bestIsa());
      tensors.close();
    }
  }
}
