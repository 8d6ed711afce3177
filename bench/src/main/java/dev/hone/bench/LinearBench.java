package dev.hone.bench;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;

/** y = x w^T of gate_proj (hidden to ffn), its dx, and its dw as full fine-tuning wants it. */
public class LinearBench extends OpBench {
  /** Of the weight; over nf4 the activations are bf16, and dw is then the product of bf16. */
  @Param({"f32", "bf16", "nf4"})
  public String dtype;

  private Tensor x;
  private Tensor dx;
  private Tensor w;
  private Tensor dw;
  private Tensor y;
  private Tensor dy;
  private double flops;

  @Override
  protected void prepare(Shape size) {
    DType act = activations(dtype(dtype));
    long m = size.tokens();
    x = normal("x", act, 1, m, size.hidden());
    w = weight("w", dtype(dtype), size.ffn(), size.hidden());
    dy = normal("dy", act, 1e-3, m, size.ffn());
    y = zeros("y", act, m, size.ffn());
    dx = zeros("dx", act, m, size.hidden());
    dw = zeros("dw", DType.F32, size.ffn(), size.hidden());
    flops = 2.0 * m * size.hidden() * size.ffn();
  }

  @Benchmark
  public void forward(Flops work, Traffic bytes) {
    kernels.linearForward(y, x, w, null, false);
    work.add(flops);
    bytes.add(Traffic.of(x, w, y));
  }

  @Benchmark
  public void backwardInput(Flops work, Traffic bytes) {
    kernels.linearBackwardInput(dx, dy, w, false);
    work.add(flops);
    bytes.add(Traffic.of(dy, w, dx));
  }

  @Benchmark
  public void backwardWeight(Flops work, Traffic bytes) {
    kernels.linearBackwardWeight(dw, null, dy, x);
    work.add(flops);
    bytes.add(Traffic.of(dy, x, dw, dw));
  }
}
