package dev.hone.kernel;

import static dev.hone.testing.GuardedTensors.bf16;
import static dev.hone.testing.KernelCase.assertClose;
import static dev.hone.testing.KernelCase.bytes;
import static dev.hone.testing.KernelCase.dot;
import static dev.hone.testing.KernelCase.read;
import static dev.hone.testing.KernelCase.readInts;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.within;

import dev.hone.kernel.cpu.CpuKernels.Isa;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.KernelCase;
import java.lang.foreign.ValueLayout;
import java.util.List;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

class CrossEntropyTest {
  private static final int IGNORED = -100;

  /** The settings beside the tensors. */
  private record Settings(float invCount, float logitScale, float softcap, float smoothing) {}

  private static final Settings PLAIN = new Settings(0.25f, 1, 0, 0);
  private static final Settings EVERYTHING = new Settings(0.125f, 0.7f, 3, 0.1f);
  /** With {@link #PLAIN} what the tiled walk computes when there is no dU: a softcap or smoothed labels, not both. */
  private static final Settings CAPPED = new Settings(0.25f, 1.5f, 5, 0);
  private static final Settings SMOOTHED = new Settings(0.25f, 0.7f, 0, 0.1f);

  static Stream<Isa> isas() {
    return KernelCase.isas();
  }

  /** Loss of each row, gradients and what their terms add up to without signs. */
  private record Reference(
      double[] losses, double[] dh, double[] dhTerms, double[] du, double[] duTerms, double logitTerms) {
    double loss() {
      return java.util.Arrays.stream(losses).sum();
    }
  }

  /** In f64; `naive` rounds u, logits, dz and dh to bf16, as a plain bf16 implementation does. */
  private static Reference reference(Tensor h, Tensor u, Tensor targets, Settings s, boolean naive) {
    int m = (int) h.shape(0), c = (int) h.shape(1), v = (int) u.shape(0);
    double[] hs = read(h), us = read(u);
    int[] y = readInts(targets);
    for (int i = 0; naive && i < us.length; i++) {
      us[i] = bf16((float) us[i]);
    }
    var r = new Reference(new double[m], new double[m * c], new double[m * c], new double[v * c], new double[v * c], 0);
    double most = 0;
    for (int row = 0; row < m; row++) {
      if (y[row] == IGNORED) {
        continue;
      }
      double[] z = new double[v], dz = new double[v];
      double max = Double.NEGATIVE_INFINITY, sum = 0, total = 0;
      for (int k = 0; k < v; k++) {
        double terms = 0;
        for (int i = 0; i < c; i++) {
          z[k] += hs[row * c + i] * us[k * c + i];
          terms += Math.abs(hs[row * c + i] * us[k * c + i]);
        }
        most = Math.max(most, terms * s.logitScale);
        z[k] *= s.logitScale;
        z[k] = s.softcap > 0 ? s.softcap * Math.tanh(z[k] / s.softcap) : z[k];
        z[k] = naive ? bf16((float) z[k]) : z[k];
        max = Math.max(max, z[k]);
        total += z[k];
      }
      for (double value : z) {
        sum += Math.exp(value - max);
      }
      double lse = max + Math.log(sum);
      r.losses[row] = (1 - s.smoothing) * (lse - z[y[row]]) + s.smoothing * (lse - total / v);
      for (int k = 0; k < v; k++) {
        double hot = k == y[row] ? 1 - s.smoothing : 0, p = Math.exp(z[k] - lse);
        double t = s.softcap > 0 ? z[k] / s.softcap : 0;
        double factor = s.invCount * s.logitScale * (1 - t * t);
        dz[k] = factor * (p - hot - s.smoothing / v);
        dz[k] = naive ? bf16((float) dz[k]) : dz[k];
        double terms = s.invCount * s.logitScale * (p * (1 + most) + hot + s.smoothing / v);
        for (int i = 0; i < c; i++) {
          r.dh[row * c + i] += dz[k] * us[k * c + i];
          r.dhTerms[row * c + i] += terms * Math.abs(us[k * c + i]);
          r.du[k * c + i] += dz[k] * hs[row * c + i];
          r.duTerms[k * c + i] += terms * Math.abs(hs[row * c + i]);
        }
      }
    }
    for (int i = 0; naive && i < m * c; i++) {
      r.dh[i] = bf16((float) r.dh[i]);
    }
    return new Reference(r.losses, r.dh, r.dhTerms, r.du, r.duTerms, most);
  }

  /** Labels, about a quarter of them ignored, the first not. */
  private static Tensor targets(KernelCase f, int m, int v) {
    Random random = new Random(m + v);
    int[] y = new int[m];
    for (int i = 0; i < m; i++) {
      y[i] = i > 0 && random.nextInt(4) == 0 ? IGNORED : random.nextInt(v);
    }
    return f.ints("targets", y);
  }

