package dev.hone.bench;

import dev.hone.kernel.Activation;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;

/** SwiGLU over a step's gate and up. */
public class GatedBench extends OpBench {
  @Param({"f32", "bf16"})
  public String dtype;

  private Tensor gate;
  private Tensor up;
  private Tensor y;
  private Tensor dy;
  private Tensor dgate;
  private Tensor dup;

  @Override
  protected void prepare(Shape size) {
    DType act = dtype(dtype);
    gate = normal("gate", act, 1, size.tokens(), size.ffn());
    up = normal("up", act, 1, size.tokens(), size.ffn());
    dy = normal("dy", act, 1e-3, size.tokens(), size.ffn());
    y = zeros("y", act, size.tokens(), size.ffn());
    dgate = zeros("dgate", act, size.tokens(), size.ffn());
    dup = zeros("dup", act, size.tokens(), size.ffn());
  }

  @Benchmark
  public void forward(Traffic bytes) {
    kernels.gatedForward(y, gate, up, Activation.SILU);
    bytes.add(Traffic.of(gate, up, y));
  }

  @Benchmark
  public void backward(Traffic bytes) {
    kernels.gatedBackward(dgate, dup, dy, gate, up, Activation.SILU);
    bytes.add(Traffic.of(dy, gate, up, dgate, dup));
  }
}
