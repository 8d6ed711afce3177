package dev.hone.bench;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;

/** The adapter of gate_proj (hidden to ffn), rank 16, without its base product. */
public class LoraBench extends OpBench {
  @Param({"f32", "bf16"})
  public String dtype;

  private Tensor x;
  private Tensor dx;
  private Tensor y;
  private Tensor dy;
  private Tensor u;
  private Tensor e;
  private Tensor a;
  private Tensor b;
  private Tensor da;
  private Tensor db;
  private double flops;

  @Override
  protected void prepare(Shape size) {
    DType act = dtype(dtype);
    long m = size.tokens();
    x = normal("x", act, 1, m, size.hidden());
    dy = normal("dy", act, 1e-3, m, size.ffn());
    y = zeros("y", act, m, size.ffn());
    dx = zeros("dx", act, m, size.hidden());
    u = zeros("u", act, m, Shape.RANK);
    e = zeros("e", act, m, Shape.RANK);
    a = normal("a", DType.F32, 0.05, Shape.RANK, size.hidden());
    b = normal("b", DType.F32, 0.02, size.ffn(), Shape.RANK);
    da = zeros("da", DType.F32, Shape.RANK, size.hidden());
    db = zeros("db", DType.F32, size.ffn(), Shape.RANK);
    flops = 2.0 * m * Shape.RANK * (size.hidden() + size.ffn());
  }

  @Benchmark
  public void forward(Flops work, Traffic bytes) {
    kernels.loraForward(y, u, x, a, b, 1e-3f, 0, 0);
    work.add(flops);
    bytes.add(Traffic.of(x, a, b, u, y, y));
  }

  @Benchmark
  public void backward(Flops work, Traffic bytes) {
    kernels.loraBackward(dx, da, db, e, dy, x, u, a, b, 1e-3f, 0, 0);
    work.add(2 * flops);
    bytes.add(Traffic.of(dy, x, u, a, b, dx, dx, da, da, db, db, e));
  }
}
