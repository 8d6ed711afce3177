package dev.hone.kernel;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.DoubleUnaryOperator;

/** The tensors of one attention case in one dtype, each between guard bands, with random q, k, v and dout. */
final class AttentionFixture implements AutoCloseable {
  private static final int GUARD_BYTES = 4096;
  /** Two bf16 NaNs, or one f32 NaN: a write is seen by comparing, a read by what it does to the results. */
  private static final int GUARD = 0x7fc37fc3;

  private static final Map<String, AttentionCase.Result> REFERENCES = new HashMap<>();

  final Arena arena = Arena.ofConfined();
  final CpuKernels kernels = new CpuKernels();
  final AttentionCase problem;
  final Tensor q, k, v, o, lse, dq, dk, dv, delta, dout, docs;
  private final DType dtype;
  private final int threads = kernels.threads();
  private final List<MemorySegment> guarded = new ArrayList<>();

  AttentionFixture(AttentionCase problem, DType dtype, CpuKernels.Isa isa) {
    this.problem = problem;
    this.dtype = dtype;
    kernels.useIsa(isa);
    int m = problem.tokens();
    int heads = problem.heads();
    int kv = problem.kvHeads();
    int dim = problem.dim();
    q = activation("q", m, heads, dim);
    k = activation("k", m, kv, dim);
    v = activation("v", m, kv, dim);
    o = activation("o", m, heads, dim);
    dq = activation("dq", m, heads, dim);
    dk = activation("dk", m, kv, dim);
    dv = activation("dv", m, kv, dim);
    dout = activation("dout", m, heads, dim);
    lse = guarded("lse", DType.F32, heads, m);
    delta = guarded("delta", DType.F32, heads, m);
    docs = guarded("docs", DType.I32, problem.docs().length).set(problem.docs());
    fill(q, problem.random(heads, 1));
    fill(k, problem.random(kv, 2));
    fill(v, problem.random(kv, 3));
    fill(dout, problem.random(heads, 4));
  }

  /** The reference of the inputs this fixture began with, all bf16 values whatever the dtype; computed once a case. */
  AttentionCase.Result naive(DoubleUnaryOperator round) {
    return REFERENCES.computeIfAbsent(problem + "@" + round.hashCode(), key -> naiveOfInputs(round));
  }

  /** The reference of what {@link #q}, {@link #k}, {@link #v} and {@link #dout} hold now. */
  AttentionCase.Result naiveOfInputs(DoubleUnaryOperator round) {
    return problem.naive(q.toFloats(), k.toFloats(), v.toFloats(), dout.toFloats(), round);
  }

  AttentionFixture forward() {
    kernels.attentionForward(o, lse, q, k, v, docs, problem.settings());
    return this;
  }

  AttentionFixture backward() {
    kernels.attentionBackward(dq, dk, dv, delta, dout, o, lse, q, k, v, docs, problem.settings());
    return this;
  }

  Tensor activation(String name, long... shape) {
    return guarded(name, dtype, shape);
  }

  Tensor guarded(String name, DType type, long... shape) {
    long elements = 1;
    for (long extent : shape) {
      elements *= extent;
    }
    long bytes = type.bytes(elements);
    MemorySegment memory = arena.allocate(bytes + 2 * GUARD_BYTES, 64);
    for (long at = 0; at + 4 <= memory.byteSize(); at += 4) {
      memory.set(ValueLayout.JAVA_INT, at, GUARD); // results start as NaN too: what is not written shows
    }
    guarded.add(memory.asSlice(0, GUARD_BYTES));
    guarded.add(memory.asSlice(GUARD_BYTES + bytes, GUARD_BYTES));
    for (long at = GUARD_BYTES + bytes; at < memory.byteSize(); at += 2) {
      memory.set(ValueLayout.JAVA_SHORT_UNALIGNED, at, (short) GUARD);
    }
    return Tensor.of(arena, name, type, memory.asSlice(GUARD_BYTES), shape);
  }

  void fill(Tensor tensor, float[] values) {
    if (tensor.dtype() == DType.F32) {
      tensor.set(values);
      return;
    }
    for (int i = 0; i < values.length; i++) {
      int bits = Float.floatToRawIntBits(AttentionCase.bf16(values[i]));
      tensor.data().setAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i, (short) (bits >>> 16));
    }
  }

  void assertGuardsIntact() {
    boolean intact = true;
    for (MemorySegment guard : guarded) {
      for (long at = 0; at < guard.byteSize(); at += 2) {
        intact &= guard.get(ValueLayout.JAVA_SHORT_UNALIGNED, at) == (short) GUARD;
      }
    }
    assertThat(intact).as("%s: guard bands", problem).isTrue();
  }

  /** The largest absolute difference; NaN counts as infinite. */
  static double error(float[] got, double[] want) {
    assertThat(got).hasSize(want.length);
    double worst = 0;
    for (int i = 0; i < got.length; i++) {
      double difference = Math.abs(got[i] - want[i]);
      worst = difference <= worst ? worst : Double.isNaN(difference) ? Double.POSITIVE_INFINITY : difference;
    }
    return worst;
  }

  /**
   * The rule of FlashAttention's tests: the error against the exact result is at most {@code factor} times that of a naive
   * implementation in the same precision. The floor is 4 roundings of the largest value or of {@code cancelled}, the size of
   * what cancels in it, for cases so small that the naive one is exact by luck.
   */
  static void assertClose(String what, float[] got, double[] exact, double[] naive, double factor, double cancelled) {
    double naiveError = 0;
    double largest = cancelled;
    for (int i = 0; i < exact.length; i++) {
      naiveError = Math.max(naiveError, Math.abs(naive[i] - exact[i]));
      largest = Math.max(largest, Math.abs(exact[i]));
    }
    assertThat(error(got, exact)).as(what).isLessThanOrEqualTo(factor * naiveError + 4 * 0x1p-24 * largest);
  }

  @Override
  public void close() {
    kernels.useThreads(threads);
    kernels.useIsa(kernels.bestIsa());
    arena.close();
  }
}
