package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.UserError;
import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.Layout;
import dev.hone.plan.Layout.Activations;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import dev.hone.testing.StandIn;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Layers that pass through two slots compute what resident ones compute, bit for bit, on a card that holds a sixth of the weights. */
class StreamingTest {
  @TempDir
  private Path folder;

  private BaseModel base(int layers) {
    return base(layers, false);
  }

  private BaseModel base(int layers, boolean tied) {
    String json = """
        {"model_type": "llama", "vocab_size": 96, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": %d,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5,
         "tie_word_embeddings": %b}"""
        .formatted(layers, tied);
    Path model = folder.resolve("model" + layers + tied);
    try (CpuKernels kernels = new CpuKernels()) {
      NewModel.write(kernels, json, "test", 7, model);
    }
    return BaseModel.open(model);
  }

  private LayerCache cache(BaseModel base, Storage storage, DType matrices) {
    try (CpuKernels host = new CpuKernels()) {
      return LayerCache.open(host, base, storage, matrices, folder.resolve("cache"), note -> {});
    }
  }

  /** Adapters at the bottom, in the middle and at the top: backward walks all layers, and little of the card is theirs. */
  private static Tuning.Lora lora(ModelSpec spec) {
    List<Tuning.Lora.Target> targets = new ArrayList<>();
    targets.add(new Tuning.Lora.Target(0, Projection.Q, 2, 2f));
    targets.add(new Tuning.Lora.Target(spec.layers() / 2, Projection.V, 2, 2f));
    targets.add(new Tuning.Lora.Target(spec.layers() - 1, Projection.DOWN, 2, 2f));
    return new Tuning.Lora(targets, 0);
  }

  private static Layout layout(int resident, boolean again, boolean embedding) {
    return layout(resident, again, true, embedding);
  }

  private static Layout layout(int resident, boolean again, boolean head, boolean embedding) {
    return new Layout(
        Layout.Weights.ARENA, resident, again ? Activations.RECOMPUTE : Activations.KEEP, head, embedding, true);
  }

  private record Result(
      double first, double second, double evaluated, List<float[]> gradients, float[] next, float[] logits, long arenaBytes) {}

  /** Two micro-batches and an evaluation, so that the walk turns and begins anew. */
  private static Result run(Kernels kernels, BaseModel base, LayerCache cache, Layout layout) {
    return run(kernels, base, cache, layout, false);
  }

  /** What follows a text and one token more, by a decoder that borrows the model's weights. */
  private static float[] next(Model model, int[] text) {
    try (Decoder decoder = model.decoder(text.length + 1)) {
      decoder.feed(text);
      return decoder.feed(4);
    }
  }

  /** @param decodes between the micro-batches, with memory of its own */
  private static Result run(Kernels kernels, BaseModel base, LayerCache cache, Layout layout, boolean decodes) {
    int[] ids = {5, 9, 33, 7, 80, 2, 41, 11, 60, 3};
    MicroBatch batch = MicroBatch.of(List.of(Example.of(ids, ids.clone())));
    Tuning.Lora lora = lora(base.spec());
    DType compute = kernels.computeDtype(DType.F32);
    StepShape step = new StepShape(compute, layout.activations().again(), ids.length, 1, ids.length);
    try (Model model = Model.open(kernels, base.spec(), cache, lora, Storage.NF4_DOUBLE_QUANTISED, step, layout)) {
      StirredAdapter.fill(model.parameters(), lora, 3);
      model.parameters().zeroGradients();
      double first = model.train(batch, 1f / batch.validTargets(), 0, 0);
      double evaluated = model.evaluate(batch);
      float[] next = decodes ? next(model, ids) : null;
      double second = model.train(batch, 1f / batch.validTargets(), 0, 0);
      List<float[]> gradients = new ArrayList<>();
      model.parameters().all().forEach(p -> gradients.add(p.gradient().toFloats()));
      return new Result(first, second, evaluated, gradients, next, decodes ? model.logits(batch) : null, model.plan().arenaBytes());
    }
  }

  private static void assertSame(Result got, Result want) {
    assertThat(got.first).isEqualTo(want.first);
    assertThat(got.second).isEqualTo(want.second);
    assertThat(got.evaluated).isEqualTo(want.evaluated);
    assertThat(got.next).isEqualTo(want.next);
    assertThat(got.logits).isEqualTo(want.logits);
    assertThat(got.gradients).usingRecursiveComparison().isEqualTo(want.gradients);
  }

  @ParameterizedTest
  @ValueSource(strings = {"cc=8.0", "cc=7.5"})
  void everyResidencyComputesTheSame(String card) {
    try (Kernels kernels = StandIn.open(card); BaseModel base = base(5);
        LayerCache cache = cache(base, Storage.NF4_DOUBLE_QUANTISED, kernels.computeDtype(DType.F32))) {
      for (boolean again : new boolean[] {true, false}) {
        Result resident = run(kernels, base, cache, layout(5, again, true));
        assertThat(resident.first).isEqualTo(resident.second).isEqualTo(resident.evaluated).isPositive();
        for (int layers : new int[] {0, 1, 2, 4}) {
          assertSame(run(kernels, base, cache, layout(layers, again, layers % 2 == 0)), resident);
        }
      }
    }
  }

  /** Slabs of the head pass through two slots; tied, with neither the head nor the table it is on the card. */
  @ParameterizedTest
  @ValueSource(strings = {"cc=8.0", "cc=7.5"})
  void aHeadInSlabsComputesTheSame(String card) {
    for (boolean tied : new boolean[] {false, true}) {
      try (Kernels kernels = StandIn.open(card); BaseModel base = base(3, tied);
          LayerCache cache = cache(base, Storage.NF4_DOUBLE_QUANTISED, kernels.computeDtype(DType.F32))) {
        Result resident = run(kernels, base, cache, layout(3, true, true, true), true);
        assertSame(run(kernels, base, cache, layout(3, true, false, false), true), resident);
        assertSame(run(kernels, base, cache, layout(1, false, false, true), true), resident);
      }
    }
  }

  @Test
  void aModelSixTimesTheCardTrains() {
    int layers = 40;
    BaseModel base = base(layers);
    Result resident;
    LayerCache cache = cache(base, Storage.NF4_DOUBLE_QUANTISED, DType.BF16);
    try (base; cache) {
      try (Kernels large = StandIn.open("cc=8.0")) {
        resident = run(large, base, cache, layout(layers, true, true));
      }
      long weights = layers * cache.blobs(base.spec()).layer();
      long cap = weights / 6;
      try (Kernels small = StandIn.open("cc=8.0 vram=" + cap)) {
        long inUse = StandIn.counter("bytes_in_use");
        Result streamed = run(small, base, cache, layout(0, true, false));
        assertThat(StandIn.counter("peak_bytes") - inUse).as("what the card counted").isBetween(streamed.arenaBytes, streamed.arenaBytes + 64);
        System.out.printf("weights %d bytes, card %d bytes, arena %d bytes%n", weights, cap, streamed.arenaBytes);
        assertThat(streamed.arenaBytes).isLessThan(cap);
        assertSame(streamed, resident);
        assertThatThrownBy(() -> run(small, base, cache, layout(layers, true, true))).isInstanceOf(UserError.class);
      } finally {
        StandIn.library("cc=8.0 vram=4294967296");
      }
    }
  }
}
