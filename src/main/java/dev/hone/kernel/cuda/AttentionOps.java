package dev.hone.kernel.cuda;

import dev.hone.kernel.Kernels.Attention;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;

/**
 * Causal attention over packed documents, and over a cache. The bounds of each token's document are made in the
 * workspace before each call: seg0 (M) its first token, seg1 (M) one past its last.
 */
final class AttentionOps {
  private final Stage stage;

  AttentionOps(Stage stage) {
    this.stage = stage;
  }

  /** Bytes of seg0 and seg1. */
  static long workspaceBytes(long tokens) {
    return 2 * segmentBytes(tokens);
  }

  private static long segmentBytes(long tokens) {
    return Math.ceilDiv(tokens * Integer.BYTES, 256L) * 256;
  }

  void forward(Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v, Tensor docs, Attention attention) {
    String op = "attention_forward";
    check(op, o, q, k, v, attention);
    long m = q.shape(0);
    long heads = q.shape(1);
    Args.matrix(op, lse, DType.F32, heads, m);
    Tensor segments = segments(op, docs, m);
    Launcher launch = stage.begin("attention_fwd").tensor(o).tensor(lse).tensor(q).tensor(k).tensor(v).tensor(segments);
    shape(launch, q, k, attention);
    launch(launch, q, attention, "BM", heads);
  }

  void backward(
      Tensor dq, Tensor dk, Tensor dv, Tensor delta, Tensor dout, Tensor o, Tensor lse, Tensor q, Tensor k, Tensor v,
      Tensor docs, Attention attention) {
    String op = "attention_backward";
    check(op, o, q, k, v, attention);
    long m = q.shape(0);
    long heads = q.shape(1);
    long groups = k.shape(1);
    long dim = q.shape(2);
    Args.heads(op, dq, stage.compute(), m, heads, dim);
    Args.heads(op, dk, stage.compute(), m, groups, dim);
    Args.heads(op, dv, stage.compute(), m, groups, dim);
    Args.heads(op, dout, stage.compute(), m, heads, dim);
    Args.matrix(op, lse, DType.F32, heads, m);
    Args.matrix(op, delta, DType.F32, heads, m);
    stage.begin("attention_delta").tensor(delta).tensor(dout).tensor(o).dim(m).dim(heads).dim(dim).rows(m * heads, dim);
    Tensor segments = segments(op, docs, m);
    Launcher launch = stage.begin("attention_dq").tensor(dq).tensor(dout).tensor(q).tensor(k).tensor(v).tensor(lse)
        .tensor(delta).tensor(segments);
    shape(launch, q, k, attention);
    launch(launch, q, attention, "BM", heads);
    launch = stage.begin("attention_dkv").tensor(dk).tensor(dv).tensor(dout).tensor(q).tensor(k).tensor(v).tensor(lse)
        .tensor(delta).tensor(segments).tensor(segments, segmentBytes(m));
    shape(launch, q, k, attention);
    launch(launch, q, attention, "BN", groups);
  }

  void decode(Tensor o, Tensor q, Tensor kCache, Tensor vCache, long start, Attention attention) {
    String op = "attention_decode";
    Args.heads(op, q, stage.compute(), Args.ANY, Args.ANY, Args.ANY);
    long m = q.shape(0);
    long dim = q.shape(2);
    Args.heads(op, o, stage.compute(), m, q.shape(1), dim);
    Args.heads(op, kCache, stage.compute(), Args.ANY, Args.ANY, dim);
    Args.heads(op, vCache, stage.compute(), kCache.shape(0), kCache.shape(1), dim);
    groups(op, q, kCache);
    if (start < 0 || start + m > kCache.shape(0)) {
      throw Args.bad(op + ": " + m + " tokens after " + start + " in " + kCache);
    }
    Launcher launch = stage.begin("attention_decode").tensor(o).tensor(q).tensor(kCache).tensor(vCache).count(start);
    shape(launch, q, kCache, attention);
    launch.blocks(m, q.shape(1));
  }

  private void check(String op, Tensor o, Tensor q, Tensor k, Tensor v, Attention attention) {
    Args.heads(op, q, stage.compute(), Args.ANY, Args.ANY, Args.ANY);
    long m = q.shape(0);
    long dim = q.shape(2);
    Args.heads(op, k, stage.compute(), m, Args.ANY, dim);
    Args.heads(op, v, stage.compute(), m, k.shape(1), dim);
    Args.heads(op, o, stage.compute(), m, q.shape(1), dim);
    groups(op, q, k);
    if (attention.window() < 0) {
      throw Args.bad(op + ": window " + attention.window() + ", want 0 or more");
    }
  }

  private static void groups(String op, Tensor q, Tensor k) {
    if (q.shape(1) % k.shape(1) != 0) {
      throw Args.bad(op + ": " + q + " with " + k + ": heads are no multiple of key heads");
    }
    if (q.shape(2) % 2 != 0 || q.shape(2) > 256) {
      throw Args.bad(op + ": " + q + ": want an even head dim up to 256");
    }
  }

  private Tensor segments(String op, Tensor docs, long tokens) {
    Args.vector(op, docs, DType.I32, Args.ANY);
    Tensor segments = stage.workspace(op, workspaceBytes(tokens));
    stage.begin("docs_segments", DType.I32).tensor(segments).tensor(segments, segmentBytes(tokens)).tensor(docs)
        .dim(docs.shape(0) - 1).dim(tokens).flat(tokens);
    return segments;
  }

  private static void shape(Launcher launch, Tensor q, Tensor k, Attention attention) {
    launch.dim(q.shape(0)).dim(q.shape(1)).dim(k.shape(1)).dim(q.shape(2)).real(attention.scale())
        .dim(attention.window()).real(attention.softcap());
  }

  /** Blocks of {@code tile} tokens, for each head: by the kernel with the least padding of the head dim. */
  private static void launch(Launcher launch, Tensor q, Attention attention, String tile, long heads) {
    long m = q.shape(0);
    int cap = attention.softcap() > 0 ? 1 : 0;
    Program.Kernel kernel = launch.choose(m, 1, heads, "DP", (int) q.shape(2), cap);
    launch.launch(kernel, Math.ceilDiv(m, (long) kernel.entry().constant(tile)), heads);
  }
}
