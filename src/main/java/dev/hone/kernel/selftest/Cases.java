package dev.hone.kernel.selftest;

import dev.hone.kernel.Activation;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.selftest.Trial.Kind;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;

/** The cases of the self test: each op forward and backward, whole tiles and odd edges. */
final class Cases {
  private final List<Case> cases = new ArrayList<>();

  private Cases() {}

  static List<Case> all() {
    Cases all = new Cases();
    all.embedding();
    all.norms();
    all.linears();
    all.loras();
    all.adapted();
    all.ropes();
    AttentionCases.addTo(all.cases);
    all.gates();
    all.residuals();
    all.losses();
    all.optimiser();
    all.eightBitOptimiser();
    all.quantisation();
    return List.copyOf(all.cases);
  }

  private void add(String op, String shape, Kernels.Largest largest, Case.Body body) {
    cases.add(new Case(op, shape, largest, body));
  }

  private void add(String op, String shape, Case.Body body) {
    add(op, shape, new Kernels.Largest(0, 0, 0, 0), body);
  }

  private static String words(String pattern, Object... values) {
    return String.format(Locale.ROOT, pattern, values);
  }

  private void embedding() {
    for (int width : new int[] {30, 64}) {
      add("embedding", words("M 7, C %d", width), t -> {
        Tensor table = t.weight("table", 1, 11, width);
        Tensor out = t.empty("out", t.compute(), 7, width);
        Tensor ids = t.indices("ids", 7, 11);
        t.begin();
        t.kernels().embeddingForward(out, ids, table, 1.5f);
        t.end();
        t.check(Kind.FORWARD, "out", out);
      });
    }
  }

  private void norms() {
    for (long[] shape : new long[][] {{5, 64}, {13, 50}, {3, 1200}}) {
      for (float offset : new float[] {0, 1}) {
        add("RMSNorm", words("M %d, C %d, offset %.0f", shape[0], shape[1], offset), t -> {
          Tensor x = t.activation("x", 1, shape);
          Tensor w = t.weight("w", 0.5f, shape[1]);
          Tensor y = t.empty("y", t.compute(), shape);
          Tensor rstd = t.empty("rstd", DType.F32, shape[0]);
          Tensor dy = t.activation("dy", 1, shape);
          Tensor dx = t.activation("dx", 1, shape);
          t.begin();
          t.kernels().rmsNormForward(y, rstd, x, w, 1e-5f, offset);
          t.kernels().rmsNormBackward(dx, null, dy, x, w, rstd, offset, true);
          t.kernels().rmsNormBackward(dy, null, dy, x, w, rstd, offset, false);
          t.end();
          t.check(Kind.FORWARD, "y", y);
          t.check(Kind.FORWARD, "rstd", rstd);
          t.check(Kind.GRADIENT, "dx +=", dx);
          t.check(Kind.GRADIENT, "dx over dy", dy);
        });
      }
    }
  }

  private static Tensor weight(Trial t, String storage, long n, long k) {
    return switch (storage) {
      case "16-bit" -> t.weight("w", 1 / (float) Math.sqrt(k), n, k);
      case "NF4" -> t.nf4("w", false, n, k);
      case "I8" -> t.int8("w", n, k);
      default -> t.nf4("w", true, n, k);
    };
  }

