package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.kernel.Kernels;
import dev.hone.model.Tuning;
import dev.hone.plan.Layout;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import dev.hone.testing.Golden;
import dev.hone.testing.StandIn;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Micro-batches that are begun one after the other, without waiting, compute what they compute one by one. The stand-in
 * reads pinned memory when a copy runs, as late as it may: a buffer that is filled again too early gives the wrong ids
 * every time.
 */
class UploadsTest {
  private static final int TOKENS = 48;

  @TempDir
  private Path folder;

  private static List<MicroBatch> batches() {
    Random random = new Random(5);
    List<MicroBatch> batches = new ArrayList<>();
    for (int length : new int[] {12, 48, 7, 30, 30, 19}) {
      int[] ids = random.ints(length, 3, 90).toArray();
      batches.add(MicroBatch.of(List.of(Example.of(ids, ids.clone()))));
    }
    return batches;
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void batchesBegunInARowComputeWhatTheyDoOneByOne(boolean tableOnTheCard) {
    try (Kernels kernels = StandIn.open("cc=8.0");
        BaseModel base = BaseModel.open(Golden.committed("models/llama"));
        LayerCache cache = LayerCache.open(
            new dev.hone.kernel.cpu.CpuKernels(), base, Storage.NF4, DType.BF16, folder, note -> {})) {
      int layers = base.spec().layers();
      Layout layout = new Layout(Layout.Weights.ARENA, layers, Layout.Activations.KEEP, true, tableOnTheCard, true);
      StepShape step = new StepShape(DType.BF16, false, TOKENS, 1, TOKENS);
      try (Model model = Model.open(kernels, base.spec(), cache, new Tuning.None(), Storage.NF4, step, layout)) {
        double oneByOne = 0;
        for (MicroBatch batch : batches()) {
          oneByOne += model.evaluate(batch);
        }
        long waits = StandIn.counter("synchronisations");
        for (MicroBatch batch : batches()) {
          model.beginEvaluation(batch);
        }
        // for the set of pinned buffers that comes next: of ids, and of the table's rows where those travel
        assertThat(StandIn.counter("synchronisations") - waits).isEqualTo(batches().size() * (tableOnTheCard ? 1 : 2));
        assertThat(model.loss()).isEqualTo(oneByOne).isPositive();
      }
    }
  }
}
