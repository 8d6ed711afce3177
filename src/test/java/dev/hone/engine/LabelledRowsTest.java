package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

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
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The head of a card sees the rows that have a label and no other, launched or replayed, whole or in slabs. */
class LabelledRowsTest {
  private static final int TOKENS = 40;
  /** Of a loss in 16 bits, as in CardGoldenTest. */
  private static final double LOSS = 1e-2;

  @TempDir
  private Path folder;

  /** As many tokens each, of which few, none and all are labelled. */
  private static List<MicroBatch> batches() {
    Random random = new Random(4);
    List<MicroBatch> batches = new ArrayList<>();
    for (int labelled : new int[] {5, 0, 17, TOKENS, 1, 5}) {
      int[] ids = random.ints(TOKENS, 3, 90).toArray();
      int[] labels = ids.clone();
      Arrays.fill(labels, 0, TOKENS - labelled, Example.IGNORED);
      batches.add(MicroBatch.of(List.of(Example.of(ids, labels))));
    }
    return batches;
  }

  private static Tuning.Lora lora(int layers) {
    return new Tuning.Lora(
        List.of(
            new Tuning.Lora.Target(0, Projection.Q, 2, 2f), new Tuning.Lora.Target(layers - 1, Projection.DOWN, 2, 2f)),
        0);
  }

  private static Layout layout(BaseModel base, boolean head) {
    return new Layout(Layout.Weights.ARENA, base.spec().layers(), Layout.Activations.KEEP, head, true, true);
  }

  private record Result(List<Double> losses, List<Double> norms, List<Long> rows) {}

  /** @param counter of rows, empty none */
  private Result run(Kernels kernels, BaseModel base, Layout layout, String counter) {
    List<Double> losses = new ArrayList<>();
    List<Double> norms = new ArrayList<>();
    List<Long> rows = new ArrayList<>();
    Tuning.Lora lora = lora(base.spec().layers());
    DType compute = kernels.computeDtype(DType.F32);
    StepShape step = new StepShape(compute, false, TOKENS, 1, TOKENS);
    try (CpuKernels host = new CpuKernels();
        LayerCache cache = LayerCache.open(host, base, Storage.NF4, compute, folder, note -> {});
        Model model = Model.open(kernels, base.spec(), cache, lora, Storage.NF4, step, layout)) {
      StirredAdapter.fill(model.parameters(), lora, 3);
      for (MicroBatch batch : batches()) {
        long before = counter.isEmpty() ? 0 : StandIn.counter(counter);
        model.parameters().zeroGradients();
        losses.add(model.train(batch, 1f / 16, 7, 0));
        norms.add(model.parameters().gradientNorm(kernels));
        losses.add(model.evaluate(batch));
        rows.add(counter.isEmpty() ? 0 : StandIn.counter(counter) - before);
      }
    }
    return new Result(losses, norms, rows);
  }

  @ParameterizedTest
  @CsvSource({
      "cc=8.0, models/llama,  true,  NEVER", "cc=8.0, models/llama,  true,  ALWAYS", "cc=8.0, models/llama, false, NEVER",
      "cc=8.0, models/gemma2, true,  ALWAYS", "cc=8.0, models/gemma2, false, NEVER", "cc=7.5, models/llama, true, ALWAYS",
      "cc=7.5, models/gemma2, false, NEVER"
  })
  void onlyTheyAreComputed(String card, String model, boolean head, Use graphs) {
    try (BaseModel base = BaseModel.open(Golden.committed(model))) {
      Result want;
      try (CpuKernels host = new CpuKernels()) {
        want = run(host, base, layout(base, true), "");
      }
      Rivalry rivalry = new Rivalry(Use.NEVER, Use.NEVER, graphs);
      try (CudaKernels kernels = CudaKernels.open(StandIn.library(card).toString(), 0, rivalry, DType.F32)) {
        String dtype = kernels.computeDtype(DType.F32) == DType.BF16 ? "bf16" : "f16";
        Result got = run(kernels, base, layout(base, head), "blocks:hone_" + (head ? "ce_rows_" : "ce_slab_loss_") + dtype);
        // a block of these kernels is a row of logits; trained and evaluated
        assertThat(got.rows).isEqualTo(batches().stream().map(b -> 2L * b.validTargets()).toList());
        for (int i = 0; i < want.losses.size(); i++) {
          assertThat(got.losses.get(i)).isCloseTo(want.losses.get(i), within(LOSS * want.losses.get(i)));
        }
        for (int i = 0; i < want.norms.size(); i++) {
          assertThat(got.norms.get(i)).isCloseTo(want.norms.get(i), within(0.05 * want.norms.get(i)));
        }
        assertThat(got.losses.get(2)).as("no labels").isZero();
        assertThat(got.norms.get(1)).as("no labels").isZero();
        assertThat(StandIn.counter("graph_launches") > 0).isEqualTo(graphs == Use.ALWAYS);
      }
    }
  }
}
