package dev.hone.bench;

import dev.hone.kernel.Kernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;

/** One new token of a text, bound by memory: attention over a cache of 512 positions, and gate_proj. */
public class DecodeBench extends OpBench {
  private static final int POSITIONS = 512;

  /** Of the weight; over nf4 the activations are bf16. */
  @Param({"f32", "bf16", "nf4"})
  public String dtype;

  private Tensor q;
  private Tensor o;
  private Tensor keys;
  private Tensor values;
  private Tensor x;
  private Tensor w;
  private Tensor y;
  private Kernels.Attention settings;

  @Override
  protected void prepare(Shape size) {
    DType act = activations(dtype(dtype));
    q = normal("q", act, 1, 1, size.heads(), size.headDim());
    o = zeros("o", act, 1, size.heads(), size.headDim());
    keys = normal("keys", act, 1, POSITIONS, size.heads(), size.headDim());
    values = normal("values", act, 1, POSITIONS, size.heads(), size.headDim());
    settings = new Kernels.Attention((float) (1 / Math.sqrt(size.headDim())), 0, 0);
    x = normal("x", act, 1, 1, size.hidden());
    w = weight("w", dtype(dtype), size.ffn(), size.hidden());
    y = zeros("y", act, 1, size.ffn());
  }

  @Benchmark
  public void attention(Traffic bytes) {
    kernels.attentionDecode(o, q, keys, values, POSITIONS - 1, settings);
    bytes.add(Traffic.of(q, keys, values, o));
  }

  @Benchmark
  public void linear(Traffic bytes) {
    kernels.linearForward(y, x, w, null, false);
    bytes.add(Traffic.of(x, w, y));
  }
}
