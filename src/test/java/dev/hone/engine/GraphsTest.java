package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.config.Rivalry;
import dev.hone.config.Rivalry.Use;
import dev.hone.config.Sizes;
import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.kernel.cuda.CudaKernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
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
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Steps replayed as graphs compute what launches one by one do, bit for bit, whatever differs between two replays. */
class GraphsTest {
  private static final int TOKENS = 40;
  private static final float DROPOUT = 0.25f;

  @TempDir
  private Path folder;

  private static CudaKernels open(String card, Use graphs) {
    return CudaKernels.open(StandIn.library(card).toString(), 0, new Rivalry(Use.NEVER, Use.NEVER, graphs), DType.F32);
  }

  private static Tuning.Lora lora(ModelSpec spec) {
    List<Tuning.Lora.Target> targets = new ArrayList<>();
    for (Projection p : Projection.values()) {
      targets.add(new Tuning.Lora.Target(0, p, 2, 2f));
      targets.add(new Tuning.Lora.Target(spec.layers() - 1, p, 2, 2f));
    }
    return new Tuning.Lora(targets, DROPOUT);
  }

  /** One document, the same twice, two documents of as many tokens, and a shape that returns later. */
  private static List<MicroBatch> batches() {
    Random random = new Random(9);
    List<MicroBatch> batches = new ArrayList<>();
    for (int[] lengths : new int[][] {{20}, {20}, {7, 13}, {20}, {33}, {13, 7}, {20}, {33}, {4, 16}, {33}}) {
      List<Example> rows = new ArrayList<>();
      for (int length : lengths) {
        int[] ids = random.ints(length, 3, 90).toArray();
        int[] labels = ids.clone();
        labels[0] = Example.IGNORED;
        labels[random.nextInt(length)] = Example.IGNORED;
        rows.add(Example.of(ids, labels));
      }
      batches.add(MicroBatch.of(rows));
    }
    return batches;
  }

  /**
   * @param losses of each micro-batch, of evaluations between them, and the logits of a text that grows token by token
   * @param values of the adapters at the end
   */
  private record Result(List<Double> losses, List<float[]> values, long graphs, long launches, List<String> remarks) {}

  private static Result run(CudaKernels kernels, boolean recompute) {
    Path model = Golden.committed("models/llama");
    List<Double> losses = new ArrayList<>();
    List<float[]> values = new ArrayList<>();
    long graphs = StandIn.counter("graph_launches");
    long launches = StandIn.counter("launches");
    try (BaseModel base = BaseModel.open(model)) {
      Tuning.Lora lora = lora(base.spec());
      StepShape step = new StepShape(kernels.computeDtype(DType.F32), recompute, TOKENS, 3, TOKENS);
      try (Model trained = Model.open(kernels, base.spec(), base, lora, Storage.NF4, step)) {
        AdapterStart.fill(trained.parameters(), lora, 3);
        Parameters.AdamW adam = new Parameters.AdamW(1e-2f, 0.9f, 0.999f, 1e-8f, 0);
        int number = 0;
        for (MicroBatch batch : batches()) {
          trained.parameters().zeroGradients();
          losses.add(trained.train(batch, 1f / batch.validTargets(), 77L * number, 0.1f));
          trained.parameters().step(kernels, adam, 1, ++number);
          losses.add(trained.evaluate(batch));
        }
        try (Decoder decoder = trained.decoder(TOKENS)) {
          for (int id = 5; id < 12; id++) {
            float[] logits = decoder.feed(id);
            losses.add((double) logits[id]);
            values.add(logits);
          }
        }
        trained.parameters().all().forEach(p -> values.add(p.value().toFloats()));
      }
    }
    return new Result(
        losses, values, StandIn.counter("graph_launches") - graphs, StandIn.counter("launches") - launches,
        kernels.remarks());
  }

  @ParameterizedTest
  @ValueSource(strings = {"cc=8.0", "cc=7.5"})
  void replaysHaveTheBitsOfLaunches(String card) {
    for (boolean recompute : new boolean[] {true, false}) {
      Result launched;
      try (CudaKernels kernels = open(card, Use.NEVER)) {
        launched = run(kernels, recompute);
      }
      assertThat(launched.graphs).isZero();
      assertThat(launched.losses).doesNotHaveDuplicates().allMatch(Double::isFinite);
      try (CudaKernels kernels = open(card, Use.ALWAYS)) {
        Result replayed = run(kernels, recompute);
        assertThat(replayed.losses).isEqualTo(launched.losses);
        assertThat(replayed.values).usingRecursiveComparison().isEqualTo(launched.values);
        // Three shapes, of 4, 3 and 3 training steps - a graph before the loss and one after it - and as many
        // evaluations; seven tokens. Each launches its first.
        assertThat(replayed.graphs).isEqualTo(3 * (3 + 2 + 2) + 6);
        assertThat(replayed.launches).as("kernels").isEqualTo(launched.launches);
        assertThat(replayed.remarks).anyMatch(r -> r.startsWith("training forward, 20 tokens: a graph of"))
            .anyMatch(r -> r.startsWith("training backward, 20 tokens in 2 documents: a graph of"))
            .anyMatch(r -> r.startsWith("evaluating, 33 tokens: a graph of"))
            .anyMatch(r -> r.startsWith("decoding, 1 token: a graph of"));
      }
    }
  }