  private void linears() {
    for (String storage : new String[] {"16-bit", "NF4", "NF4 double", "I8"}) {
      for (long[] s : new long[][] {{128, 128, 128}, {33, 51, 70}, {40, 96, 64}, {3, 70, 96}, {1, 33, 50}}) {
        long m = s[0];
        long n = s[1];
        long k = s[2];
        String shape = words("M %d, N %d, K %d, %s", m, n, k, storage);
        add("linear", shape, new Kernels.Largest(m, Math.max(n, k), n * k, 0), t -> {
          Tensor w = weight(t, storage, n, k);
          Tensor bias = t.weight("bias", 1, n);
          Tensor x = t.activation("x", 1, m, k);
          Tensor dy = t.activation("dy", 1, m, n);
          Tensor y = t.empty("y", t.compute(), m, n);
          Tensor dx = t.empty("dx", t.compute(), m, k);
          Tensor sum = t.activation("y", 1, m, n);
          Tensor more = t.activation("dx", 1, m, k);
          t.begin();
          t.kernels().linearForward(y, x, w, bias, false);
          t.kernels().linearForward(sum, x, w, bias, true);
          t.kernels().linearBackwardInput(dx, dy, w, false);
          t.kernels().linearBackwardInput(more, dy, w, true);
          t.end();
          t.check(Kind.FORWARD, "y", y);
          // As of dx: a single row's few naive roundings may all fall well, so twice their error is too little.
          t.check(Kind.GRADIENT, "y +=", sum);
          t.check(Kind.GRADIENT, "dx", dx);
          t.check(Kind.GRADIENT, "dx +=", more);
        });
      }
    }
    for (long m : new long[] {1, 11}) {
      add("linear", words("M %d, N 77, K 64, to f32", m), new Kernels.Largest(m, 77, 77 * 64, 0), t -> {
        Tensor w = weight(t, "16-bit", 77, 64);
        Tensor x = t.activation("x", 1, m, 64);
        Tensor y = t.empty("y", DType.F32, m, 77);
        t.begin();
        t.kernels().linearForward(y, x, w, null, false);
        t.end();
        t.check(Kind.FORWARD, "y", y);
      });
    }
  }

  /** A product and an adapter's branch beside it: in one pass where the device can. */
  private void adapted() {
    for (String storage : new String[] {"16-bit", "NF4 double"}) {
      for (long[] s : new long[][] {{64, 96, 128, 16}, {33, 51, 70, 8}, {130, 64, 64, 40}, {20, 40, 48, 3}, {4, 64, 64, 16}}) {
        for (float dropout : new float[] {0, 0.3f}) {
          long m = s[0];
          long n = s[1];
          long k = s[2];
          long r = s[3];
          String shape = words("M %d, N %d, K %d, R %d, dropout %.1f, %s", m, n, k, r, dropout, storage);
          add("linear with LoRA", shape, new Kernels.Largest(m, Math.max(n, k), n * k, (int) r), t -> {
            Tensor w = weight(t, storage, n, k);
            Tensor bias = t.weight("bias", 1, n);
            Tensor a = t.floats("a", 1 / (float) Math.sqrt(k), r, k);
            Tensor b = t.floats("b", 1 / (float) Math.sqrt(r), n, r);
            Tensor x = t.activation("x", 1, m, k);
            Tensor dy = t.activation("dy", 1, m, n);
            Tensor y = t.empty("y", t.compute(), m, n);
            Tensor u = t.empty("u", t.compute(), m, r);
            Tensor e = t.empty("e", t.compute(), m, r);
            Tensor dx = t.empty("dx", t.compute(), m, k);
            Tensor more = t.activation("dx", 1, m, k);
            Tensor da = t.floats("da", 1, r, k);
            Tensor db = t.floats("db", 1, n, r);
            t.begin();
            t.kernels().adaptedForward(y, x, w, bias, u, a, b, 0.5f, dropout, 77);
            t.kernels().adaptedBackward(dx, false, da, db, e, dy, x, w, u, a, b, 0.5f, dropout, 77);
            t.kernels().adaptedBackward(more, true, da, db, e, dy, x, w, u, a, b, 0.5f, dropout, 77);
            t.end();
            t.check(Kind.FORWARD, "y", y);
            t.check(Kind.GRADIENT, "dx", dx);
            t.check(Kind.GRADIENT, "dx +=", more);
            t.check(Kind.GRADIENT, "da", da);
            t.check(Kind.GRADIENT, "db", db);
          });
        }
      }
    }
  }

