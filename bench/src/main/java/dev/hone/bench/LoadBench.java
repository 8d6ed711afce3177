package dev.hone.bench;

import dev.hone.engine.BaseModel;
import dev.hone.engine.Model;
import dev.hone.engine.Storage;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.Param;

/**
 * Opening a model folder for a LoRA run: mapping its files, reading or quantising the weights, taking memory.
 * The quickstart's base, or -Dhone.bench.model=FOLDER.
 */
public class LoadBench extends OpBench {
  @Param({"AS_STORED", "NF4_DOUBLE_QUANTISED"})
  public Storage storage;

  private Path folder;

  @Override
  protected void prepare(Shape size) {
    folder = Path.of(System.getProperty("hone.bench.model", "examples/quickstart/base"));
  }

  @Benchmark
  public long load() {
    try (BaseModel base = BaseModel.open(folder)) {
      ModelSpec spec = base.spec();
      List<Tuning.Lora.Target> targets = new ArrayList<>();
      for (int layer = 0; layer < spec.layers(); layer++) {
        targets.add(new Tuning.Lora.Target(layer, Projection.Q, Shape.RANK, 2));
      }
      StepShape step = new StepShape(DType.F32, false, 256, 1, 256);
      try (Model model = Model.open(kernels, spec, base, new Tuning.Lora(targets, 0), storage, step)) {
        return model.plan().arenaBytes();
      }
    }
  }
}
