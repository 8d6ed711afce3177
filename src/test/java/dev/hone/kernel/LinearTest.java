package dev.hone.kernel;

import static dev.hone.testing.GuardedTensors.random;
import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.kernel.cpu.CpuKernels.Isa;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.EachIsa;
import dev.hone.testing.GuardedTensors;
import dev.hone.testing.Product;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** Linear, forward and backward, on every instruction set, against double precision. Bounds: see {@link Product}. */
class LinearTest {
  private final CpuKernels kernels = new CpuKernels();

  private enum Weight {
    F32,
    BF16,
    F16,
    NF4,
    NF4_NESTED,
    I8
  }

  private record Shape(int m, int n, int k) {}

  static List<Shape> shapes() {
    // One of everything, primes, tile edges (6, 14, 16, 32), few tokens (1 .. 8), several stretches of k (700, 1100).
    int[][] mnk = {
      {1, 1, 1}, {1, 64, 64}, {3, 17, 65}, {2, 130, 128}, {4, 5, 700}, {8, 33, 192}, {17, 130, 64}, {65, 3, 130},
      {130, 65, 17}, {14, 32, 64}, {15, 31, 33}, {40, 130, 300}, {31, 40, 1100}, {64, 1, 64}, {1, 65, 1100}, {9, 8, 8}
    };
    return Arrays.stream(mnk).map(s -> new Shape(s[0], s[1], s[2])).toList();
  }

  private Tensor weight(GuardedTensors t, Weight kind, long seed, Shape s) {
    float[] values = random(seed, (long) s.n * s.k);
    return switch (kind) {
      case NF4, NF4_NESTED -> t.nf4(kernels, "w", kind == Weight.NF4_NESTED, values, s.n, s.k);
      case I8 -> t.int8(kernels, "w", values, s.n, s.k);
      default -> t.of("w", DType.valueOf(kind.name()), values, s.n, s.k);
    };
  }

  /** The exact values of any stored weight; the decoding of quantised ones has exact tests of its own. */
  private float[] values(GuardedTensors t, Tensor w) {
    if (!w.dtype().isQuantised()) {
      return w.toFloats();
    }
    Tensor out = t.allocate("decoded", DType.F32, w.shape());
    kernels.cast(out, w);
    return out.toFloats();
  }

