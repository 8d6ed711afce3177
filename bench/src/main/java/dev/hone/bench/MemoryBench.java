package dev.hone.bench;

import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.engine.Model;
import dev.hone.engine.Storage;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.concurrent.TimeUnit;
import java.util.stream.IntStream;
import org.openjdk.jmh.annotations.AuxCounters;
import org.openjdk.jmh.annotations.Benchmark;
import org.openjdk.jmh.annotations.BenchmarkMode;
import org.openjdk.jmh.annotations.Fork;
import org.openjdk.jmh.annotations.Measurement;
import org.openjdk.jmh.annotations.Mode;
import org.openjdk.jmh.annotations.OutputTimeUnit;
import org.openjdk.jmh.annotations.Param;
import org.openjdk.jmh.annotations.Scope;
import org.openjdk.jmh.annotations.State;
import org.openjdk.jmh.annotations.Warmup;

/**
 * Memory of opening a model and training one micro-batch, in MiB, in a fresh JVM: what the plan says, the Java heap in
 * use, and the most that was resident at any time as the kernel counted it. That holds the base weights, here made at
 * random, and the JVM with JMH.
 */
@BenchmarkMode(Mode.SingleShotTime)
@OutputTimeUnit(TimeUnit.MILLISECONDS)
@Fork(1)
@Warmup(iterations = 0)
@Measurement(iterations = 1)
public class MemoryBench extends OpBench {
  @Param({"f32", "bf16", "nf4"})
  public String base;

  /** JMH shows them beside the time. */
  @State(Scope.Thread)
  @AuxCounters(AuxCounters.Type.EVENTS)
  public static class Mebibytes {
    public double plan;
    public double heap;
    public double peak;
  }

  private Shape size;

  @Override
  protected void prepare(Shape shape) {
    size = shape;
  }

  @Benchmark
  public double step(Mebibytes memory) throws IOException {
    ModelSpec spec = size.spec();
    DType stored = base.equals("f32") ? DType.F32 : DType.BF16;
    Storage storage = base.equals("nf4") ? Storage.NF4_DOUBLE_QUANTISED : Storage.AS_STORED;
    List<Tuning.Lora.Target> targets = new ArrayList<>();
    for (int layer = 0; layer < spec.layers(); layer++) {
      for (Projection p : Projection.values()) {
        targets.add(new Tuning.Lora.Target(layer, p, Shape.RANK, 2));
      }
    }
    StepShape step = new StepShape(stored, false, size.tokens(), size.rows(), size.length());
    Weights weights = new Weights(kernels, arena, stored);
    try (Model model = Model.open(kernels, spec, weights, new Tuning.Lora(targets, 0), storage, step)) {
      List<Example> rows = new ArrayList<>();
      for (int i = 0; i < size.rows(); i++) {
        int[] ids = numbers(size.length(), Shape.VOCAB);
        rows.add(new Example(ids, ids.clone(), IntStream.range(0, ids.length).toArray()));
      }
      MicroBatch batch = MicroBatch.of(rows);
      double loss = model.train(batch, 1f / batch.validTargets(), 1, 0);
      Runtime runtime = Runtime.getRuntime();
      memory.plan = mebibytes(model.plan().arenaBytes());
      memory.heap = mebibytes(runtime.totalMemory() - runtime.freeMemory());
      memory.peak = peak();
      return loss;
    }
  }

  private static double mebibytes(long bytes) {
    return bytes / 1048576.0;
  }

  /** VmHWM of /proc/self/status; NaN where there is none. */
  private static double peak() throws IOException {
    Path status = Path.of("/proc/self/status");
    if (!Files.isReadable(status)) {
      return Double.NaN;
    }
    for (String line : Files.readAllLines(status)) {
      if (line.startsWith("VmHWM:")) {
        return Double.parseDouble(line.replaceAll("\\D+", "")) / 1024;
      }
    }
    return Double.NaN;
  }
}
