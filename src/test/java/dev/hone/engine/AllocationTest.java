package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.sun.management.ThreadMXBean;
import dev.hone.config.Rivalry;
import dev.hone.config.Rivalry.Use;
import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.kernel.cuda.CudaKernels;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.Layout;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import dev.hone.testing.Golden;
import dev.hone.testing.StandIn;
import java.lang.management.ManagementFactory;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * All memory of a training step is taken beforehand: what it allocates on the heap is small and does not grow with its
 * tokens.
 */
class AllocationTest {
  /**
   * Small objects of the binding's and the walk's own, which the compiler may or may not remove; nothing of a token's.
   */
  private static final long BYTES = 2048;

  /** The same for a card, whose step begins some hundred kernels and copies. */
  private static final long ON_A_CARD = 1024;

  @TempDir
  private Path caches;

  private static Tuning.Lora lora(int layers) {
    List<Tuning.Lora.Target> targets = new ArrayList<>();
    for (int layer = 0; layer < layers; layer++) {
      for (Projection projection : Projection.values()) {
        targets.add(new Tuning.Lora.Target(layer, projection, 4, 2f));
      }
    }
    return new Tuning.Lora(targets, 0.1f);
  }

  private static MicroBatch batch(int rows, int length) {
    Random random = new Random(rows);
    List<Example> examples = new ArrayList<>();
    for (int r = 0; r < rows; r++) {
      int[] ids = random.ints(length, 3, 500).toArray();
      examples.add(Example.of(ids, ids.clone()));
    }
    return MicroBatch.of(examples);
  }

  private static ThreadMXBean meter() {
    boolean there = ManagementFactory.getThreadMXBean() instanceof ThreadMXBean bean
        && bean.isThreadAllocatedMemorySupported();
    assumeTrue(there, "skipped: this JVM does not count a thread's allocations");
    return (ThreadMXBean) ManagementFactory.getThreadMXBean();
  }

  /** Bytes of one call, once the calls before it have warmed the code up: the least of many. */
  private static long bytes(ThreadMXBean meter, Runnable call) {
    return bytes(meter, 200, call);
  }

  private static long bytes(ThreadMXBean meter, int calls, Runnable call) {
    long least = Long.MAX_VALUE;
    for (int i = 0; i < calls; i++) {
      long before = meter.getCurrentThreadAllocatedBytes();
      call.run();
      least = Math.min(least, meter.getCurrentThreadAllocatedBytes() - before);
    }
    return least;
  }

  @ParameterizedTest
  @ValueSource(strings = {"models/llama", "models/gemma2", "models/qwen3", "qlora/llama_nf4_dq"})
  void aMicroBatchAllocatesNothingPerToken(String model) {
    ThreadMXBean meter = meter();
    Path folder = Golden.committed(model);
    try (CpuKernels kernels = new CpuKernels();
        BaseModel base = BaseModel.open(folder);
        Model trained = GoldenModelTest.open(kernels, base, folder.resolve("golden"), true, DType.F32)) {
      kernels.useThreads(1);
      MicroBatch small = batch(1, 8);
      MicroBatch large = batch(4, 48);
      long few = bytes(meter, () -> trained.train(small, 1, 7, 0));
      long many = bytes(meter, () -> trained.train(large, 1, 7, 0));
      System.out.printf("%s: %d bytes a micro-batch of 8 tokens, %d of 192%n", model, few, many);
      assertThat(many).as("24 times the tokens").isLessThanOrEqualTo(few + 64);
      assertThat(few).isLessThan(BYTES);
      long evaluating = bytes(meter, () -> trained.evaluate(large));
      assertThat(evaluating).isLessThan(BYTES);
    }
  }

  /** What a card's steps differ in: where things lie, and whether they are replayed. */
  private enum OnCard {
    RESIDENT(Use.NEVER), REPLAYED(Use.ALWAYS), STREAMED(Use.NEVER);

    private final Use graphs;

    OnCard(Use graphs) {
      this.graphs = graphs;
    }

    /** Streamed: layers, slabs of the head, rows of the embedding, activations and gradients there and back. */
    private Layout layout(int layers) {
      return this == STREAMED ? new Layout(Layout.Weights.ARENA, 0, Layout.Activations.SAVE_ALL, false, false, false)
          : new Layout(Layout.Weights.ARENA, layers, Layout.Activations.KEEP, true, true, true);
    }
  }

  /** A launch fills one parameter block that is there; what is taken on the card, the driver counts. */
  @ParameterizedTest
  @EnumSource
  void aMicroBatchOnACardAllocatesNothingPerTokenAndNothingOnTheCard(OnCard way) {
    ThreadMXBean meter = meter();
    Path folder = Golden.committed("qlora/llama_nf4_dq");
    String library = StandIn.library("cc=8.0").toString();
    try (Kernels kernels = CudaKernels.open(library, 0, new Rivalry(Use.NEVER, Use.NEVER, way.graphs), DType.F32);
        CpuKernels host = new CpuKernels();
        BaseModel base = BaseModel.open(folder);
        LayerCache cache = LayerCache.open(host, base, Storage.NF4, DType.BF16, caches, note -> {});
        Model trained = Model.open(
            kernels, base.spec(), cache, lora(base.spec().layers()), Storage.NF4,
            new StepShape(DType.BF16, false, 80, 2, 40), way.layout(base.spec().layers()))) {
      Parameters.AdamW adam = new Parameters.AdamW(1e-3f, 0.9f, 0.999f, 1e-8f, 0);
      MicroBatch small = batch(1, 8);
      MicroBatch large = batch(2, 40);
      Runnable step = () -> {
        trained.parameters().zeroGradients();
        trained.parameters().gradientNorm(kernels);
        trained.parameters().step(kernels, adam, 1, 1);
      };
      step.run();
      trained.train(large, 1, 7, 0);
      long before = StandIn.counter("allocations");
      long few = bytes(meter, 30, () -> trained.train(small, 1, 7, 0));
      long many = bytes(meter, 30, () -> trained.train(large, 1, 7, 0));
      long evaluating = bytes(meter, 30, () -> trained.evaluate(small));
      long optimiser = bytes(meter, 30, step);
      System.out.printf(
          "card, %s: %d bytes a micro-batch of 8 tokens, %d of 80, %d evaluated, %d an optimiser step%n", way, few, many,
          evaluating, optimiser);
      assertThat(StandIn.counter("allocations")).as("on the card").isEqualTo(before);
      assertThat(many).as("ten times the tokens").isLessThanOrEqualTo(few + 64);
      assertThat(few).isLessThan(ON_A_CARD);
      assertThat(evaluating).isLessThan(ON_A_CARD);
      assertThat(optimiser).isLessThan(ON_A_CARD);
    }
  }

  @Test
  void theOptimiserAllocatesNothing() {
    ThreadMXBean meter = meter();
    Path folder = Golden.committed("models/llama");
    try (CpuKernels kernels = new CpuKernels();
        BaseModel base = BaseModel.open(folder);
        Model model = GoldenModelTest.open(kernels, base, folder.resolve("golden"), false, DType.F32)) {
      Parameters.AdamW adam = new Parameters.AdamW(1e-3f, 0.9f, 0.999f, 1e-8f, 0);
      long bytes = bytes(meter, () -> {
        model.parameters().zeroGradients();
        model.parameters().gradientNorm(kernels);
        model.parameters().step(kernels, adam, 1, 1);
      });
      System.out.printf("optimiser: %d bytes a step%n", bytes);
      assertThat(bytes).isLessThan(BYTES);
    }
  }
}