  private static Tensor scratch(KernelCase f, Tensor h, Tensor u, Tensor du, Settings s) {
    long bytes = f.kernels.crossEntropyScratchBytes(
        h.shape(0), h.shape(1), u.shape(0), h.dtype(), du != null, s.softcap);
    return f.output("scratch", DType.U8, bytes);
  }

  private static void run(
      KernelCase f, Tensor loss, Tensor dh, Tensor du, Tensor scratch, Tensor h, Tensor u, Tensor targets, Settings s) {
    f.kernels.crossEntropy(loss, dh, du, scratch, h, u, targets, null, s.invCount, s.logitScale, s.softcap, s.smoothing);
  }

  private static double furthest(double[] a, double[] b) {
    double far = 0;
    for (int i = 0; i < a.length; i++) {
      far = Math.max(far, Math.abs(a[i] - b[i]));
    }
    return far;
  }

  @ParameterizedTest
  @MethodSource("isas")
  void matchesTheReferenceInF32(Isa isa) {
    for (int[] s : new int[][] {{1, 1, 2}, {5, 7, 11}, {20, 16, 33}}) {
      for (DType stored : List.of(DType.F32, DType.BF16, DType.F16, DType.NF4)) {
        for (Settings settings : List.of(PLAIN, CAPPED, SMOOTHED, EVERYTHING)) {
          matchesF32(isa, s[0], s[1], s[2], stored, settings);
        }
      }
    }
    matchesF32(isa, 45, 1, 100_003, DType.F32, EVERYTHING); // chunks of 32 rows
    for (Settings settings : List.of(PLAIN, CAPPED, SMOOTHED)) {
      matchesF32(isa, 150, 40, 700, DType.F32, settings); // several runs of rows, several blocks of the vocabulary
      matchesF32(isa, 21, 430, 200, DType.BF16, settings); // several stretches of the hidden size
    }
  }

  private static void matchesF32(Isa isa, int m, int c, int v, DType stored, Settings s) {
    try (var f = new KernelCase(isa, 1)) {
      var h = f.normal("h", DType.F32, 1, m, c);
      var u = stored == DType.NF4 ? f.nf4("u", 1, v, c) : f.normal("u", stored, 1, v, c);
      var y = targets(f, m, v);
      var decoded = f.output("decoded", DType.F32, v, c);
      f.kernels.cast(decoded, u);
      Reference want = reference(h, decoded, y, s, false);
      var loss = f.zeros("loss", DType.F64, 1);
      loss.data().set(ValueLayout.JAVA_DOUBLE, 0, 10);
      var dh = f.output("dh", DType.F32, m, c);
      var du = f.normal("du", DType.F32, 1, v, c);
      double[] before = read(du), wantDu = before.clone(), duTerms = want.duTerms.clone();
      for (int i = 0; i < before.length; i++) {
        wantDu[i] += want.du[i];
        duTerms[i] += Math.abs(before[i]);
      }
      run(f, loss, dh, du, scratch(f, h, u, du, s), h, u, y, s);
      // each logit is off by up to C + 4 units of its terms, twice in a loss
      double lossError = 2 * m * (c + 4) * 0x1p-24 * (1 + want.logitTerms);
      assertThat(read(loss)[0] - 10).isCloseTo(want.loss(), within(lossError));
      // dz carries the roundings of the logits, the exponential and the scaling; then V or M products are summed in f32
      assertClose(dh, want.dh, want.dhTerms, 2 * c + 16 + 2 * Math.sqrt(v), 0);
      assertClose(du, wantDu, duTerms, 2 * c + 16 + 2 * Math.sqrt(m), 0);

      var lossOnly = f.zeros("loss", DType.F64, 1);
      run(f, lossOnly, null, null, scratch(f, h, u, null, s), h, u, y, s);
      assertThat(read(lossOnly)[0]).as("without gradients").isCloseTo(want.loss(), within(lossError));
      loss.zero();
      var dhOnly = f.output("dh", DType.F32, m, c);
      run(f, loss, dhOnly, null, scratch(f, h, u, null, s), h, u, y, s);
      assertThat(read(loss)[0]).as("du null").isEqualTo(read(lossOnly)[0]);
      assertClose(dhOnly, want.dh, want.dhTerms, 2 * c + 16 + 2 * Math.sqrt(v), 0);
      var again = f.output("dh", DType.F32, m, c);
      run(f, loss, again, null, scratch(f, h, u, null, s), h, u, y, s);
      assertThat(bytes(again)).as("repeated").isEqualTo(bytes(dhOnly));
    }
  }

