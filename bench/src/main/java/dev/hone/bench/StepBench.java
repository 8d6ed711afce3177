package dev.hone.bench;

import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.engine.AdapterStart;
import dev.hone.engine.Model;
import dev.hone.engine.Parameters;
import dev.hone.engine.Storage;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.IntStream;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;

/**
 * One optimiser step of the trainer (LoRA r = 16 on all linears): gradients cleared, forward and backward, norm, clipping, AdamW;
 * and, by itself, laying the next rows end to end as the trainer does before each step.
 */
public class StepBench extends OpBench {
  /** Of the stored base; f32 trains with f32 activations, bf16 and nf4 with bf16. */
  @Param({"f32", "bf16", "nf4"})
  public String base;

  /** The rows' length is divided by it, which must leave gc.alloc.rate.norm of a step as it is. */
  @Param({"1", "4"})
  public int shorter;

  private Model model;
  private List<Example> rows;
  private MicroBatch batch;
  private double flops;
  private long step;

  @Override
  protected void prepare(Shape whole) {
    Shape size = whole.shortened(shorter);
    ModelSpec spec = size.spec();
    DType stored = base.equals("f32") ? DType.F32 : DType.BF16;
    Storage storage = base.equals("nf4") ? Storage.NF4_DOUBLE_QUANTISED : Storage.AS_STORED;
    Tuning.Lora lora = adapters(spec);
    StepShape extent = new StepShape(stored, false, size.tokens(), size.rows(), size.length());
    model = Model.open(kernels, spec, new Weights(kernels, arena, stored), lora, storage, extent);
    AdapterStart.fill(model.parameters(), lora, 1);
    rows = rows(size);
    batch = MicroBatch.of(rows);
    flops = flops(size, spec, lora);
  }

  private static Tuning.Lora adapters(ModelSpec spec) {
    List<Tuning.Lora.Target> targets = new ArrayList<>();
    for (int layer = 0; layer < spec.layers(); layer++) {
      for (Projection p : Projection.values()) {
        targets.add(new Tuning.Lora.Target(layer, p, Shape.RANK, 2));
      }
    }
    return new Tuning.Lora(List.copyOf(targets), 0);
  }

  private List<Example> rows(Shape size) {
    List<Example> made = new ArrayList<>();
    for (int i = 0; i < size.rows(); i++) {
      int[] ids = numbers(size.length(), Shape.VOCAB);
      made.add(new Example(ids, ids.clone(), IntStream.range(0, ids.length).toArray()));
    }
    return List.copyOf(made);
  }

  /**
   * Of the products alone: each linear and the head once forward and once for dx, the adapters' two products forward and four
   * backward, attention's two and five over the causal half. dx of the lowest block's q, k and v is nobody's and not counted.
   */
  private static double flops(Shape size, ModelSpec spec, Tuning.Lora lora) {
    double tokens = size.tokens();
    double linears = 2.0 * Shape.VOCAB * size.hidden();
    double adapters = 0;
    for (Tuning.Lora.Target target : lora.targets()) {
      double in = target.projection().in(spec);
      double out = target.projection().out(spec);
      boolean lowest = target.layer() == 0 && target.projection().ordinal() <= Projection.V.ordinal();
      linears += (lowest ? 1 : 2) * in * out;
      adapters += (2 + 4) * Shape.RANK * (in + out) / 2;
    }
    double attention = (2 + 5) * (double) spec.layers() * (size.length() + 1) / 2 * size.hidden();
    return 2 * tokens * (linears + adapters + attention);
  }

  @Benchmark
  public double step(Flops work, Tokens done) {
    step++;
    Parameters parameters = model.parameters();
    parameters.zeroGradients();
    double loss = model.train(batch, 1f / batch.validTargets(), step, 0);
    double norm = parameters.gradientNorm(kernels);
    float clip = (float) Math.min(1, 1 / (norm + 1e-6));
    parameters.step(kernels, new Parameters.AdamW(1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f), clip, step);
    work.add(flops);
    done.tokens += batch.tokens();
    return loss;
  }

  @Benchmark
  public MicroBatch layOut(Tokens done) {
    MicroBatch made = MicroBatch.of(rows);
    done.tokens += made.tokens();
    return made;
  }

  @Override
  protected void release() {
    model.close();
  }
}
