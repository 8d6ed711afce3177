package dev.hone.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.kernel.cpu.CpuKernels.Isa;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.util.Arrays;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class AttentionTest {
  static Stream<Isa> isas() {
    try (var kernels = new CpuKernels()) {
      Isa best = kernels.bestIsa();
      // AVX512_BF16 runs the same tiles as AVX512.
      return Stream.of(Isa.REFERENCE, Isa.AVX2, Isa.AVX512).filter(isa -> isa.compareTo(best) <= 0);
    }
  }

  static Stream<Arguments> shapes() {
    return isas().flatMap(isa -> Arrays.stream(AttentionCase.oddShapes()).map(c -> Arguments.of(isa, c)));
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void matchesTheExactResult(Isa isa, AttentionCase problem) {
    try (var f = new AttentionFixture(problem, DType.F32, isa).forward()) {
      var exact = f.naive(AttentionCase.EXACT);
      var naive = f.naive(AttentionCase.F32);
      AttentionFixture.assertClose("o", f.o.toFloats(), exact.o(), naive.o(), 2, 0);
      AttentionFixture.assertClose("lse", f.lse.toFloats(), exact.lse(), naive.lse(), 2, 0);
      f.assertGuardsIntact();
    }
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void roundsBf16Once(Isa isa, AttentionCase problem) {
    try (var f = new AttentionFixture(problem, DType.BF16, isa).forward()) {
      var exact = f.naive(AttentionCase.EXACT);
      var naive = f.naive(AttentionCase.BF16);
      AttentionFixture.assertClose("o", f.o.toFloats(), exact.o(), naive.o(), 2, 0);
      AttentionFixture.assertClose("lse", f.lse.toFloats(), exact.lse(), naive.lse(), 2, 0);
      f.assertGuardsIntact();
    }
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void packedDocumentsAreThoseAlone(Isa isa, AttentionCase problem) {
    try (var packed = new AttentionFixture(problem, DType.F32, isa).forward()) {
      for (int j = 0; j < problem.lengths().length; j++) {
        int first = problem.docs()[j];
        try (var alone = new AttentionFixture(problem.alone(j), DType.F32, isa)) {
          alone.fill(alone.q, slice(packed.q, first, alone.q));
          alone.fill(alone.k, slice(packed.k, first, alone.k));
          alone.fill(alone.v, slice(packed.v, first, alone.v));
          alone.forward();
          assertThat(slice(packed.o, first, alone.o)).as("document %d", j).isEqualTo(alone.o.toFloats());
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void repeatsBitForBitOnAnyThreads(Isa isa, AttentionCase problem) {
    try (var f = new AttentionFixture(problem, DType.F32, isa)) {
      f.kernels.useThreads(1);
      float[] once = f.forward().o.toFloats();
      f.kernels.useThreads(3);
      assertThat(f.forward().o.toFloats()).isEqualTo(once);
      assertThat(f.forward().o.toFloats()).isEqualTo(once);
    }
  }

  /** Rows of a chunk go through the tiles of forward, bit for bit; a few rows through sums in another order. */
  @ParameterizedTest
  @MethodSource("shapes")
  void decodeContinuesForward(Isa isa, AttentionCase problem) {
    int length = problem.lengths()[0];
    var document = problem.alone(0);
    for (DType dtype : new DType[] {DType.F32, DType.BF16}) {
      try (var f = new AttentionFixture(document, dtype, isa).forward()) {
        double[] exact = f.naive(AttentionCase.EXACT).o();
        double[] naive = f.naive(dtype == DType.F32 ? AttentionCase.F32 : AttentionCase.BF16).o();
        for (int rows : new int[] {1, 3, 9, length}) {
          if (rows > length) {
            continue;
          }
          int start = length - rows;
          int width = document.heads() * document.dim();
          Tensor q = f.q.view(f.arena, "q", start, rows, document.heads(), document.dim());
          Tensor o = f.activation("o", rows, document.heads(), document.dim());
          f.kernels.attentionDecode(o, q, f.k, f.v, start, document.settings());
          if (rows >= 9 || isa == Isa.REFERENCE) {
            assertThat(o.toFloats()).as("%d rows", rows).isEqualTo(slice(f.o, start, o));
          } else {
            int from = start * width;
            AttentionFixture.assertClose(rows + " rows", o.toFloats(),
                Arrays.copyOfRange(exact, from, exact.length), Arrays.copyOfRange(naive, from, naive.length), 2, 0);
          }
          f.assertGuardsIntact();
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void decodeSplitsGroupsOverThreads(Isa isa) {
    try (var f = new AttentionFixture(AttentionCase.of(14, 2, 64, 90), DType.F32, isa).forward()) {
      Tensor q = f.q.view(f.arena, "q", 89, 1, 14, 64);
      Tensor o = f.activation("o", 1, 14, 64);
      float[][] results = new float[3][];
      int[] threads = {1, 5, 16};
      for (int i = 0; i < threads.length; i++) {
        f.kernels.useThreads(threads[i]);
        f.kernels.attentionDecode(o, q, f.k, f.v, 89, f.problem.settings());
        results[i] = o.toFloats();
      }
      assertThat(results[1]).isEqualTo(results[0]);
      assertThat(results[2]).isEqualTo(results[0]);
      f.assertGuardsIntact();
    }
  }

  /** Scores near the largest exponents must not overflow on the way: the maximum is taken off first. */
  @ParameterizedTest
  @MethodSource("isas")
  void survivesLargeScores(Isa isa) {
    var problem = AttentionCase.of(2, 1, 16, 100);
    try (var f = new AttentionFixture(problem, DType.F32, isa)) {
      float[] q = f.q.toFloats();
      for (int i = 0; i < q.length; i++) {
        q[i] *= 1000;
      }
      f.q.set(q);
      f.forward();
      var exact = f.naiveOfInputs(AttentionCase.EXACT);
      double largest = Arrays.stream(exact.lse()).map(Math::abs).max().orElseThrow();
      // A score of D products has at most D + 1 roundings of its size, which is the relative error of a probability.
      double bound = 17 * 0x1p-24 * largest;
      assertThat(largest).isGreaterThan(1000);
      assertThat(AttentionFixture.error(f.lse.toFloats(), exact.lse())).isLessThan(bound);
      assertThat(AttentionFixture.error(f.o.toFloats(), exact.o())).isLessThan(2 * 2.4 * bound); // |v| <= 2.4
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void nanStaysInItsDocument(Isa isa) {
    try (var f = new AttentionFixture(AttentionCase.of(2, 1, 24, 40, 40), DType.F32, isa)) {
      float[] q = f.q.toFloats();
      q[5 * 48] = Float.NaN;
      f.q.set(q);
      float[] o = f.forward().o.toFloats();
      assertThat(o[5 * 48]).isNaN();
      for (int i = 40 * 48; i < o.length; i++) {
        assertThat(o[i]).isNotNaN();
      }
    }
  }

  @Test
  void emptyBatchesAndDocumentsAreFine() {
    try (var f = new AttentionFixture(AttentionCase.of(2, 1, 16, 0, 3, 0), DType.F32, Isa.REFERENCE)) {
      float[] want = f.forward().o.toFloats();
      f.kernels.useIsa(f.kernels.bestIsa());
      float[] got = f.forward().o.toFloats();
      for (int i = 0; i < want.length; i++) {
        assertThat(got[i]).isCloseTo(want[i], org.assertj.core.data.Offset.offset(1e-6f)); // two sums of 3 in f32
      }
    }
    try (var f = new AttentionFixture(AttentionCase.of(2, 1, 16, 0), DType.F32, Isa.REFERENCE)) {
      f.forward().backward();
      f.kernels.useIsa(f.kernels.bestIsa());
      f.forward().backward();
      f.assertGuardsIntact();
    }
  }

  @Test
  void refusesWrongArguments() {
    try (var f = new AttentionFixture(AttentionCase.of(4, 2, 16, 5, 3), DType.F32, Isa.REFERENCE)) {
      var settings = f.problem.settings();
      Tensor three = f.guarded("k3", DType.F32, 8, 3, 16);
      refuses(f, three, three, f.docs, settings, "attention_forward: q has 4 heads, k3 3 of dim 16; want a multiple, all positive");
      refuses(f, f.k, three, f.docs, settings, "attention_forward: k3 is f32 [8,3,16], want f32 [8,2,16]");
      Tensor half = f.guarded("half", DType.BF16, 8, 2, 16);
      refuses(f, half, f.v, f.docs, settings, "attention_forward: half is bf16 [8,2,16], want f32 [*,*,16]");
      Tensor falling = f.guarded("docs", DType.I32, 4).set(0, 6, 5, 8);
      refuses(f, f.k, f.v, falling, settings, "attention_forward: docs falls from 6 to 5 at 2");
      Tensor shorter = f.guarded("docs", DType.I32, 2).set(0, 7);
      refuses(f, f.k, f.v, shorter, settings, "attention_forward: docs runs from 0 to 7, want 0 to 8 tokens");
      refuses(f, f.k, f.v, f.docs, new Kernels.Attention(1, -1, 0), "attention_forward: window is -1, want 0 (none) or more");
      refuses(f, f.k, f.v, f.docs, new Kernels.Attention(1, 0, Float.NaN),
          "attention_forward: softcap is nan, want 0 (none) or a positive number");
      refuses(f, f.k, f.v, f.docs, new Kernels.Attention(Float.POSITIVE_INFINITY, 0, 0),
          "attention_forward: scale is inf, want a number");
      refuses(f, f.k, null, f.docs, settings, "attention_forward: a required tensor is null");
      assertThatThrownBy(() -> f.kernels.attentionDecode(f.o, f.q, f.k, f.v, 1, settings))
          .hasMessage("attention_decode: k has room for 8 positions, want 8 from 1 on");
      assertThatThrownBy(() -> f.kernels.attentionBackward(
              f.dq, three, f.dv, f.delta, f.dout, f.o, f.lse, f.q, f.k, f.v, f.docs, settings))
          .hasMessage("attention_backward: k3 is f32 [8,3,16], want f32 [8,2,16]");
      assertThat(f.o.toFloats()).as("nothing is computed before the checks").containsOnly(Float.NaN);
    }
  }

  private static void refuses(
      AttentionFixture f, Tensor k, Tensor v, Tensor docs, Kernels.Attention settings, String message) {
    assertThatThrownBy(() -> f.kernels.attentionForward(f.o, f.lse, f.q, k, v, docs, settings))
        .isInstanceOf(NativeException.class)
        .hasMessage(message);
  }

  /** The rows of {@code whole} from token {@code first} on that {@code part} has room for. */
  static float[] slice(Tensor whole, int first, Tensor part) {
    int width = Math.toIntExact(whole.shape(1) * whole.shape(2));
    return Arrays.copyOfRange(whole.toFloats(), first * width, first * width + Math.toIntExact(part.elements()));
  }
}
