package dev.hone.bench;

import dev.hone.kernel.Activation;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.cuda.CudaKernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.util.List;

/**
 * Each op of a card at the sizes of a model: products and attention for several batches, what moves data for the
 * largest.
 */
final class CudaOps {
  private static final int HALF = 2;

  private final CudaKernels device;
  private final Timing timing;
  private final CudaRows rows;
  private final Shape model;
  private final DType compute;

  CudaOps(CudaKernels device, Timing timing, CudaRows rows, Shape model) {
    this.device = device;
    this.timing = timing;
    this.rows = rows;
    this.model = model;
    compute = device.computeDtype(DType.BF16);
  }

  /** @param batches tokens of each, rising */
  void run(List<Integer> batches) throws IOException {
    int most = batches.getLast();
    copy(most);
    for (int tokens : batches) {
      for (boolean nf4 : new boolean[] {false, true}) {
        product(tokens, model.hidden(), model.hidden(), nf4);
        product(tokens, model.ffn(), model.hidden(), nf4);
        product(tokens, model.hidden(), model.ffn(), nf4);
      }
      attention(tokens, model.heads());
      attention(tokens, Math.max(1, model.heads() / 4));
    }
    rowOps(most);
    gated(most);
    lora(most);
    crossEntropy(Math.min(most, 2048));
    optimiser();
    dequantisation();
  }

  /** The ops with as much workspace as {@code tokens} want, and tensors that live as long as the arena. */
  private CudaTensors tensors(Arena arena, int tokens) {
    long features = Math.max(model.ffn(), Shape.VOCAB);
    var largest = new Kernels.Largest(tokens, features, features * model.hidden(), Shape.RANK);
    Tensor workspace =
        Tensor.allocate(device.memory(), arena, "workspace", DType.U8, Math.max(1, device.workspaceBytes(largest)));
    return new CudaTensors(device.withWorkspace(workspace), arena, compute);
  }

  private String size(Object... parts) {
    StringBuilder text = new StringBuilder();
    for (int i = 0; i < parts.length; i += 2) {
      text.append(i == 0 ? "" : " ").append(parts[i]).append('=').append(parts[i + 1]);
    }
    return text.append(' ').append(compute).toString();
  }

  /** The yardstick of what moves data: a copy of a batch's widest activation. */
  private void copy(int tokens) throws IOException {
    try (Arena arena = Arena.ofShared()) {
      CudaTensors on = tensors(arena, tokens);
      Tensor from = on.activation("from", 1, tokens, model.ffn());
      Tensor to = on.empty("to", compute, tokens, model.ffn());
      Timing.Result time = timing.of(() -> on.card().copyRows(to, 0, from, 0));
      rows.copied(2.0 * from.bytes() / time.micros() / 1e3);
      rows.op("copy", size("MiB", from.bytes() >> 20), time, 0, 2.0 * from.bytes());
    }
  }

  private void product(int tokens, int out, int in, boolean nf4) throws IOException {
    try (Arena arena = Arena.ofShared()) {
      CudaTensors on = tensors(arena, tokens);
      Tensor w = nf4 ? on.nf4("w", out, in) : on.activation("w", 0.05f, out, in);
      Tensor x = on.activation("x", 1, tokens, in);
      Tensor y = on.activation("y", 1, tokens, out);
      Tensor dx = on.empty("dx", compute, tokens, in);
      double flops = 2.0 * tokens * out * in;
      double bytes = w.bytes() + x.bytes() + y.bytes();
      String shape = "M=" + tokens + " N=" + out + " K=" + in + (nf4 ? " nf4" : " " + compute);
      rows.op("linear_forward", shape, timing.of(() -> on.card().linearForward(y, x, w, null, false)), flops, bytes);
      rows.op(
          "linear_backward_input", shape, timing.of(() -> on.card().linearBackwardInput(dx, y, w, false)), flops,
          bytes);
    }
  }

