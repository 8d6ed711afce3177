package dev.hone.bench;

import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.engine.AdapterStart;
import dev.hone.engine.Model;
import dev.hone.engine.Parameters;
import dev.hone.engine.RandomWeights;
import dev.hone.engine.Storage;
import dev.hone.engine.WeightSource;
import dev.hone.kernel.cuda.CudaKernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.IntStream;

/** A QLoRA step of a whole model (r = 16 on all linears, activations recomputed) with random weights. */
final class CudaStep {
  private CudaStep() {}

  /** Random weights of which tensors of one shape are the same: making 7B of them would take longer than the bench. */
  private static final class Repeated implements WeightSource {
    private final RandomWeights random;
    private final Map<List<Long>, Tensor> known = new HashMap<>();

    Repeated(Arena arena) {
      random = new RandomWeights(arena, 1, 0.02f, 0);
    }

    @Override
    public Tensor tensor(String name, long... shape) {
      return known.computeIfAbsent(Arrays.stream(shape).boxed().toList(), s -> random.tensor(name, shape));
    }

    @Override
    public Tensor weight(String name, long out, long in) {
      return tensor(name, out, in);
    }
  }

  /**
   * @param name of the shape, for the row
   * @param warm steps that are not counted
   * @param steps that are
   */
  static void run(CudaKernels card, CudaRows rows, String name, Shape size, int warm, int steps) throws IOException {
    ModelSpec spec = size.spec();
    long free = card.freeBytes();
    try (Arena arena = Arena.ofShared()) {
      Tuning.Lora lora = adapters(spec);
      StepShape extent = new StepShape(card.computeDtype(DType.BF16), true, size.tokens(), size.rows(), size.length());
      try (Model model = Model.open(card, spec, new Repeated(arena), lora, Storage.NF4_DOUBLE_QUANTISED, extent)) {
        AdapterStart.fill(model.parameters(), lora, 1);
        MicroBatch batch = MicroBatch.of(IntStream.range(0, size.rows()).mapToObj(row -> row(size, row)).toList());
        double[] micros = new double[steps];
        for (int step = 1; step <= warm + steps; step++) {
          long began = System.nanoTime();
          step(card, model, batch, step);
          if (step > warm) {
            micros[step - warm - 1] = (System.nanoTime() - began) / 1e3;
          }
        }
        Arrays.sort(micros);
        double median = micros[steps / 2];
        rows.step(
            name + " " + size.rows() + "x" + size.length() + " nf4 r=" + Shape.RANK + " recompute",
            new Timing.Result(median, (micros[steps - 1] - micros[0]) / median), size.tokens(),
            (free - card.freeBytes()) / 1048576.0);
      }
    }
  }

  private static void step(CudaKernels card, Model model, MicroBatch batch, long step) {
    Parameters parameters = model.parameters();
    parameters.zeroGradients();
    double loss = model.train(batch, 1f / batch.validTargets(), step, 0) / batch.validTargets();
    if (!Double.isFinite(loss)) {
      throw new IllegalStateException("the loss of step " + step + " is " + loss);
    }
    float clip = (float) Math.min(1, 1 / (parameters.gradientNorm(card) + 1e-6));
    parameters.step(card, new Parameters.AdamW(1e-4f, 0.9f, 0.999f, 1e-8f, 0.01f), clip, step);
  }

  private static Example row(Shape size, int row) {
    int[] ids = IntStream.range(0, size.length()).map(i -> (i * 7919 + row * 104729) % Shape.VOCAB).toArray();
    return new Example(ids, ids.clone(), IntStream.range(0, ids.length).toArray());
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
}
