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
import java.util.Arrays;
import java.util.List;
import org.assertj.core.data.Offset;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** LoRA, forward and backward, on every instruction set, product by product against double precision. */
class LoraTest {
  private static final float SCALE = 1.7f;
  private static final long SEED = 0xdecafL << 40 | 42;
  private final CpuKernels kernels = new CpuKernels();

  private record Shape(int m, int n, int k, int r) {}

  /** One LoRA with its tensors; outputs are filled with random values, which += must keep and = must not. */
  private final class Lora implements AutoCloseable {
    final GuardedTensors t = new GuardedTensors();
    final Shape s;
    final boolean bf16;
    final Tensor x, a, b, y, u, dy, dx, da, db, e;
    final float[] dx0, da0, db0;

    Lora(Shape s, DType act) {
      this.s = s;
      bf16 = act == DType.BF16;
      x = t.of("x", act, random(1, (long) s.m * s.k), s.m, s.k);
      a = t.of("a", DType.F32, random(2, (long) s.r * s.k), s.r, s.k);
      b = t.of("b", DType.F32, random(3, (long) s.n * s.r), s.n, s.r);
      dy = t.of("dy", act, random(4, (long) s.m * s.n), s.m, s.n);
      y = t.of("y", act, random(5, (long) s.m * s.n), s.m, s.n);
      dx = t.of("dx", act, random(6, (long) s.m * s.k), s.m, s.k);
      da = t.of("da", DType.F32, random(7, (long) s.r * s.k), s.r, s.k);
      db = t.of("db", DType.F32, random(8, (long) s.n * s.r), s.n, s.r);
      u = t.allocate("u", act, s.m, s.r);
      e = t.allocate("e", act, s.m, s.r);
      dx0 = dx.toFloats();
      da0 = da.toFloats();
      db0 = db.toFloats();
    }

    Tensor before(Tensor of, float[] values) {
      return t.of("before", of.dtype(), values, of.shape());
    }

    @Override
    public void close() {
      assertThat(t.damage()).isNull();
      t.close();
    }
  }

  /** The mask as the contract states it: splitmix64 of seed and index, 24 bits, at least p. */
  private static boolean keeps(long seed, long index, float p) {
    long z = seed + (index + 1) * 0x9e3779b97f4a7c15L;
    z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
    z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
    z ^= z >>> 31;
    return (z >>> 40) * 0x1p-24f >= p;
  }

  private static float[] masked(float[] values, float p) {
    float[] out = values.clone();
    for (int i = 0; i < out.length; i++) {
      if (!keeps(SEED, i, p)) {
        out[i] = 0;
      }
    }
    return out;
  }

  static List<Shape> shapes() {
    int[][] mnkr = {
      {1, 1, 1, 1}, {1, 64, 64, 8}, {3, 17, 65, 4}, {17, 130, 64, 8}, {65, 3, 130, 16}, {130, 65, 17, 64},
      {33, 40, 700, 5}, {40, 200, 300, 16}
    };
    return Arrays.stream(mnkr).map(s -> new Shape(s[0], s[1], s[2], s[3])).toList();
  }

  @ParameterizedTest
  @MethodSource("shapes")
  void everyProductEqualsTheDoubleOne(Shape s) {
    for (DType act : new DType[] {DType.F32, DType.BF16}) {
      for (float p : new float[] {0, 0.3f}) {
        EachIsa.run(kernels, isa -> checkProducts(s, act, p, s + " " + act + " p=" + p + " " + isa));
      }
    }
  }

  private void checkProducts(Shape s, DType act, float p, String what) {
    try (var f = new Lora(s, act)) {
      double inverse = 1 / (1 - (double) p);
      kernels.loraForward(f.y, f.u, f.x, f.a, f.b, SCALE, p, SEED);
      float[] d = masked(f.x.toFloats(), p);
      new Product(s.m, s.r, s.k, d, f.a.toFloats()).scale(inverse).check(what + " u", f.u, f.bf16);
      float[] u = f.u.toFloats();
      new Product(s.m, s.n, s.r, u, f.b.toFloats())
          .scale(SCALE)
          .check(what + " y", f.y, f.bf16);

      kernels.loraBackward(f.dx, f.da, f.db, f.e, f.dy, f.x, f.u, f.a, f.b, SCALE, p, SEED);
      float[] dy = f.dy.toFloats();
      float[] bT = Product.transpose(f.b.toFloats(), s.n, s.r);
      new Product(s.m, s.r, s.n, dy, bT).scale(SCALE).check(what + " e", f.e, f.bf16);
      float[] e = f.e.toFloats();
      float[] eT = Product.transpose(e, s.m, s.r);
      new Product(s.r, s.k, s.m, eT, Product.transpose(d, s.m, s.k))
          .scale(inverse)
          .plus(f.before(f.da, f.da0))
          .check(what + " da", f.da, f.bf16);
      new Product(s.n, s.r, s.m, Product.transpose(dy, s.m, s.n), Product.transpose(u, s.m, s.r))
          .scale(SCALE)
          .plus(f.before(f.db, f.db0))
          .check(what + " db", f.db, f.bf16);
      checkDx(f, e, p, what);
    }
  }

  /** A dropped element of dx must be untouched to the bit; the others are a product like any other. */
  private static void checkDx(Lora f, float[] e, float p, String what) {
    float[] got = f.dx.toFloats();
    Tensor kept = f.t.of("dx kept", f.dx.dtype(), got, f.dx.shape());
    Shape s = f.s;
    var product =
        new Product(s.m, s.k, s.r, e, Product.transpose(f.a.toFloats(), s.r, s.k))
            .scale(1 / (1 - (double) p))
            .plus(f.before(f.dx, f.dx0));
    double[] exact = product.exact();
    for (int i = 0; i < got.length; i++) {
      if (!keeps(SEED, i, p)) {
        assertThat(got[i]).as(what + " dropped dx[" + i + "]").isEqualTo(f.dx0[i]);
        got[i] = (float) exact[i];
      }
    }
    product.check(what + " dx", f.t.of("dx kept", f.dx.dtype(), got, kept.shape()), f.bf16);
  }