  /** Three runs of each kind are timed, then one way stays, with a remark of both times. */
  @Test
  void theFasterWayIsChosenByMeasuring() {
    Result launched;
    try (CudaKernels kernels = open("cc=8.0", Use.NEVER)) {
      launched = evaluations(kernels);
    }
    try (CudaKernels kernels = open("cc=8.0", Use.AUTO)) {
      Result chosen = evaluations(kernels);
      assertThat(chosen.losses).isEqualTo(launched.losses);
      assertThat(chosen.graphs).isGreaterThanOrEqualTo(4);
      assertThat(chosen.remarks).hasSize(1).first().asString()
          .matches("evaluating, 20 tokens: (a graph of \\d+ kernels in [0-9.]+ KiB|kernels one by one), [0-9.]+ ms instead of [0-9.]+"
              + " \\(cuda_graphs: (off turns it off|on forces it)\\)");
    }
  }

  private static Result evaluations(CudaKernels kernels) {
    List<Double> losses = new ArrayList<>();
    long graphs = StandIn.counter("graph_launches");
    try (BaseModel base = BaseModel.open(Golden.committed("models/llama")); Model model = evaluated(kernels, base)) {
      for (int i = 0; i < 12; i++) {
        losses.add(model.evaluate(batches().getFirst()));
      }
    }
    return new Result(losses, List.of(), StandIn.counter("graph_launches") - graphs, 0, kernels.remarks());
  }

  /** What the driver counts is the plan and the graphs; a graph that would take more than it may is given up, and nothing else changes. */
  @Test
  void graphsTakeNoMoreThanThePlanLeaves() {
    List<Double> losses;
    try (CudaKernels kernels = open("cc=8.0", Use.NEVER)) {
      losses = evaluations(kernels).losses;
    }
    long graph;
    try (CudaKernels kernels = open("cc=8.0 graph_node=4096", Use.ALWAYS);
        BaseModel base = BaseModel.open(Golden.committed("models/llama"));
        Model model = evaluated(kernels, base)) {
      long planned = StandIn.counter("bytes_in_use");
      model.evaluate(batches().getFirst());
      long loaded = StandIn.counter("bytes_in_use");
      model.evaluate(batches().getFirst());
      graph = StandIn.counter("bytes_in_use") - loaded;
      assertThat(graph).as("nodes of 4096 bytes").isPositive().isEqualTo(graph / 4096 * 4096);
      assertThat(kernels.remarks()).singleElement().asString()
          .matches("evaluating, 20 tokens: a graph of \\d+ kernels in " + Sizes.text(graph) + " \\(cuda_graphs: on\\)");
      assertThat(planned).isGreaterThanOrEqualTo(model.plan().arenaBytes());
    }
    for (long[] limit : new long[][] {{graph, 0}, {graph - 1, 0}, {Long.MAX_VALUE, 1L << 32}}) {
      try (CudaKernels kernels = open("cc=8.0 graph_node=4096", Use.ALWAYS)) {
        kernels.limitReplays(limit[0], limit[1]);
        Result result = evaluations(kernels);
        assertThat(result.losses).isEqualTo(losses);
        boolean fits = limit[0] == graph;
        assertThat(result.graphs).isEqualTo(fits ? 11 : 0);
        assertThat(kernels.remarks()).singleElement().asString().startsWith(
            fits ? "evaluating, 20 tokens: a graph of"
                : "evaluating, 20 tokens: kernels one by one, as " + (limit[1] == 0
                    ? "a graph takes " + Sizes.text(graph) + " of the card and " + Sizes.text(graph - 1) + " are left beside the plan"
                    : "with a graph of " + Sizes.text(graph) + " the card has"));
      }
      assertThat(StandIn.counter("bytes_in_use")).isZero();
    }
  }

  private static Model evaluated(CudaKernels kernels, BaseModel base) {
    StepShape step = new StepShape(DType.BF16, false, TOKENS, 3, TOKENS);
    return Model.open(kernels, base.spec(), base, new Tuning.None(), Storage.NF4, step);
  }

  @Test
  void weightsThatTravelAreNotRecorded() {
    try (CudaKernels kernels = open("cc=8.0", Use.ALWAYS);
        CpuKernels host = new CpuKernels();
        BaseModel base = BaseModel.open(Golden.committed("models/llama"));
        LayerCache cache = LayerCache.open(host, base, Storage.NF4, DType.BF16, folder, note -> {})) {
      Layout streamed = new Layout(Layout.Weights.ARENA, 0, Layout.Activations.RECOMPUTE, false, false, true);
      StepShape step = new StepShape(DType.BF16, true, TOKENS, 3, TOKENS);
      try (Model model = Model.open(kernels, base.spec(), cache, lora(base.spec()), Storage.NF4, step, streamed)) {
        for (MicroBatch batch : batches()) {
          assertThat(model.train(batch, 1, 7, 0)).isFinite();
        }
      }
      assertThat(StandIn.counter("graph_launches")).isZero();
      assertThat(kernels.remarks()).containsExactly(
          "kernels are launched one by one, not as graphs: weights travel from the host beside them");
    }
  }
}
