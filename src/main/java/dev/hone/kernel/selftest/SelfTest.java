package dev.hone.kernel.selftest;

import dev.hone.kernel.Kernels;
import dev.hone.kernel.NativeException;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.kernel.cpu.CpuKernels.Isa;
import dev.hone.kernel.selftest.Trial.Kind;
import dev.hone.kernel.selftest.Trial.Output;
import dev.hone.tensor.DType;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Set;
import java.util.function.Consumer;

/**
 * Runs every op of a device beside the plain f32 reference, on the same inputs.
 *
 * <p>The bound follows FlashAttention's rule: an output may be off by twice what a naive computation in the same precision makes of
 * it, a gradient by three times. The naive computation is the reference's in bf16, each tensor rounded; in another dtype its error is
 * taken as that times the ratio of the unit roundoffs. {@link #FLOOR} is added for what no 16-bit rounding explains: f32 sums in
 * another order, and a card's approximate exp and division.
 */
public final class SelfTest {
  /** Of the largest value: some 2^7 sums and approximations that are each off by 2^-23. */
  private static final double FLOOR = 1.0 / (1 << 16);

  private final Kernels device;
  private final CpuKernels reference;

  /**
   * One output of one case.
   *
   * @param error the largest difference from the reference, over the reference's largest value
   * @param bound what it may be, likewise; 0: must be equal
   * @param millis of the whole case on the device
   * @param problem why the case could not run; null when it did
   */
  public record Row(
      String op, String shape, String output, DType dtype, double error, double bound, double millis, String problem) {

    /** Whether the device may be trusted with this. */
    public boolean good() {
      return problem == null && error <= bound;
    }
  }

  /** @param device to be tested; may be the CPU, whose fast paths are then compared with its reference */
  public SelfTest(Kernels device, CpuKernels reference) {
    this.device = device;
    this.reference = reference;
  }

  /**
   * Runs all cases in each dtype that the device computes in.
   *
   * @param each hears every row as it is known
   * @return all rows
   */
  public List<Row> run(Consumer<Row> each) {
    List<Row> rows = new ArrayList<>();
    Set<DType> dtypes = new LinkedHashSet<>();
    dtypes.add(device.computeDtype(DType.F32));
    dtypes.add(device.computeDtype(DType.BF16));
    for (DType dtype : dtypes) {
      for (Case one : Cases.all()) {
        for (Row row : run(one, dtype)) {
          rows.add(row);
          each.accept(row);
        }
      }
    }
    return rows;
  }

  private List<Row> run(Case one, DType dtype) {
    Isa fast = reference.isa();
    List<Output> want;
    List<Output> naive;
    try {
      reference.useIsa(Isa.REFERENCE);
      want = trial(one, reference, DType.F32, false).outputs();
      naive = trial(one, reference, DType.BF16, true).outputs();
    } finally {
      reference.useIsa(fast);
    }
    Done done;
    try {
      done = trial(one, device, dtype, false);
    } catch (NativeException | IllegalStateException | IllegalArgumentException e) {
      return List.of(new Row(one.op(), one.shape(), "", dtype, Double.NaN, 0, 0, e.getMessage()));
    }
    List<Row> rows = new ArrayList<>();
    for (int i = 0; i < want.size(); i++) {
      Output output = want.get(i);
      double largest = largest(output.values());
      double error = difference(done.outputs.get(i).values(), output.values()) / largest;
      double rounding = difference(naive.get(i).values(), output.values()) / largest;
      rows.add(
          new Row(
              one.op(), one.shape(), output.name(), dtype, error, bound(output.kind(), rounding, dtype), done.millis, null));
    }
    return rows;
  }

  private record Done(List<Output> outputs, double millis) {}

  private static Done trial(Case one, Kernels kernels, DType dtype, boolean naive) {
    try (Trial trial = new Trial(kernels, one.largest(), dtype, naive, (one.op() + one.shape()).hashCode())) {
      one.body().run(trial);
      return new Done(trial.outputs(), trial.nanos() / 1e6);
    }
  }

  private static double bound(Kind kind, double naiveBf16, DType dtype) {
    return kind == Kind.EXACT ? 0 : kind.factor() * naiveBf16 * roundoff(dtype) / roundoff(DType.BF16) + FLOOR;
  }

  /** Half the distance from 1 to the next number. */
  private static double roundoff(DType dtype) {
    return switch (dtype) {
      case BF16 -> 0x1p-8;
      case F16 -> 0x1p-11;
      default -> 0x1p-24;
    };
  }

  private static double largest(float[] values) {
    double largest = Float.MIN_NORMAL;
    for (float value : values) {
      largest = Math.max(largest, Math.abs(value));
    }
    return largest;
  }

  /** The largest difference; infinite where one value is not a number. */
  private static double difference(float[] got, float[] want) {
    if (got.length != want.length) {
      return Double.POSITIVE_INFINITY;
    }
    double largest = 0;
    for (int i = 0; i < got.length; i++) {
      double difference = Math.abs((double) got[i] - want[i]);
      largest = Double.isNaN(difference) ? Double.POSITIVE_INFINITY : Math.max(largest, difference);
    }
    return largest;
  }
}
