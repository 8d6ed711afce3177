package dev.hone.bench;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.util.Arrays;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;

/** RMSNorm of a step's hidden states; backward adds to the residual's gradient and leaves the frozen weight alone. */
public class RmsNormBench extends OpBench {
  @Param({"f32", "bf16"})
  public String dtype;

  private Tensor x;
  private Tensor y;
  private Tensor w;
  private Tensor rstd;
  private Tensor dy;
  private Tensor dx;

  @Override
  protected void prepare(Shape size) {
    DType act = dtype(dtype);
    x = normal("x", act, 1, size.tokens(), size.hidden());
    dy = normal("dy", act, 1e-3, size.tokens(), size.hidden());
    y = zeros("y", act, size.tokens(), size.hidden());
    dx = zeros("dx", act, size.tokens(), size.hidden());
    float[] ones = new float[size.hidden()];
    Arrays.fill(ones, 1);
    w = zeros("w", DType.F32, size.hidden()).set(ones);
    rstd = zeros("rstd", DType.F32, size.tokens());
    kernels.rmsNormForward(y, rstd, x, w, 1e-6f, 0);
  }

  @Benchmark
  public void forward(Traffic bytes) {
    kernels.rmsNormForward(y, rstd, x, w, 1e-6f, 0);
    bytes.add(Traffic.of(x, w, y, rstd));
  }

  @Benchmark
  public void backward(Traffic bytes) {
    kernels.rmsNormBackward(dx, null, dy, x, w, rstd, 0, true);
    bytes.add(Traffic.of(dy, x, w, rstd, dx, dx));
  }
}
