package dev.hone.bench;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;

/** Head and cross-entropy over a vocabulary of 32000 with every label valid: the loss alone, and the loss with dh. */
public class CrossEntropyBench extends OpBench {
  @Param({"f32", "bf16"})
  public String dtype;

  private Tensor loss;
  private Tensor dh;
  private Tensor scratch;
  private Tensor h;
  private Tensor head;
  private Tensor targets;
  private float inverseCount;
  private double product;

  @Override
  protected void prepare(Shape size) {
    DType act = dtype(dtype);
    h = normal("h", act, 1, size.tokens(), size.hidden());
    dh = zeros("dh", act, size.tokens(), size.hidden());
    head = weight("head", act, Shape.VOCAB, size.hidden());
    targets = zeros("targets", DType.I32, size.tokens()).set(numbers(size.tokens(), Shape.VOCAB));
    loss = zeros("loss", DType.F64, 1);
    long bytes = kernels.crossEntropyScratchBytes(size.tokens(), size.hidden(), Shape.VOCAB, act, false, 0);
    scratch = zeros("scratch", DType.U8, Math.max(1, bytes));
    inverseCount = 1f / size.tokens();
    product = 2.0 * size.tokens() * size.hidden() * Shape.VOCAB;
  }

  @Benchmark
  public double loss(Flops work, Traffic bytes) {
    return run(null, 1, work, bytes);
  }

  @Benchmark
  public double lossAndGradient(Flops work, Traffic bytes) {
    return run(dh, 2, work, bytes);
  }

  private double run(Tensor gradient, int products, Flops work, Traffic bytes) {
    loss.zero();
    kernels.crossEntropy(loss, gradient, null, scratch, h, head, targets, null, inverseCount, 1, 0, 0);
    work.add(products * product);
    bytes.add(Traffic.of(h, head, targets) + (gradient == null ? 0 : Traffic.of(gradient)));
    return loss.toDouble();
  }
}
