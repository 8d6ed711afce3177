package dev.hone.kernel;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.kernel.cpu.CpuKernels.Isa;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.util.Arrays;
import java.util.SplittableRandom;
import java.util.stream.Stream;
import org.assertj.core.data.Offset;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

class AttentionBackwardTest {
  static Stream<Arguments> shapes() {
    return AttentionTest.shapes();
  }

  static Stream<AttentionCase> differentiated() {
    return Stream.of(
        AttentionCase.of(2, 1, 8, 6, 1, 9),
        AttentionCase.of(4, 2, 12, 20).withWindow(7),
        AttentionCase.of(2, 2, 16, 11, 12).withSoftcap(1.2f),
        AttentionCase.of(3, 1, 24, 30).withWindow(12).withSoftcap(2));
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void matchesTheExactGradients(Isa isa, AttentionCase problem) {
    matches(isa, problem, DType.F32);
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void roundsBf16GradientsOnce(Isa isa, AttentionCase problem) {
    matches(isa, problem, DType.BF16);
  }

  private static void matches(Isa isa, AttentionCase problem, DType dtype) {
    try (var f = new AttentionFixture(problem, dtype, isa).forward().backward()) {
      var exact = f.naive(AttentionCase.EXACT);
      var naive = f.naive(dtype == DType.F32 ? AttentionCase.F32 : AttentionCase.BF16);
      double cancelled = problem.scale() * exact.dpSize()[0] * 2.4; // scale (dp - delta) k with |k|, |q| <= 2.4
      AttentionFixture.assertClose("dq", f.dq.toFloats(), exact.dq(), naive.dq(), 3, cancelled);
      AttentionFixture.assertClose("dk", f.dk.toFloats(), exact.dk(), naive.dk(), 3, cancelled);
      AttentionFixture.assertClose("dv", f.dv.toFloats(), exact.dv(), naive.dv(), 3, 0);
      f.assertGuardsIntact();
    }
  }

  /** One thread takes whole documents in one pass, many split dq from dk, dv: the same bits. */
  @ParameterizedTest
  @MethodSource("shapes")
  void repeatsBitForBitOnAnyThreads(Isa isa, AttentionCase problem) {
    try (var f = new AttentionFixture(problem, DType.F32, isa).forward()) {
      f.kernels.useThreads(1);
      float[][] once = gradients(f.backward());
      f.kernels.useThreads(16);
      assertThat(Arrays.deepEquals(gradients(f.backward()), once)).isTrue();
      assertThat(Arrays.deepEquals(gradients(f.backward()), once)).isTrue();
    }
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void packedDocumentsAreThoseAlone(Isa isa, AttentionCase problem) {
    try (var packed = new AttentionFixture(problem, DType.F32, isa).forward().backward()) {
      for (int j = 0; j < problem.lengths().length; j++) {
        int first = problem.docs()[j];
        try (var alone = new AttentionFixture(problem.alone(j), DType.F32, isa)) {
          alone.fill(alone.q, AttentionTest.slice(packed.q, first, alone.q));
          alone.fill(alone.k, AttentionTest.slice(packed.k, first, alone.k));
          alone.fill(alone.v, AttentionTest.slice(packed.v, first, alone.v));
          alone.fill(alone.dout, AttentionTest.slice(packed.dout, first, alone.dout));
          alone.forward().backward();
          assertThat(AttentionTest.slice(packed.dq, first, alone.dq)).as("dq %d", j).isEqualTo(alone.dq.toFloats());
          assertThat(AttentionTest.slice(packed.dk, first, alone.dk)).as("dk %d", j).isEqualTo(alone.dk.toFloats());
          assertThat(AttentionTest.slice(packed.dv, first, alone.dv)).as("dv %d", j).isEqualTo(alone.dv.toFloats());
        }
      }
    }
  }

  /**
   * Directional derivatives of L = sum(dout o) by a five-point stencil. With h = 1/16 its truncation is h^4 / 30 times a fifth
   * derivative of order 1, about 1e-6, and the rounding of f32 outputs gives 1e-7 |L| / h: 1e-4 of the gradient's size has room
   * for both.
   */
  @ParameterizedTest
  @MethodSource("differentiated")
  void referenceMatchesFiniteDifferences(AttentionCase problem) {
    try (var f = new AttentionFixture(problem, DType.F32, Isa.REFERENCE).forward().backward()) {
      float[][] gradients = gradients(f);
      Tensor[] inputs = {f.q, f.k, f.v};
      var random = new SplittableRandom(11);
      for (int n = 0; n < inputs.length; n++) {
        for (int trial = 0; trial < 8; trial++) {
          float[] at = inputs[n].toFloats();
          float[] direction = new float[at.length];
          double slope = 0;
          double size = 0;
          for (int i = 0; i < at.length; i++) {
            direction[i] = (float) (random.nextDouble() - 0.5) / 4;
            slope += (double) direction[i] * gradients[n][i];
            size += Math.pow(direction[i] * gradients[n][i], 2);
          }
          double h = 1.0 / 16;
          double difference =
              (8 * (loss(f, inputs[n], at, direction, h) - loss(f, inputs[n], at, direction, -h))
                      - (loss(f, inputs[n], at, direction, 2 * h) - loss(f, inputs[n], at, direction, -2 * h)))
                  / (12 * h);
          inputs[n].set(at);
          assertThat(difference).as("%s, input %d", problem, n).isCloseTo(slope, Offset.offset(1e-4 * Math.sqrt(size) + 1e-5));
        }
      }
    }
  }

  private static double loss(AttentionFixture f, Tensor input, float[] at, float[] direction, double h) {
    float[] moved = new float[at.length];
    for (int i = 0; i < at.length; i++) {
      moved[i] = (float) (at[i] + h * direction[i]);
    }
    input.set(moved);
    float[] o = f.forward().o.toFloats();
    float[] dout = f.dout.toFloats();
    double sum = 0;
    for (int i = 0; i < o.length; i++) {
      sum += (double) o[i] * dout[i];
    }
    return sum;
  }

  private static float[][] gradients(AttentionFixture f) {
    return new float[][] {f.dq.toFloats(), f.dk.toFloats(), f.dv.toFloats()};
  }
}