  private void loras() {
    long[][] shapes = {{64, 64, 128, 16}, {33, 50, 70, 8}, {130, 96, 64, 40}, {20, 40, 48, 3}, {17, 32, 32, 150}};
    for (long[] s : shapes) {
      for (float dropout : new float[] {0, 0.3f}) {
        long m = s[0];
        long n = s[1];
        long k = s[2];
        long r = s[3];
        String shape = words("M %d, N %d, K %d, R %d, dropout %.1f", m, n, k, r, dropout);
        add("LoRA", shape, new Kernels.Largest(m, Math.max(n, k), n * k, (int) r), t -> {
          Tensor x = t.activation("x", 1, m, k);
          Tensor a = t.floats("a", 1 / (float) Math.sqrt(k), r, k);
          Tensor b = t.floats("b", 1 / (float) Math.sqrt(r), n, r);
          Tensor y = t.activation("y", 1, m, n);
          Tensor u = t.empty("u", t.compute(), m, r);
          Tensor e = t.empty("e", t.compute(), m, r);
          Tensor dy = t.activation("dy", 1, m, n);
          Tensor dx = t.activation("dx", 1, m, k);
          Tensor da = t.floats("da", 1, r, k);
          Tensor db = t.floats("db", 1, n, r);
          t.begin();
          t.kernels().loraForward(y, u, x, a, b, 0.5f, dropout, 77);
          t.kernels().loraBackward(dx, da, db, e, dy, x, u, a, b, 0.5f, dropout, 77);
          t.end();
          // Ranks above 128 are added to y in two parts, each of which rounds it.
          t.check(r > 128 ? Kind.GRADIENT : Kind.FORWARD, "y", y);
          t.check(Kind.FORWARD, "u", u);
          t.check(Kind.GRADIENT, "dx", dx);
          t.check(Kind.GRADIENT, "da", da);
          t.check(Kind.GRADIENT, "db", db);
        });
      }
    }
  }

  private void ropes() {
    for (long[] s : new long[][] {{9, 4, 64, 32, 2}, {7, 3, 50, 12, 1}}) {
      add("RoPE", words("M %d, H %d, KV %d, D %d, rot %d", s[0], s[1], s[4], s[2], 2 * s[3]), t -> {
        Tensor q = t.activation("q", 1, s[0], s[1], s[2]);
        Tensor k = t.activation("k", 1, s[0], s[4], s[2]);
        Tensor dq = t.activation("dq", 1, s[0], s[1], s[2]);
        Tensor dk = t.activation("dk", 1, s[0], s[4], s[2]);
        Tensor positions = t.indices("positions", (int) s[0], 20);
        float[] cos = new float[Math.toIntExact(20 * s[3])];
        float[] sin = new float[cos.length];
        for (int i = 0; i < cos.length; i++) {
          double angle = i / s[3] * Math.pow(10000, -(double) (i % s[3]) / s[3]);
          cos[i] = (float) Math.cos(angle);
          sin[i] = (float) Math.sin(angle);
        }
        Tensor cosines = t.empty("cos", DType.F32, 20, s[3]).set(cos);
        Tensor sines = t.empty("sin", DType.F32, 20, s[3]).set(sin);
        t.begin();
        t.kernels().ropeForward(q, k, cosines, sines, positions);
        t.kernels().ropeBackward(dq, dk, cosines, sines, positions);
        t.end();
        t.check(Kind.FORWARD, "q", q);
        t.check(Kind.FORWARD, "k", k);
        t.check(Kind.GRADIENT, "dq", dq);
        t.check(Kind.GRADIENT, "dk", dk);
      });
    }
  }

  private void gates() {
    for (Activation activation : Activation.values()) {
      for (long width : new long[] {96, 37}) {
        String name = activation.name().toLowerCase(Locale.ROOT);
        add("gated activation", words("M 11, I %d, %s", width, name), t -> {
          Tensor gate = t.activation("gate", 2, 11, width);
          Tensor up = t.activation("up", 1, 11, width);
          Tensor y = t.empty("y", t.compute(), 11, width);
          Tensor dy = t.activation("dy", 1, 11, width);
          t.begin();
          t.kernels().gatedForward(y, gate, up, activation);
          t.kernels().gatedBackward(gate, up, dy, gate, up, activation);
          t.end();
          t.check(Kind.FORWARD, "y", y);
          t.check(Kind.GRADIENT, "dgate", gate);
          t.check(Kind.GRADIENT, "dup", up);
        });
      }
    }
  }

