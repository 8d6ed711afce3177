package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.config.Moments;
import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.Layout;
import dev.hone.plan.Needs;
import dev.hone.plan.Plan;
import dev.hone.plan.StepShape;
import dev.hone.plan.TrainingPlan;
import dev.hone.testing.StandIn;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/** What is planned before anything is read, what the arena has and what the card's driver counted are one number. */
class PlanOnCardTest {
  @TempDir
  private Path folder;

  /** Twenty runs drawn at random: shape, adapters, quantisation, kind of card, tokens and layout. */
  static IntStream seeds() {
    return IntStream.range(0, 20);
  }

  private static <T> T pick(Random random, List<T> of) {
    return of.get(random.nextInt(of.size()));
  }

  private BaseModel base(Random random) {
    String type = pick(random, List.of("llama", "qwen2", "qwen3", "gemma2"));
    String json = """
        {"model_type": "%s", "vocab_size": %d, "hidden_size": 128, "intermediate_size": %d, "num_hidden_layers": %d,
         "num_attention_heads": 2, "num_key_value_heads": %d, "head_dim": 64, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
         "query_pre_attn_scalar": 64, "attn_logit_softcapping": 50.0, "final_logit_softcapping": 30.0, "sliding_window": 16,
         "hidden_activation": "gelu_pytorch_tanh", "tie_word_embeddings": %b}"""
        .formatted(
            type, 64 + 32 * random.nextInt(5), 64 * (1 + random.nextInt(4)), 2 + random.nextInt(4), 1 + random.nextInt(2),
            type.equals("gemma2") || random.nextBoolean());
    Path model = folder.resolve("model");
    try (CpuKernels kernels = new CpuKernels()) {
      NewModel.write(kernels, json, "test", 7, model);
    }
    return BaseModel.open(model);
  }

  private static Tuning.Lora lora(Random random, ModelSpec spec) {
    List<Tuning.Lora.Target> targets = new ArrayList<>();
    int rank = 1 + random.nextInt(20);
    for (Projection p : Projection.values()) {
      boolean wanted = random.nextBoolean();
      for (int layer = 0; layer < spec.layers(); layer++) {
        if (wanted || layer == 0 && p == Projection.Q) {
          targets.add(new Tuning.Lora.Target(layer, p, rank, 2f));
        }
      }
    }
    return new Tuning.Lora(targets, random.nextBoolean() ? 0.1f : 0);
  }

  private static Layout layout(Random random, int layers) {
    return new Layout(
        Layout.Weights.ARENA, random.nextInt(layers + 1), pick(random, List.of(Layout.Activations.values())),
        random.nextInt(layers + 1), random.nextInt(layers), random.nextBoolean(), random.nextBoolean(), random.nextBoolean());
  }

  private static MicroBatch batch(Random random, StepShape step, int vocab) {
    List<Example> rows = new ArrayList<>();
    for (int row = 0; row < step.documents(); row++) {
      int[] ids = random.ints(step.positions(), 0, vocab).toArray();
      rows.add(Example.of(ids, ids.clone()));
    }
    return MicroBatch.of(rows);
  }

  private static void step(Model model, Kernels kernels) {
    model.parameters().step(kernels, new Parameters.AdamW(1e-3f, 0.9f, 0.999f, 1e-8f, 0), 1, 1);
  }

  @ParameterizedTest
  @MethodSource("seeds")
  void planArenaAndCountAreOneNumber(int seed) {
    Random random = new Random(seed);
    try (BaseModel base = base(random); Kernels kernels = StandIn.open(random.nextBoolean() ? "cc=8.0" : "cc=7.5")) {
      ModelSpec spec = base.spec();
      Tuning.Lora lora = lora(random, spec);
      Storage storage = pick(random, List.of(Storage.values()));
      Layout layout = layout(random, spec.layers());
      int documents = 1 + random.nextInt(3);
      int length = 1 + random.nextInt(20);
      StepShape step =
          new StepShape(kernels.computeDtype(null), layout.activations().again(), documents * length, documents, length)
              .withMoments(pick(random, List.of(Moments.values())));
      Plan planned =
          TrainingPlan.of(
              spec, lora, step, layout,
              new Needs(
                  Model.crossEntropyBytes(kernels, spec, lora, step, layout),
                  kernels.workspaceBytes(TrainingPlan.largest(spec, lora, step)),
                  UncachedBase.bytes(base, storage, step.compute())));
      try (CpuKernels host = new CpuKernels();
          LayerCache cache = LayerCache.open(host, base, storage, step.compute(), folder.resolve("cache"), note -> {})) {
        MicroBatch batch = batch(random, step, spec.vocab());
        // Loading a kernel takes a few bytes for its constants; they are the context's, and here before anything is counted.
        try (Model model = Model.open(kernels, spec, cache, lora, storage, step, layout)) {
          model.train(batch, 1f, seed, 0);
          step(model, kernels);
        }
        long before = StandIn.counter("bytes_in_use");
        long pinned = StandIn.counter("pinned_bytes");
        long earlier = StandIn.counter("peak_bytes");
        try (Model model = Model.open(kernels, spec, cache, lora, storage, step, layout)) {
          AdapterStart.fill(model.parameters(), lora, seed);
          long allocations = StandIn.counter("allocations");
          model.parameters().zeroGradients();
          assertThat(model.train(batch, 1f / batch.tokens(), seed, 0)).isFinite();
          step(model, kernels);
          assertThat(model.evaluate(batch)).isFinite();
          assertThat(StandIn.counter("allocations")).as("a step allocates nothing").isEqualTo(allocations);
          assertThat(model.plan().arenaBytes()).as("the plan made before anything was read").isEqualTo(planned.arenaBytes());
          assertThat(StandIn.counter("bytes_in_use") - before).as("what the driver counts").isEqualTo(planned.arenaBytes());
          assertThat(StandIn.counter("pinned_bytes") - pinned).as("what it pins").isEqualTo(planned.hostBytes(true));
          assertThat(StandIn.counter("peak_bytes")).as("at most").isEqualTo(Math.max(earlier, before + planned.arenaBytes()));
        }
        assertThat(StandIn.counter("bytes_in_use")).isEqualTo(before);
        assertThat(StandIn.counter("pinned_bytes")).isEqualTo(pinned);
      }
    }
  }
}
