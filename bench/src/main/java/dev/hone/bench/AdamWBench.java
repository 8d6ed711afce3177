package dev.hone.bench;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import org.openjdk.jmh.annotations.Benchmark;

/** What follows backward over all LoRA parameters of the model (r = 16, all linears): the gradient's norm, and AdamW. */
public class AdamWBench extends OpBench {
  private Tensor p;
  private Tensor m;
  private Tensor v;
  private Tensor grad;
  private Tensor sum;
  private long step;

  @Override
  protected void prepare(Shape size) {
    long n = (long) size.layers() * Shape.RANK * (4L * 2 * size.hidden() + 3L * (size.hidden() + size.ffn()));
    p = normal("p", DType.F32, 0.02, n);
    grad = normal("grad", DType.F32, 1e-3, n);
    m = zeros("m", DType.F32, n);
    v = zeros("v", DType.F32, n);
    sum = zeros("sum", DType.F64, 1);
  }

  @Benchmark
  public void step(Traffic bytes) {
    step++;
    kernels.adamwStep(p, m, v, grad, 1e-6f, 0.9f, 0.999f, 1e-8f, 0.01f, 1, step);
    bytes.add(Traffic.of(p, p, m, m, v, v, grad));
  }

  @Benchmark
  public double norm(Traffic bytes) {
    sum.zero();
    kernels.sumSquares(sum, grad);
    bytes.add(Traffic.of(grad));
    return sum.toDouble();
  }
}