  private void residuals() {
    add("residual", "M 13, C 37", t -> {
      Tensor x = t.activation("x", 1, 13, 37);
      Tensor r = t.activation("r", 1, 13, 37);
      Tensor y = t.empty("y", t.compute(), 13, 37);
      Tensor dy = t.activation("dy", 1, 13, 37);
      t.begin();
      t.kernels().residualForward(y, x, r, 0.22f);
      t.kernels().residualBackward(dy, dy, 0.22f);
      t.end();
      t.check(Kind.FORWARD, "y", y);
      t.check(Kind.GRADIENT, "dr", dy);
    });
    for (long[] s : new long[][] {{13, 37}, {5, 2048}}) {
      add("residual and RMSNorm", words("M %d, C %d", s[0], s[1]), t -> {
        Tensor a = t.activation("a", 1, s);
        Tensor b = t.activation("b", 1, s);
        Tensor w = t.floats("w", 1, s[1]);
        Tensor x = t.empty("x", t.compute(), s);
        Tensor y = t.empty("y", t.compute(), s);
        Tensor rstd = t.empty("rstd", DType.F32, s[0]);
        t.begin();
        t.kernels().residualNormForward(y, rstd, x, a, b, 0.22f, w, 1e-5f, 0);
        t.end();
        t.check(Kind.FORWARD, "x", x);
        t.check(Kind.FORWARD, "y", y);
      });
    }
  }

  private void losses() {
    for (float[] s : new float[][] {{19, 40, 101, 0, 0}, {40, 64, 512, 0, 0.1f}, {19, 40, 101, 30, 0}}) {
      int m = (int) s[0];
      int c = (int) s[1];
      int v = (int) s[2];
      String shape = words("M %d, C %d, V %d, softcap %.0f, smoothing %.1f", m, c, v, s[3], s[4]);
      add("cross-entropy", shape, t -> {
        Tensor h = t.activation("h", 1, m, c);
        Tensor u = t.weight("u", 1 / (float) Math.sqrt(c), v, c);
        int[] targets = new int[m];
        for (int i = 0; i < m; i++) {
          targets[i] = i % 5 == 0 ? -100 : i * 7 % v;
        }
        Tensor wanted = t.ints("targets", targets);
        Tensor rows = t.ints("rows", IntStream.range(0, m).filter(i -> targets[i] != -100).toArray());
        Tensor loss = t.empty("loss", DType.F64, 1);
        Tensor dh = t.empty("dh", t.compute(), m, c);
        long bytes = t.kernels().crossEntropyScratchBytes(m, c, v, t.compute(), false, s[3]);
        Tensor scratch = t.empty("scratch", DType.U8, Math.max(1, bytes));
        t.begin();
        t.kernels().crossEntropy(loss, dh, null, scratch, h, u, wanted, rows, 1f / m, 2, s[3], s[4]);
        t.end();
        if (t.naive()) {
          loss.zero();
          roundedLogits(t, loss, h, u, wanted, s[3], s[4]);
        }
        t.check(Kind.FORWARD, "loss", loss);
        t.check(Kind.GRADIENT, "dh", dh);
      });
    }
    add("softcap of logits", "V 1003", t -> {
      Tensor z = t.floats("z", 20, 1, 1003);
      t.begin();
      t.kernels().softcapForward(z, 0.5f, 30);
      t.end();
      t.check(Kind.FORWARD, "z", z);
    });
  }

  /** The loss of logits that were rounded: those of the identity. */
  private static void roundedLogits(
      Trial t, Tensor loss, Tensor h, Tensor u, Tensor targets, float softcap, float smoothing) {
    int vocab = (int) u.shape(0);
    Tensor logits = t.empty("logits", t.compute(), h.shape(0), vocab);
    t.kernels().linearForward(logits, h, u, null, false);
    float[] one = new float[vocab * vocab];
    for (int i = 0; i < vocab; i++) {
      one[i * (vocab + 1)] = 1;
    }
    Tensor identity = t.empty("identity", DType.F32, vocab, vocab).set(one);
    long bytes = t.kernels().crossEntropyScratchBytes(h.shape(0), vocab, vocab, t.compute(), false, softcap);
    Tensor scratch = t.empty("scratch", DType.U8, Math.max(1, bytes));
    t.kernels().crossEntropy(loss, null, null, scratch, logits, identity, targets, null, 0, 2, softcap, smoothing);
  }