  private static Stream<DType> activations() {
    return Stream.of(DType.F32, DType.BF16);
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void forwardEqualsTheDoubleProduct(Shape s) {
    for (Weight kind : Weight.values()) {
      activations()
          .forEach(
              act -> {
                try (var t = new GuardedTensors()) {
                  Tensor x = t.of("x", act, random(1, (long) s.m * s.k), s.m, s.k);
                  Tensor w = weight(t, kind, 2, s);
                  Tensor bias = kind == Weight.F16 ? null : t.of("b", biasType(kind), random(3, s.n), s.n);
                  float[] before = random(4, (long) s.m * s.n);
                  Product p = new Product(s.m, s.n, s.k, x.toFloats(), values(t, w)).bias(bias);
                  for (DType out : act == DType.F32 ? List.of(act) : List.of(act, DType.F32)) {
                    Product plus = p.plus(t.of("before", out, before, s.m, s.n));
                    EachIsa.run(
                        kernels,
                        isa -> {
                          Tensor y = t.allocate("y", out, s.m, s.n);
                          kernels.linearForward(y, x, w, bias, false);
                          p.check(s + " " + kind + " = " + isa, y, act == DType.BF16);
                          Tensor sum = t.of("y+", out, before, s.m, s.n);
                          kernels.linearForward(sum, x, w, bias, true);
                          plus.check(s + " " + kind + " += " + isa, sum, act == DType.BF16);
                        });
                  }
                  assertThat(t.damage()).isNull();
                }
              });
    }
  }

  private static DType biasType(Weight kind) {
    return kind == Weight.BF16 ? DType.BF16 : kind == Weight.NF4 ? DType.F16 : DType.F32;
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void backwardInputEqualsTheDoubleProduct(Shape s) {
    for (Weight kind : Weight.values()) {
      for (DType[] types : new DType[][] {{DType.F32, DType.F32}, {DType.BF16, DType.BF16}, {DType.F32, DType.BF16}}) {
        try (var t = new GuardedTensors()) {
          Tensor dy = t.of("dy", types[0], random(4, (long) s.m * s.n), s.m, s.n);
          Tensor w = weight(t, kind, 5, s);
          float[] before = random(6, (long) s.m * s.k);
          Product p = new Product(s.m, s.k, s.n, dy.toFloats(), Product.transpose(values(t, w), s.n, s.k));
          Product plus = p.plus(t.of("before", types[1], before, s.m, s.k));
          EachIsa.run(
              kernels,
              isa -> {
                Tensor dx = t.allocate("dx", types[1], s.m, s.k);
                kernels.linearBackwardInput(dx, dy, w, false);
                p.check(s + " " + kind + " = " + isa, dx, types[1] == DType.BF16);
                Tensor sum = t.of("dx+", types[1], before, s.m, s.k);
                kernels.linearBackwardInput(sum, dy, w, true);
                plus.check(s + " " + kind + " += " + isa, sum, types[1] == DType.BF16);
              });
          assertThat(t.damage()).isNull();
        }
      }
    }
  }

  /** The head's: a depth of words, whose dy is beyond 4 MiB, so that few wide groups of short stretches sum into dx. */
  @Test
  void aDeepBackwardInputEqualsTheDoubleProduct() {
    Shape s = new Shape(30, 36000, 20);
    try (var t = new GuardedTensors()) {
      Tensor dy = t.of("dy", DType.F32, random(4, (long) s.m * s.n), s.m, s.n);
      Tensor w = t.of("w", DType.F32, random(5, (long) s.n * s.k), s.n, s.k);
      Product p = new Product(s.m, s.k, s.n, dy.toFloats(), Product.transpose(w.toFloats(), s.n, s.k));
      EachIsa.run(
          kernels,
          isa -> {
            Tensor dx = t.allocate("dx", DType.F32, s.m, s.k);
            kernels.linearBackwardInput(dx, dy, w, false);
            p.check(s + " " + isa, dx, false);
          });
      assertThat(t.damage()).isNull();
    }
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void backwardWeightAddsTheDoubleProduct(Shape s) {
    for (DType[] types : new DType[][] {{DType.F32, DType.F32}, {DType.BF16, DType.BF16}, {DType.F32, DType.BF16}}) {
      try (var t = new GuardedTensors()) {
        Tensor dy = t.of("dy", types[0], random(7, (long) s.m * s.n), s.m, s.n);
        Tensor x = t.of("x", types[1], random(8, (long) s.m * s.k), s.m, s.k);
        float[] before = random(9, (long) s.n * s.k);
        float[] dyT = Product.transpose(dy.toFloats(), s.m, s.n);
        Product p =
            new Product(s.n, s.k, s.m, dyT, Product.transpose(x.toFloats(), s.m, s.k))
                .plus(t.of("before", DType.F32, before, s.n, s.k));
        float[] ones = new float[s.m];
        Arrays.fill(ones, 1);
        Product columns = new Product(s.n, 1, s.m, dyT, ones).plus(t.of("before", DType.F32, random(10, s.n), s.n));
        EachIsa.run(
            kernels,
            isa -> {
              Tensor dw = t.of("dw", DType.F32, before, s.n, s.k);
              Tensor db = t.of("db", DType.F32, random(10, s.n), s.n);
              kernels.linearBackwardWeight(dw, db, dy, x);
              p.check(s + " dw " + isa, dw, types[1] == DType.BF16);
              columns.check(s + " db " + isa, db, false);
              kernels.linearBackwardWeight(dw, null, dy, x);
            });
        assertThat(t.damage()).isNull();
      }
    }
  }

  /** y is linear in x, W and b, so a central difference has no truncation error: only the rounding of y is left. */
  @Test
  void gradientsAreTheFiniteDifferencesOfTheReference() {
    Isa before = kernels.isa();
    kernels.useIsa(Isa.REFERENCE);
    try (var t = new GuardedTensors()) {
      int m = 3, n = 5, k = 7;
      float[] g = random(11, m * n);
      Tensor x = t.of("x", DType.F32, random(12, m * k), m, k);
      Tensor w = t.of("w", DType.F32, random(13, n * k), n, k);
      Tensor b = t.of("b", DType.F32, random(14, n), n);
      Tensor dy = t.of("dy", DType.F32, g, m, n);
      Tensor dx = t.allocate("dx", DType.F32, m, k);
      Tensor dw = t.zeros("dw", DType.F32, n, k);
      Tensor db = t.zeros("db", DType.F32, n);
      kernels.linearBackwardInput(dx, dy, w, false);
      kernels.linearBackwardWeight(dw, db, dy, x);
      Tensor y = t.allocate("y", DType.F32, m, n);
      for (Tensor[] pair : new Tensor[][] {{x, dx}, {w, dw}, {b, db}}) {
        Product.checkDifferences(
            pair[0],
            pair[1],
            () -> {
              kernels.linearForward(y, x, w, b, false);
              return Product.inner(y.toFloats(), g);
            });
      }
    } finally {
      kernels.useIsa(before);
    }
  }

  @Test
  void repeatsBitForBitOnOneAndTwoThreads() {
    int threads = kernels.threads();
    try (var t = new GuardedTensors()) {
      Tensor x = t.of("x", DType.F32, random(15, 70 * 400), 70, 400);
      Tensor w = t.nf4(kernels, "w", true, random(16, 300 * 400), 300, 400);
      List<float[]> results = new ArrayList<>();
      for (int count : new int[] {1, 2, 2, 3}) {
        kernels.useThreads(count);
        Tensor y = t.allocate("y", DType.F32, 70, 300);
        kernels.linearForward(y, x, w, null, false);
        results.add(y.toFloats());
      }
      assertThat(results).allSatisfy(y -> assertThat(y).isEqualTo(results.get(0)));
    } finally {
      kernels.useThreads(threads);
    }
  }

  @Test
  void noTokensIsNoWork() {
    EachIsa.run(
        kernels,
        isa -> {
          try (var t = new GuardedTensors()) {
            Tensor x = t.zeros("x", DType.F32, 0, 64);
            Tensor w = t.of("w", DType.F32, random(17, 8 * 64), 8, 64);
            Tensor dw = t.zeros("dw", DType.F32, 8, 64);
            kernels.linearForward(t.zeros("y", DType.F32, 0, 8), x, w, null, false);
            kernels.linearBackwardInput(x, t.zeros("dy", DType.F32, 0, 8), w, false);
            kernels.linearBackwardWeight(dw, null, t.zeros("dy", DType.F32, 0, 8), x);
            assertThat(dw.toFloats()).containsOnly(0f);
            assertThat(t.damage()).isNull();
          }
        });
  }

  @Test
  void wrongArgumentsAreNamed() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor x = Tensor.allocate(arena, "x", DType.F32, 3, 64);
      Tensor w = Tensor.allocate(arena, "layers.0.q_proj", DType.F32, 8, 32);
      Tensor y = Tensor.allocate(arena, "y", DType.BF16, 3, 8);
      assertThatThrownBy(() -> kernels.linearForward(y, x, w, null, false))
          .isInstanceOf(NativeException.class)
          .hasMessageContaining("linear_forward: layers.0.q_proj is f32 [8,32], want f32|bf16|f16|nf4|i8 [*,64]");
      Tensor good = Tensor.allocate(arena, "w", DType.F32, 8, 64);
      assertThatThrownBy(() -> kernels.linearForward(y, x, good, null, false))
          .hasMessageContaining("linear_forward: y is bf16 [3,8], want f32 [3,8]");
      assertThatThrownBy(() -> kernels.linearForward(null, x, good, null, false))
          .hasMessageContaining("linear_forward: a required tensor is null");
      assertThatThrownBy(() -> kernels.linearBackwardInput(x, y, w, false))
          .hasMessageContaining("linear_backward_input: x is f32 [3,64], want f32|bf16 [3,32]");
      assertThatThrownBy(() -> kernels.linearBackwardWeight(w, null, y, x))
          .hasMessageContaining("linear_backward_weight: layers.0.q_proj is f32 [8,32], want f32 [8,64]");
      assertThatThrownBy(() -> kernels.linearBackwardWeight(good, w, y, x))
          .hasMessageContaining("linear_backward_weight: layers.0.q_proj is f32 [8,32], want f32 [8]");
    }
  }
}
