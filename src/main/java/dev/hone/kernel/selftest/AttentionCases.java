package dev.hone.kernel.selftest;

import dev.hone.kernel.Kernels;
import dev.hone.kernel.Kernels.Attention;
import dev.hone.kernel.selftest.Trial.Kind;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.util.List;
import java.util.Locale;

/** Attention over packed documents and over a cache: head dims, groups, windows and softcaps. */
final class AttentionCases {
  private AttentionCases() {}

  private record Shape(int heads, int groups, int dim, int window, float softcap, int... docs) {
    int tokens() {
      return docs[docs.length - 1];
    }

    Attention attention() {
      return new Attention((float) (1 / Math.sqrt(dim)), window, softcap);
    }

    String words() {
      return String.format(
          Locale.ROOT, "M %d in %d, H %d, KV %d, D %d%s%s", tokens(), docs.length - 1, heads, groups, dim,
          window > 0 ? ", window " + window : "", softcap > 0 ? ", softcap " + softcap : "");
    }
  }

  private static final List<Shape> SHAPES = List.of(
      new Shape(2, 2, 64, 0, 0, 0, 128),
      new Shape(4, 2, 64, 0, 0, 0, 40, 41, 100),
      new Shape(2, 1, 16, 0, 0, 0, 33),
      new Shape(3, 1, 32, 9, 0, 0, 70, 77),
      new Shape(2, 1, 80, 0, 50, 0, 37),
      new Shape(2, 2, 96, 0, 0, 0, 65),
      new Shape(2, 1, 128, 40, 0, 0, 97),
      new Shape(1, 1, 256, 0, 0, 0, 45));

  static void addTo(List<Case> cases) {
    for (Shape shape : SHAPES) {
      Kernels.Largest largest = new Kernels.Largest(shape.tokens(), 0, 0, 0);
      cases.add(new Case("attention", shape.words(), largest, t -> packed(t, shape)));
    }
    for (Shape shape : List.of(new Shape(4, 2, 64, 0, 0, 0, 50), new Shape(2, 1, 80, 7, 30, 0, 19))) {
      Kernels.Largest largest = new Kernels.Largest(shape.tokens(), 0, 0, 0);
      cases.add(new Case("attention with a cache", shape.words(), largest, t -> cached(t, shape)));
    }
  }

  private static void packed(Trial t, Shape s) {
    long m = s.tokens();
    Tensor q = t.activation("q", 1, m, s.heads, s.dim);
    Tensor k = t.activation("k", 1, m, s.groups, s.dim);
    Tensor v = t.activation("v", 1, m, s.groups, s.dim);
    Tensor dout = t.activation("dout", 1, m, s.heads, s.dim);
    Tensor docs = t.ints("docs", s.docs);
    Tensor o = t.empty("o", t.compute(), m, s.heads, s.dim);
    Tensor lse = t.empty("lse", DType.F32, s.heads, m);
    Tensor dq = t.empty("dq", t.compute(), m, s.heads, s.dim);
    Tensor dk = t.empty("dk", t.compute(), m, s.groups, s.dim);
    Tensor dv = t.empty("dv", t.compute(), m, s.groups, s.dim);
    Tensor delta = t.empty("delta", DType.F32, s.heads, m);
    t.begin();
    t.kernels().attentionForward(o, lse, q, k, v, docs, s.attention());
    t.kernels().attentionBackward(dq, dk, dv, delta, dout, o, lse, q, k, v, docs, s.attention());
    t.end();
    t.check(Kind.FORWARD, "o", o);
    t.check(Kind.FORWARD, "lse", lse);
    t.check(Kind.GRADIENT, "dq", dq);
    t.check(Kind.GRADIENT, "dk", dk);
    t.check(Kind.GRADIENT, "dv", dv);
  }

  private static void cached(Trial t, Shape s) {
    long tokens = 5;
    Tensor q = t.activation("q", 1, tokens, s.heads, s.dim);
    Tensor k = t.activation("k", 1, s.tokens(), s.groups, s.dim);
    Tensor v = t.activation("v", 1, s.tokens(), s.groups, s.dim);
    Tensor o = t.empty("o", t.compute(), tokens, s.heads, s.dim);
    t.begin();
    t.kernels().attentionDecode(o, q, k, v, s.tokens() - tokens, s.attention());
    t.end();
    t.check(Kind.FORWARD, "o", o);
  }
}