  @Test
  void maskIsAFunctionOfTheSeedAndDropsAtItsRate() {
    Shape s = new Shape(64, 1, 512, 1);
    float p = 0.25f;
    try (var f = new Lora(s, DType.F32)) {
      // A = ones, x = ones: u counts what a row keeps, times 1/(1-p).
      Tensor ones = f.t.of("ones", DType.F32, filled(s.m * s.k), s.m, s.k);
      Tensor a = f.t.of("a", DType.F32, filled(s.k), 1, s.k);
      kernels.loraForward(f.y, f.u, ones, a, f.b, 1, p, SEED);
      float[] first = f.u.toFloats();
      kernels.loraForward(f.y, f.u, ones, a, f.b, 1, p, SEED);
      assertThat(f.u.toFloats()).isEqualTo(first);
      kernels.loraForward(f.y, f.u, ones, a, f.b, 1, p, SEED + 1);
      assertThat(f.u.toFloats()).isNotEqualTo(first);
      double kept = 0;
      for (float row : first) {
        kept += row * (1 - p) / s.k / s.m;
      }
      // 32768 draws: one standard deviation is 0.0024; four of them.
      assertThat(kept).isCloseTo(1 - p, Offset.offset(0.0096));
    }
  }

  private static float[] filled(int n) {
    float[] ones = new float[n];
    Arrays.fill(ones, 1);
    return ones;
  }

  @Test
  void withoutDxTheOtherGradientsAreTheSame() {
    EachIsa.run(
        kernels,
        isa -> {
          Shape s = new Shape(20, 33, 65, 8);
          try (var with = new Lora(s, DType.F32);
              var without = new Lora(s, DType.F32)) {
            for (Lora f : List.of(with, without)) {
              kernels.loraForward(f.y, f.u, f.x, f.a, f.b, SCALE, 0.1f, SEED);
              kernels.loraBackward(
                  f == with ? f.dx : null, f.da, f.db, f.e, f.dy, f.x, f.u, f.a, f.b, SCALE, 0.1f, SEED);
            }
            assertThat(without.da.toFloats()).isEqualTo(with.da.toFloats());
            assertThat(without.db.toFloats()).isEqualTo(with.db.toFloats());
            assertThat(without.dx.toFloats()).isEqualTo(without.dx0);
          }
        });
  }

  @Test
  void gradientsAreTheFiniteDifferencesOfTheReference() {
    Isa before = kernels.isa();
    kernels.useIsa(Isa.REFERENCE);
    try (var f = new Lora(new Shape(3, 5, 7, 2), DType.F32)) {
      float p = 0.3f;
      for (Tensor out : List.of(f.dx, f.da, f.db)) {
        out.zero();
      }
      kernels.loraForward(f.y, f.u, f.x, f.a, f.b, SCALE, p, SEED);
      kernels.loraBackward(f.dx, f.da, f.db, f.e, f.dy, f.x, f.u, f.a, f.b, SCALE, p, SEED);
      float[] g = f.dy.toFloats();
      for (Tensor[] pair : new Tensor[][] {{f.x, f.dx}, {f.a, f.da}, {f.b, f.db}}) {
        Product.checkDifferences(
            pair[0],
            pair[1],
            () -> {
              kernels.loraForward(f.y, f.u, f.x, f.a, f.b, SCALE, p, SEED);
              return Product.inner(f.y.toFloats(), g);
            });
      }
    } finally {
      kernels.useIsa(before);
    }
  }

  @Test
  void wrongArgumentsAreNamed() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor x = Tensor.allocate(arena, "x", DType.F32, 3, 64);
      Tensor a = Tensor.allocate(arena, "q_proj.lora_A", DType.F32, 8, 64);
      Tensor b = Tensor.allocate(arena, "q_proj.lora_B", DType.F32, 16, 4);
      Tensor y = Tensor.allocate(arena, "y", DType.F32, 3, 16);
      Tensor u = Tensor.allocate(arena, "u", DType.F32, 3, 8);
      assertThatThrownBy(() -> kernels.loraForward(y, u, x, a, b, 1, 0, 0))
          .isInstanceOf(NativeException.class)
          .hasMessageContaining("lora_forward: q_proj.lora_B is f32 [16,4], want f32 [*,8]");
      Tensor good = Tensor.allocate(arena, "b", DType.F32, 16, 8);
      assertThatThrownBy(() -> kernels.loraForward(y, u, x, a, good, 1, 1, 0))
          .hasMessageContaining("lora_forward: dropout 1, want 0 <= dropout < 1");
      assertThatThrownBy(() -> kernels.loraForward(u, u, x, a, good, 1, 0, 0))
          .hasMessageContaining("lora_forward: u is f32 [3,8], want f32|bf16 [3,16]");
      assertThatThrownBy(() -> kernels.loraBackward(null, a, null, u, y, x, u, a, good, 1, 0, 0))
          .hasMessageContaining("lora_backward: a required tensor is null");
      assertThatThrownBy(() -> kernels.loraBackward(y, a, good, u, y, x, u, a, good, 1, 0, 0))
          .hasMessageContaining("lora_backward: y is f32 [3,16], want f32|bf16 [3,64]");
    }
  }
}
