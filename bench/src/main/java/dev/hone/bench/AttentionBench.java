package dev.hone.bench;

import dev.hone.kernel.Kernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.util.Arrays;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;

/** Causal attention inside each row of the step: 2 products forward, 5 backward, of which the causal half counts. */
public class AttentionBench extends OpBench {
  @Param({"f32", "bf16"})
  public String dtype;

  private Tensor q;
  private Tensor k;
  private Tensor v;
  private Tensor o;
  private Tensor dq;
  private Tensor dk;
  private Tensor dv;
  private Tensor dout;
  private Tensor lse;
  private Tensor delta;
  private Tensor docs;
  private Kernels.Attention settings;
  private double product;

  @Override
  protected void prepare(Shape size) {
    DType act = dtype(dtype);
    long[] heads = {size.tokens(), size.heads(), size.headDim()};
    q = normal("q", act, 1, heads);
    k = normal("k", act, 1, heads);
    v = normal("v", act, 1, heads);
    dout = normal("do", act, 1e-3, heads);
    o = zeros("o", act, heads);
    dq = zeros("dq", act, heads);
    dk = zeros("dk", act, heads);
    dv = zeros("dv", act, heads);
    lse = zeros("lse", DType.F32, size.heads(), size.tokens());
    delta = zeros("delta", DType.F32, size.heads(), size.tokens());
    int[] starts = new int[size.rows() + 1];
    Arrays.setAll(starts, i -> i * size.length());
    docs = zeros("docs", DType.I32, starts.length).set(starts);
    settings = new Kernels.Attention((float) (1 / Math.sqrt(size.headDim())), 0, 0);
    // Row t sees t + 1 keys; a multiplication and an addition for each of them and each of D, in each head.
    product = (double) size.rows() * size.length() * (size.length() + 1) * size.hidden();
    kernels.attentionForward(o, lse, q, k, v, docs, settings);
  }

  @Benchmark
  public void forward(Flops work, Traffic bytes) {
    kernels.attentionForward(o, lse, q, k, v, docs, settings);
    work.add(2 * product);
    bytes.add(Traffic.of(q, k, v, o, lse));
  }

  @Benchmark
  public void backward(Flops work, Traffic bytes) {
    kernels.attentionBackward(dq, dk, dv, delta, dout, o, lse, q, k, v, docs, settings);
    work.add(5 * product);
    bytes.add(Traffic.of(q, k, v, o, dout, lse, dq, dk, dv));
  }
}
