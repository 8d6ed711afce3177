package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import dev.hone.testing.Residency;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A base read layer by layer computes what one in memory computes, and its pages are really gone. */
class MappedBaseTest {
  private static final int LAYERS = 12;
  private static final int[] IDS = {5, 9, 33, 7, 80, 2, 41, 11, 60, 3};

  private final CpuKernels kernels = new CpuKernels();

  @TempDir
  private Path folder;

  /** 12 layers of about 0.8 MB in NF4, vocabulary 2000: an embedding and a head of 1 MB. */
  private BaseModel base() {
    String json = """
        {"model_type": "llama", "vocab_size": 2000, "hidden_size": 256, "intermediate_size": 1536, "num_hidden_layers": %d,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}"""
        .formatted(LAYERS);
    NewModel.write(kernels, json, "test", 7, folder.resolve("model"));
    return BaseModel.open(folder.resolve("model"));
  }

  private LayerCache cache(BaseModel base) {
    return LayerCache.open(kernels, base, Storage.NF4_DOUBLE_QUANTISED, folder.resolve("cache"), note -> {});
  }

  private static Tuning.Lora lora(ModelSpec spec) {
    List<Tuning.Lora.Target> targets = new ArrayList<>();
    for (int layer = 0; layer < spec.layers(); layer++) {
      targets.add(new Tuning.Lora.Target(layer, Projection.Q, 2, 2f));
      targets.add(new Tuning.Lora.Target(layer, Projection.DOWN, 2, 2f));
    }
    return new Tuning.Lora(targets, 0);
  }

  /** Two micro-batches and an evaluation: losses and all gradients. */
  private List<float[]> run(BaseModel base, WeightSource source, Storage storage) {
    MicroBatch batch = MicroBatch.of(List.of(Example.of(IDS, IDS.clone())));
    Tuning.Lora lora = lora(base.spec());
    StepShape step = new StepShape(DType.F32, true, IDS.length, 1, IDS.length);
    try (Model model = Model.open(kernels, base.spec(), source, lora, storage, step)) {
      StirredAdapter.fill(model.parameters(), lora, 3);
      float first = (float) model.train(batch, 1f / batch.validTargets(), 0, 0);
      float evaluated = (float) model.evaluate(batch);
      float second = (float) model.train(batch, 1f / batch.validTargets(), 0, 0);
      List<float[]> all = new ArrayList<>();
      all.add(new float[] {first, evaluated, second});
      model.parameters().all().forEach(p -> all.add(p.gradient().toFloats()));
      return all;
    }
  }

  private static void assertSame(List<float[]> got, List<float[]> want) {
    assertThat(got).usingRecursiveComparison().isEqualTo(want);
    assertThat(got.getFirst()[0]).isPositive();
  }

  @Test
  void pagesThatDoNotFitAreLetGoAndResultsAreTheSame() {
    try (BaseModel base = base();
        LayerCache cache = cache(base)) {
      Path file = cache.file().path();
      List<float[]> whole = run(base, cache, Storage.NF4_DOUBLE_QUANTISED);
      long layer = cache.file().index().blobBytes("layers.0");
      long tables = cache.file().index().blobBytes("embedding") + cache.file().index().blobBytes("head");
      assumeTrue(Residency.isKnown(), "skipped: no /proc/self/smaps to read the resident pages of a mapping from");
      assertThat(Residency.of(file)).as("all of it was read").isGreaterThan(LAYERS * layer);

      MappedBase none = new MappedBase(cache, base.spec(), 1);
      assertThat(none.residentLayers()).isZero();
      assertSame(run(base, none, Storage.NF4_DOUBLE_QUANTISED), whole);
      assertThat(Residency.of(file)).as("after the walk down: the last two layers walked").isLessThan(3 * layer);

      MappedBase some = new MappedBase(cache, base.spec(), 7 * layer + tables / 2);
      assertThat(some.residentLayers()).isEqualTo(5);
      assertSame(run(base, some, Storage.NF4_DOUBLE_QUANTISED), whole);
      assertThat(Residency.of(file)).as("five layers stay").isBetween(5 * layer, 8 * layer);
    }
  }

  @Test
  void aBaseThatFitsIsLeftAlone() {
    try (BaseModel base = base();
        LayerCache cache = cache(base)) {
      MappedBase mapped = new MappedBase(cache, base.spec(), cache.file().bytes());
      assertThat(mapped.residentLayers()).isEqualTo(LAYERS);
      run(base, mapped, Storage.NF4_DOUBLE_QUANTISED);
      assumeTrue(Residency.isKnown(), "skipped: no /proc/self/smaps to read the resident pages of a mapping from");
      assertThat(Residency.of(cache.file().path())).isGreaterThan(LAYERS * cache.file().index().blobBytes("layers.0"));
    }
  }

  @Test
  void decodingIsTheSame() {
    try (BaseModel base = base();
        LayerCache cache = cache(base)) {
      float[] whole = logits(base, cache);
      assertThat(logits(base, new MappedBase(cache, base.spec(), 1))).isEqualTo(whole);
    }
  }

  /** A prompt, then a token alone. */
  private float[] logits(BaseModel base, WeightSource source) {
    try (Decoder decoder =
        Decoder.open(kernels, base.spec(), source, new Tuning.None(), Storage.NF4_DOUBLE_QUANTISED, DType.F32, 32)) {
      decoder.feed(IDS);
      return decoder.feed(6);
    }
  }

  /** A checkpoint's own mapping is walked likewise; looking for NaN at the start leaves nothing behind. */
  @Test
  void aStoredCheckpointIsWalkedWhereItIsMapped() {
    try (BaseModel base = base()) {
      assertThat(base.isMapped()).isTrue();
      List<float[]> whole = run(base, base, Storage.AS_STORED);
      MappedBase none = new MappedBase(base, base.spec(), 1);
      assertSame(run(base, none, Storage.AS_STORED), whole);
      assumeTrue(Residency.isKnown(), "skipped: no /proc/self/smaps to read the resident pages of a mapping from");
      assertThat(Residency.of(folder.resolve("model/model.safetensors"))).isLessThan(none.mappedBytes() / LAYERS * 3);
    }
  }
}
