package dev.hone.bench;

import dev.hone.engine.Quantizer;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.Locale;
import java.util.SplittableRandom;
import java.util.concurrent.TimeUnit;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.Setup;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.TearDown;
import org.openjdk.jmh.annotations.Warmup;

/** What all benches share: the kernels, random tensors, the shapes, and how JMH measures. */
@State(Scope.Benchmark)
@BenchmarkMode(Mode.Throughput)
@OutputTimeUnit(TimeUnit.SECONDS)
@Fork(value = 2, jvmArgsAppend = {"--enable-native-access=ALL-UNNAMED", "-XX:+UseSerialGC"})
@Warmup(iterations = 3, time = 1)
@Measurement(iterations = 5, time = 1)
public abstract class OpBench {
  /** Threads of libhone; 0 or absent: as many as it finds cores. */
  static final String THREADS = "hone.bench.threads";

  @Param({"15m", "100m"})
  public String shape;

  protected final CpuKernels kernels = new CpuKernels();
  protected final Arena arena = Arena.ofShared();
  private final SplittableRandom random = new SplittableRandom(1);

  /** Makes the tensors of {@code size}. */
  protected abstract void prepare(Shape size);

  /** Closes what {@link #prepare} opened beside tensors. JMH would call an overridden {@link #close} twice. */
  protected void release() {}

  @Setup
  public void open() {
    int threads = Integer.getInteger(THREADS, 0);
    if (threads > 0) {
      kernels.useThreads(threads);
    }
    prepare(Shape.of(shape));
  }

  @TearDown
  public void close() {
    release();
    arena.close();
    kernels.close();
  }

  /** {@code f32}, {@code bf16} or {@code nf4} as a dtype. */
  protected static DType dtype(String name) {
    return DType.valueOf(name.toUpperCase(Locale.ROOT));
  }

  /** Dtype of activations over weights of this dtype: quantised weights are multiplied in bf16. */
  protected static DType activations(DType weights) {
    return weights == DType.F32 ? DType.F32 : DType.BF16;
  }

  protected Tensor zeros(String name, DType dtype, long... extents) {
    return Tensor.allocate(arena, name, dtype, extents);
  }

  /** Normally distributed values, as activations are after a norm. */
  protected Tensor normal(String name, DType dtype, double deviation, long... extents) {
    Tensor f32 = zeros(name, DType.F32, extents);
    float[] values = new float[Math.toIntExact(f32.elements())];
    for (int i = 0; i < values.length; i++) {
      values[i] = (float) (random.nextGaussian() * deviation);
    }
    f32.set(values);
    return switch (dtype) {
      case F32 -> f32;
      case NF4 -> new Quantizer(kernels, arena).nf4(f32, true);
      default -> {
        Tensor cast = zeros(name, dtype, extents);
        kernels.cast(cast, f32);
        yield cast;
      }
    };
  }

  /** A weight (out, in), as transformers initialises it. */
  protected Tensor weight(String name, DType dtype, long out, long in) {
    return normal(name, dtype, 0.02, out, in);
  }

  /** Numbers below {@code bound}. */
  protected int[] numbers(int count, int bound) {
    return random.ints(count, 0, bound).toArray();
  }
}