  private void optimiser() {
    add("sum of squares", "n 100003", t -> {
      Tensor sum = t.empty("sum", DType.F64, 1);
      Tensor x = t.floats("x", 1, 100_003);
      t.begin();
      t.kernels().sumSquares(sum, x);
      t.end();
      t.check(Kind.FORWARD, "sum", sum);
    });
    add("AdamW", "n 10001", t -> {
      Tensor p = t.floats("p", 1, 10_001);
      Tensor m = t.empty("m", DType.F32, 10_001);
      Tensor v = t.empty("v", DType.F32, 10_001);
      Tensor grad = t.floats("grad", 0.1f, 10_001);
      t.begin();
      for (int step = 1; step <= 3; step++) {
        t.kernels().adamwStep(p, m, v, grad, 1e-2f, 0.9f, 0.999f, 1e-8f, 0.01f, 0.7f, step);
      }
      t.end();
      t.check(Kind.GRADIENT, "p", p);
      t.check(Kind.GRADIENT, "m", m);
      t.check(Kind.GRADIENT, "v", v);
    });
  }

  private void eightBitOptimiser() {
    add("AdamW, 8-bit moments", "n 10001", t -> {
      int n = 10_001;
      Tensor p = t.floats("p", 1, n);
      Tensor m = t.empty("m", DType.U8, n);
      Tensor v = t.empty("v", DType.U8, n);
      Tensor mAbsmax = t.empty("m_absmax", DType.F32, Math.ceilDiv(n, 256));
      Tensor vAbsmax = t.empty("v_absmax", DType.F32, Math.ceilDiv(n, 256));
      Tensor grad = t.floats("grad", 0.1f, n);
      Tensor signed = t.empty("signed", DType.F32, 256);
      Tensor unsigned = t.empty("unsigned", DType.F32, 256);
      t.begin();
      t.kernels().adamw8Maps(signed, unsigned);
      for (int step = 1; step <= 3; step++) {
        t.kernels().adamw8Step(p, m, v, mAbsmax, vAbsmax, grad, 1e-2f, 0.9f, 0.999f, 1e-8f, 0.01f, 0.7f, step);
      }
      t.end();
      t.check(Kind.EXACT, "signed map", signed);
      t.check(Kind.EXACT, "unsigned map", unsigned);
      t.check(Kind.GRADIENT, "p", p);
      t.check(Kind.EXACT, "m", m);
      t.check(Kind.EXACT, "v", v);
    });
  }

  private void quantisation() {
    for (int n : new int[] {64 * 300, 64 * 5 + 1}) {
      add("NF4 quantisation", words("n %d", n), t -> {
        Tensor w = t.host("w", 1, n);
        long blocks = Math.ceilDiv(n, 64);
        Tensor codes = t.empty("codes", DType.U8, Math.ceilDiv(n, 2));
        Tensor absmax = t.empty("absmax", DType.F32, blocks);
        Tensor quantised = t.empty("quantised", DType.U8, blocks);
        Tensor nested = t.empty("nested", DType.F32, Math.ceilDiv(blocks, 256));
        Tensor offset = t.empty("offset", DType.F32, 1);
        t.begin();
        t.kernels().nf4Quantize(codes, absmax, w, 64);
        t.kernels().nf4QuantizeAbsmax(quantised, nested, offset, absmax);
        t.end();
        t.check(Kind.EXACT, "codes", codes);
        t.check(Kind.EXACT, "absmax", absmax);
        t.check(Kind.EXACT, "quantised absmax", quantised);
        t.check(Kind.EXACT, "nested absmax", nested);
        t.check(Kind.EXACT, "offset", offset);
      });
    }
    add("cast", "n 1003", t -> {
      Tensor in = t.floats("in", 1, 17, 59);
      Tensor there = t.empty("there", t.compute(), 17, 59);
      Tensor back = t.empty("back", DType.F32, 17, 59);
      Tensor rows = t.empty("rows", t.compute(), 20, 59);
      Tensor count = t.empty("count", DType.F64, 1);
      t.begin();
      t.kernels().cast(there, in);
      t.kernels().cast(back, there);
      t.kernels().copyRows(rows, 4, there, 2);
      t.kernels().countNonFinite(count, back);
      t.end();
      t.check(Kind.EXACT, "there and back", back);
      t.check(Kind.EXACT, "rows", rows);
      t.check(Kind.EXACT, "non-finite", count);
    });
  }
}