  /** bf16: at most twice (loss) and three times (gradients) the error of a plain bf16 implementation. */
  @ParameterizedTest
  @MethodSource("isas")
  void bf16IsNoWorseThanAPlainImplementation(Isa isa) {
    for (int[] shape : new int[][] {{5, 7, 11}, {30, 33, 65}, {20, 64, 300}}) {
      for (DType stored : List.of(DType.F32, DType.BF16)) {
        for (Settings s : List.of(PLAIN, CAPPED, SMOOTHED, EVERYTHING)) {
          int m = shape[0], c = shape[1], v = shape[2];
          try (var f = new KernelCase(isa, 2)) {
            var h = f.normal("h", DType.BF16, 0.5, m, c);
            var u = f.normal("u", stored, 0.5, v, c);
            var y = targets(f, m, v);
            Reference want = reference(h, u, y, s, false), naive = reference(h, u, y, s, true);
            var loss = f.zeros("loss", DType.F64, 1);
            var dh = f.output("dh", DType.BF16, m, c);
            var du = f.zeros("du", DType.F32, v, c);
            run(f, loss, dh, du, scratch(f, h, u, du, s), h, u, y, s);
            double naiveLoss = 0;
            for (int i = 0; i < m; i++) {
              naiveLoss += Math.abs(naive.losses[i] - want.losses[i]);
            }
            assertThat(read(loss)[0]).isCloseTo(want.loss(), within(2 * naiveLoss));
            assertThat(furthest(read(dh), want.dh)).isLessThanOrEqualTo(3 * furthest(naive.dh, want.dh));
            assertThat(furthest(read(du), want.du)).isLessThanOrEqualTo(3 * furthest(naive.du, want.du));
            run(f, f.zeros("loss", DType.F64, 1), dh, null, scratch(f, h, u, null, s), h, u, y, s);
            assertThat(furthest(read(dh), want.dh)).as("du null").isLessThanOrEqualTo(3 * furthest(naive.dh, want.dh));
          }
        }
      }
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void gradientsAreTheDerivativeOfTheLoss(Isa isa) {
    for (Settings s : List.of(PLAIN, SMOOTHED, EVERYTHING)) {
      int m = 6, c = 9, v = 40;
      try (var f = new KernelCase(isa, 3)) {
        var h = f.normal("h", DType.F32, 1, m, c);
        var u = f.normal("u", DType.F32, 1, v, c);
        var y = targets(f, m, v);
        double[] h0 = read(h), vh = read(f.normal("vh", DType.F32, 1, m, c));
        double[] u0 = read(u), vu = read(f.normal("vu", DType.F32, 1, v, c));
        var loss = f.zeros("loss", DType.F64, 1);
        var dh = f.output("dh", DType.F32, m, c);
        var du = f.zeros("du", DType.F32, v, c);
        var scratch = scratch(f, h, u, du, s);
        run(f, loss, dh, du, scratch, h, u, y, s);
        double got =
            KernelCase.derivative(
                step -> {
                  KernelCase.shift(h, h0, vh, step);
                  KernelCase.shift(u, u0, vu, step);
                  loss.zero();
                  run(f, loss, null, null, scratch, h, u, y, s);
                  return s.invCount * read(loss)[0];
                },
                0x1p-7);
        double want = dot(read(dh), vh) + dot(read(du), vu);
        assertThat(want).isCloseTo(got, within(2e-3 * (1 + Math.abs(want)))); // f32 logits: noise 1e-6 over the step
      }
    }
  }

  /** An ignored row is not even read. */
  @ParameterizedTest
  @MethodSource("isas")
  void ignoredRowsAddNothing(Isa isa) {
    try (var f = new KernelCase(isa, 4)) {
      var h = f.normal("h", DType.F32, 1, 4, 5);
      float[] rows = h.toFloats();
      java.util.Arrays.fill(rows, 5, 10, Float.NaN);
      h.set(rows);
      var u = f.normal("u", DType.F32, 1, 13, 5);
      var loss = f.zeros("loss", DType.F64, 1);
      var dh = f.output("dh", DType.F32, 4, 5);
      var du = f.zeros("du", DType.F32, 13, 5);
      var scratch = scratch(f, h, u, du, EVERYTHING);
      run(f, loss, dh, du, scratch, h, u, f.ints("targets", 3, IGNORED, IGNORED, 12), EVERYTHING);
      assertThat(read(loss)[0]).isFinite().isPositive();
      for (double d : read(du)) {
        assertThat(d).isFinite();
      }
      for (int i = 0; i < 20; i++) {
        assertThat(read(dh)[i] == 0).as("dh[%d]", i).isEqualTo(i >= 5 && i < 15);
      }
      loss.zero();
      run(f, loss, dh, null, scratch, h, u, f.ints("targets", IGNORED, IGNORED, IGNORED, IGNORED), PLAIN);
      assertThat(read(loss)).containsExactly(0);
      assertThat(dh.toFloats()).containsOnly(0f);
    }
  }

  /** Logits of several hundred: e^z overflows in f32, the loss must not. */
  @ParameterizedTest
  @MethodSource("isas")
  void largeLogitsStayFinite(Isa isa) {
    try (var f = new KernelCase(isa, 5)) {
      var h = f.of("h", DType.F32, new float[] {300, -300}, 2, 1);
      var u = f.of("u", DType.F32, new float[] {1, -1, 0.5f}, 3, 1);
      var loss = f.zeros("loss", DType.F64, 1);
      var dh = f.output("dh", DType.F32, 2, 1);
      run(f, loss, dh, null, scratch(f, h, u, null, PLAIN), h, u, f.ints("targets", 0, 0), new Settings(1, 1, 0, 0));
      assertThat(read(loss)[0]).isCloseTo(600, within(1e-9)); // 0 and 300 - (-300)
      assertThat(dh.toFloats()).containsExactly(0, -2); // 0 and (p - onehot) . u = -1 - 1
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void softcapForwardScalesAndCaps(Isa isa) {
    for (DType dtype : List.of(DType.F32, DType.BF16)) {
      try (var f = new KernelCase(isa, 6)) {
        var z = f.normal("z", dtype, 30, 3, 1001);
        double[] in = read(z), capped = in.clone(), scaled = in.clone(), size = in.clone();
        for (int i = 0; i < in.length; i++) {
          capped[i] = 30 * Math.tanh(1.5 * in[i] / 30);
          scaled[i] = 1.5 * in[i];
          size[i] = Math.abs(scaled[i]);
        }
        var z2 = f.copy(z);
        f.kernels.softcapForward(z, 1.5f, 30);
        assertClose(z, capped, size, 8, 1.01); // inner factor, product, tanh (2.7 ulp), product
        f.kernels.softcapForward(z2, 1.5f, 0);
        assertClose(z2, scaled, size, 1, 1.01);
      }
    }
  }

  @ParameterizedTest
  @MethodSource("isas")
  void wrongArgumentsAreNamed(Isa isa) {
    try (var f = new KernelCase(isa, 7)) {
      var h = f.normal("h", DType.F32, 1, 2, 3);
      var u = f.normal("lm_head.weight", DType.F32, 1, 5, 3);
      var loss = f.zeros("loss", DType.F64, 1);
      var dh = f.output("dh", DType.F32, 2, 3);
      var scratch = scratch(f, h, u, null, PLAIN);
      assertThatThrownBy(() -> run(f, loss, dh, null, scratch, h, u, f.ints("targets", 4, 5), PLAIN))
          .isInstanceOf(NativeException.class)
          .hasMessage("cross_entropy: targets[1] is 5, want -100 or 0 .. 4");
      assertThatThrownBy(() -> run(f, loss, dh, null, scratch, h, u, f.ints("targets", 4, -1), PLAIN))
          .hasMessageContaining("targets[1] is -1");
      var y = f.ints("targets", 4, 0);
      long bytes = f.kernels.crossEntropyScratchBytes(2, 3, 5, h.dtype(), false, 0);
      assertThatThrownBy(() -> run(f, loss, dh, null, f.output("scratch", DType.U8, bytes - 1), h, u, y, PLAIN))
          .hasMessage("cross_entropy: scratch has " + (bytes - 1) + " bytes, want " + bytes);
      assertThatThrownBy(() -> run(f, loss, f.output("dh", DType.BF16, 2, 3), null, scratch, h, u, y, PLAIN))
          .hasMessage("cross_entropy: dh is bf16 [2,3], want f32 [2,3]");
      assertThatThrownBy(() -> run(f, loss, dh, null, scratch, h, f.normal("u", DType.F32, 1, 5, 4), y, PLAIN))
          .hasMessage("cross_entropy: u is f32 [5,4], want f32|bf16|f16|nf4|i8 [*,3]");
      assertThatThrownBy(() -> run(f, loss, dh, null, scratch, h, u, y, new Settings(1, 1, -1, 0)))
          .hasMessage("cross_entropy: softcap is -1, want 0 (none) or more");
      assertThatThrownBy(() -> run(f, loss, dh, null, scratch, h, u, y, new Settings(1, 1, 0, 1)))
          .hasMessage("cross_entropy: label_smoothing is 1, want 0 or more and below 1");
      assertThat(dh.toFloats()).containsOnly(Float.NaN);
      assertThat(read(loss)).containsExactly(0);
    }
  }
}