  private void attention(int tokens, int keyHeads) throws IOException {
    int heads = model.heads();
    int dim = model.headDim();
    try (Arena arena = Arena.ofShared()) {
      CudaTensors on = tensors(arena, tokens);
      Tensor q = on.activation("q", 1, tokens, heads, dim);
      Tensor k = on.activation("k", 1, tokens, keyHeads, dim);
      Tensor v = on.activation("v", 1, tokens, keyHeads, dim);
      Tensor o = on.empty("o", compute, tokens, heads, dim);
      Tensor dout = on.activation("dout", 1, tokens, heads, dim);
      Tensor dq = on.empty("dq", compute, tokens, heads, dim);
      Tensor dk = on.empty("dk", compute, tokens, keyHeads, dim);
      Tensor dv = on.empty("dv", compute, tokens, keyHeads, dim);
      Tensor lse = on.empty("lse", DType.F32, heads, tokens);
      Tensor delta = on.empty("delta", DType.F32, heads, tokens);
      Tensor docs = on.ints("docs", 0, tokens);
      var settings = new Kernels.Attention((float) (1 / Math.sqrt(dim)), 0, 0);
      // Two products over the causal half; backward does five.
      double flops = 2.0 * 2 * tokens * (tokens + 1.0) / 2 * heads * dim;
      double bytes = q.bytes() + k.bytes() + v.bytes() + o.bytes();
      String shape = size("M", tokens, "H", heads, "KV", keyHeads, "D", dim);
      rows.op(
          "attention_forward", shape, timing.of(() -> on.card().attentionForward(o, lse, q, k, v, docs, settings)),
          flops,
          bytes);
      rows.op(
          "attention_backward", shape,
          timing.of(() -> on.card().attentionBackward(dq, dk, dv, delta, dout, o, lse, q, k, v, docs, settings)),
          flops * 5 / 2, 2 * bytes + o.bytes());
    }
  }

  private void rowOps(int tokens) throws IOException {
    int hidden = model.hidden();
    int half = model.headDim() / 2;
    try (Arena arena = Arena.ofShared()) {
      CudaTensors on = tensors(arena, tokens);
      Tensor x = on.activation("x", 1, tokens, hidden);
      Tensor y = on.activation("y", 1, tokens, hidden);
      Tensor dx = on.activation("dx", 1, tokens, hidden);
      Tensor w = on.floats("w", 1, hidden);
      Tensor rstd = on.empty("rstd", DType.F32, tokens);
      Tensor table = on.activation("table", 1, Shape.VOCAB, hidden);
      Tensor ids = on.counting("ids", tokens, Shape.VOCAB);
      Tensor cos = on.floats("cos", 1, tokens, half);
      Tensor sin = on.floats("sin", 1, tokens, half);
      Tensor positions = on.counting("positions", tokens, tokens);
      Tensor q = on.activation("q", 1, tokens, model.heads(), model.headDim());
      Tensor k = on.activation("k", 1, tokens, model.heads(), model.headDim());
      double one = x.bytes();
      String shape = size("M", tokens, "C", hidden);
      rows.op("embedding_forward", shape, timing.of(() -> on.card().embeddingForward(y, ids, table, 1)), 0, 2 * one);
      rows.op("rmsnorm_forward", shape, timing.of(() -> on.card().rmsNormForward(y, rstd, x, w, 1e-5f, 0)), 0, 2 * one);
      rows.op(
          "rmsnorm_backward", shape, timing.of(() -> on.card().rmsNormBackward(dx, null, y, x, w, rstd, 0, false)), 0,
          3 * one);
      rows.op("residual_forward", shape, timing.of(() -> on.card().residualForward(y, x, dx, 1)), 0, 3 * one);
      rows.op(
          "residual_rmsnorm_forward", shape,
          timing.of(() -> on.card().residualNormForward(y, rstd, dx, x, y, 1, w, 1e-5f, 0)), 0, 4 * one);
      rows.op("rope_forward", shape, timing.of(() -> on.card().ropeForward(q, k, cos, sin, positions)), 0, 4 * one);
      Tensor count = on.empty("count", DType.F64, 1);
      rows.op("count_nonfinite", shape, timing.of(() -> on.card().countNonFinite(count, x)), 0, one);
    }
  }

  private void gated(int tokens) throws IOException {
    try (Arena arena = Arena.ofShared()) {
      CudaTensors on = tensors(arena, tokens);
      Tensor gate = on.activation("gate", 1, tokens, model.ffn());
      Tensor up = on.activation("up", 1, tokens, model.ffn());
      Tensor y = on.activation("y", 1, tokens, model.ffn());
      Tensor dgate = on.empty("dgate", compute, tokens, model.ffn());
      Tensor dup = on.empty("dup", compute, tokens, model.ffn());
      String shape = size("M", tokens, "I", model.ffn());
      double one = gate.bytes();
      rows.op("gated_forward", shape, timing.of(() -> on.card().gatedForward(y, gate, up, Activation.SILU)), 0,
          3 * one);
      rows.op(
          "gated_backward", shape, timing.of(() -> on.card().gatedBackward(dgate, dup, y, gate, up, Activation.SILU)),
          0,
          5 * one);
    }
  }

  private void lora(int tokens) throws IOException {
    int in = model.hidden();
    int out = model.ffn();
    int rank = Shape.RANK;
    try (Arena arena = Arena.ofShared()) {
      CudaTensors on = tensors(arena, tokens);
      Tensor x = on.activation("x", 1, tokens, in);
      Tensor y = on.activation("y", 1, tokens, out);
      Tensor dx = on.activation("dx", 1, tokens, in);
      Tensor u = on.empty("u", compute, tokens, rank);
      Tensor e = on.empty("e", compute, tokens, rank);
      Tensor a = on.floats("a", 0.02f, rank, in);
      Tensor b = on.floats("b", 0.02f, out, rank);
      Tensor da = on.empty("da", DType.F32, rank, in);
      Tensor db = on.empty("db", DType.F32, out, rank);
      String shape = size("M", tokens, "N", out, "K", in, "R", rank);
      // They are bound by reading x, dx and dy and by writing y and dx: held against the copy.
      rows.op("lora_forward", shape, timing.of(() -> on.card().loraForward(y, u, x, a, b, 2, 0, 0)), 0,
          x.bytes() + 2.0 * y.bytes());
      rows.op("lora_backward", shape, timing.of(() -> on.card().loraBackward(dx, da, db, e, y, x, u, a, b, 2, 0, 0)), 0,
          x.bytes() + 2.0 * y.bytes() + 2.0 * dx.bytes());
      Tensor w = on.activation("w", 0.05f, out, in);
      double product = 2.0 * tokens * out * in;
      rows.op(
          "linear_lora_forward", shape, timing.of(() -> on.card().adaptedForward(y, x, w, null, u, a, b, 2, 0, 0)), product, 0);
      rows.op(
          "linear_lora_backward", shape,
          timing.of(() -> on.card().adaptedBackward(dx, false, da, db, e, y, x, w, u, a, b, 2, 0, 0)), product, 0);
    }
  }

  private void crossEntropy(int tokens) throws IOException {
    int hidden = model.hidden();
    try (Arena arena = Arena.ofShared()) {
      CudaTensors on = tensors(arena, tokens);
      Tensor h = on.activation("h", 1, tokens, hidden);
      Tensor head = on.activation("head", 0.02f, Shape.VOCAB, hidden);
      Tensor dh = on.empty("dh", compute, tokens, hidden);
      Tensor targets = on.counting("targets", tokens, Shape.VOCAB);
      Tensor labelled = on.counting("rows", tokens, tokens);
      Tensor loss = on.empty("loss", DType.F64, 1);
      long bytes = on.card().crossEntropyScratchBytes(tokens, hidden, Shape.VOCAB, compute, false, 0);
      Tensor scratch = on.empty("scratch", DType.U8, bytes);
      double flops = 2.0 * 2 * tokens * Shape.VOCAB * hidden;
      rows.op(
          "cross_entropy", size("M", tokens, "C", hidden, "V", Shape.VOCAB),
          timing.of(
              () -> on.card().crossEntropy(loss, dh, null, scratch, h, head, targets, labelled, 1f / tokens, 1, 0, 0)),
          flops,
          2.0 * head.bytes());
    }
  }

  private void optimiser() throws IOException {
    long n = (long) model.layers() * 2 * Shape.RANK * (model.hidden() + model.ffn());
    try (Arena arena = Arena.ofShared()) {
      CudaTensors on = tensors(arena, 1);
      Tensor p = on.floats("p", 0.02f, n);
      Tensor g = on.floats("g", 0.02f, n);
      Tensor m = on.empty("m", DType.F32, n);
      Tensor v = on.empty("v", DType.F32, n);
      Tensor sum = on.empty("sum", DType.F64, 1);
      String shape = "n=" + n + " f32";
      rows.op("sum_squares", shape, timing.of(() -> on.card().sumSquares(sum, g)), 0, g.bytes());
      rows.op(
          "adamw_step", shape, timing.of(() -> on.card().adamwStep(p, m, v, g, 1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f, 1,
          1)), 0,
          7.0 * p.bytes());
    }
  }

  private void dequantisation() throws IOException {
    try (Arena arena = Arena.ofShared()) {
      CudaTensors on = tensors(arena, 1);
      Tensor w = on.nf4("w", model.ffn(), model.hidden());
      Tensor out = on.empty("out", compute, model.ffn(), model.hidden());
      rows.op(
          "nf4_dequantise", size("N", model.ffn(), "K", model.hidden()), timing.of(() -> on.card().cast(out, w)), 0,
          (double) w.elements() * HALF + w.bytes() + w.quant().bytes());
    }
  }
}
