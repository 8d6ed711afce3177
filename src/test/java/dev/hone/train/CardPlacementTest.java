package dev.hone.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.assertj.core.api.Assertions.withinPercentage;

import dev.hone.config.UserError;
import dev.hone.engine.BaseModel;
import dev.hone.engine.NewModel;
import dev.hone.engine.Storage;
import dev.hone.engine.UncachedBase;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.tensor.DType;
import dev.hone.testing.StandIn;
import dev.hone.testing.TokenizedRows;
import dev.hone.testing.TrainingRun;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.AfterEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A run on a card lies where the plan puts it, by itself or as the YAML says, and computes the same wherever that is. */
class CardPlacementTest {
  private static final String LARGE = "cc=8.0 vram=4294967296";

  @TempDir
  private Path folder;

  @AfterEach
  void aFreshCard() {
    StandIn.library(LARGE);
  }

  private Path model(int layers) {
    String json = """
        {"model_type": "llama", "vocab_size": 96, "hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": %d,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}"""
        .formatted(layers);
    Path model = folder.resolve("model" + layers);
    if (!Files.exists(model)) {
      try (CpuKernels kernels = new CpuKernels()) {
        NewModel.write(kernels, json, "test", 7, model);
      }
    }
    return model;
  }

  /** Three steps of one short row each on a card of these settings. */
  private TrainingRun run(String card, int layers) {
    return run(card, layers, TokenizedRows.random(folder.resolve("rows.jsonl"), 3, 6, 8, 96, 5));
  }

  private TrainingRun run(String card, int layers, Path rows) {
    return new TrainingRun(folder, model(layers), rows)
        .with("device", "cuda").with("cuda_driver", StandIn.library(card)).with("quantization_bit", 4)
        .with("layer_cache_dir", folder.resolve("cache")).with("lora_target", "v_proj").with("lora_rank", 2)
        .with("lora_dropout", 0.1).with("per_device_train_batch_size", 1).with("learning_rate", "1e-2").with("max_steps", 3)
        .with("overwrite_output_dir", true);
  }

  private static String places(TrainingRun.Told told) {
    return told.plan.summary().stream().filter(line -> line.startsWith("places")).findFirst().orElseThrow();
  }

  private long caches() {
    try (Stream<Path> files = Files.list(folder.resolve("cache"))) {
      return files.count();
    } catch (IOException e) {
      return 0;
    }
  }

  @Test
  void weightsSixTimesTheCardTrainAsResidentOnesDo() {
    int layers = 40;
    TrainingRun.Told resident = run(LARGE, layers).run();
    assertThat(resident.plan.summary()).anySatisfy(
        line -> assertThat(line).startsWith("memory").contains("that the context and other programs have, of 4.00 GiB"));
    assertThat(places(resident)).contains("all 40 layers stay on the device (they fit)");
    long weights;
    try (BaseModel base = BaseModel.open(model(layers))) {
      weights = layers * UncachedBase.bytes(base, Storage.NF4_DOUBLE_QUANTISED, DType.BF16).layer();
    }
    // AdamW on the host rounds otherwise than on the card, so it stays there.
    TrainingRun.Told streamed = run("cc=8.0 vram=" + weights / 6, layers).with("optimizer_placement", "device")
        .with("output_dir", folder.resolve("streamed")).run();
    assertThat(places(streamed)).contains("of 40 layers stay on the device, the others stream");
    System.out.printf("weights %d bytes, card %d bytes%n%s%n", weights, weights / 6, places(streamed));
    assertThat(streamed.losses()).hasSize(3).isEqualTo(resident.losses());
    assertThat(TrainingRun.bytes(folder.resolve("streamed/adapter_model.safetensors")))
        .isEqualTo(TrainingRun.bytes(folder.resolve("out/adapter_model.safetensors")));
    assertThat(caches()).as("one form, one file").isEqualTo(1);
  }

  /** Where the stand-in's link, which is measured, is slower than its kernels, layers keep theirs with save_all. */
  private static String asSet(String activations) {
    return "activations: " + activations + "( of the first \\d of 5 layers; \\d keep theirs on the device)? \\(as set\\)";
  }

  @Test
  void whatTheYamlFixesStaysFixed() {
    List<Double> losses = run(LARGE, 5).run().losses();
    TrainingRun.Told told = run(LARGE, 5).with("resident_layers", 2).with("embedding_placement", "host")
        .with("activation_placement", "recompute").run();
    assertThat(places(told)).contains("2 of 5 layers stay", "(as set)", "activations: recompute (as set)", "embedding: host (as set)");
    assertThat(told.losses()).isEqualTo(losses);
    told = run(LARGE, 5).with("head_placement", "host").with("embedding_placement", "host").run();
    assertThat(places(told)).contains("head: host (as set)", "embedding: host (as set)");
    assertThat(told.losses()).isEqualTo(losses);
    for (String activations : List.of("keep", "offload", "save_all")) {
      told = run(LARGE, 5).with("activation_placement", activations).run();
      assertThat(places(told)).containsPattern(asSet(activations));
      assertThat(told.losses()).isEqualTo(losses);
    }
    told = run(LARGE, 5).with("weight_placement", "streamed").with("gradient_checkpointing", true).run();
    assertThat(places(told)).contains("0 of 5 layers stay", "activations: recompute (as set)");
    assertThat(told.losses()).isEqualTo(losses);
    for (String activations : List.of("keep", "offload", "save_all")) {
      told = run(LARGE, 5).with("weight_placement", "streamed").with("activation_placement", activations).run();
      assertThat(places(told)).contains("0 of 5 layers stay").containsPattern(asSet(activations));
      assertThat(told.losses()).as(activations).isEqualTo(losses);
    }
    told = run(LARGE, 5).with("head_placement", "host").with("optimizer_placement", "host").run();
    assertThat(places(told)).contains("head: host (as set)", "optimizer: host (as set)");
    for (int step = 0; step < 3; step++) {
      assertThat(told.losses().get(step)).as("other sums").isCloseTo(losses.get(step), withinPercentage(0.1));
    }
  }

  @Test
  void withoutALayerCacheTheBaseIsQuantisedIntoTheCard() {
    List<Double> losses = run(LARGE, 3).run().losses();
    assertThat(caches()).isEqualTo(1);
    TrainingRun.Told told = run(LARGE, 3).with("layer_cache", false).with("layer_cache_dir", folder.resolve("none")).run();
    assertThat(told.losses()).isEqualTo(losses);
    assertThat(folder.resolve("none")).doesNotExist();
    assertThatThrownBy(() -> run(LARGE, 3).with("layer_cache", false).with("weight_placement", "streamed").run())
        .isInstanceOf(UserError.class).hasMessageContaining("run.yaml:").hasMessageContaining("what streams comes from the layer cache");
  }

  @Test
  void aBaseThatIsNotQuantisedStreamsToo() {
    TrainingRun.Told resident = run(LARGE, 3).with("quantization_bit", null).run();
    assertThat(caches()).as("a resident base needs no file").isZero();
    TrainingRun.Told streamed = run(LARGE, 3).with("quantization_bit", null).with("weight_placement", "streamed").run();
    assertThat(caches()).isEqualTo(1);
    assertThat(streamed.losses()).isEqualTo(resident.losses());
  }

  @Test
  void anInt8BaseStreamsToo() {
    TrainingRun.Told resident = run(LARGE, 3).with("quantization_bit", 8).run();
    TrainingRun.Told streamed = run(LARGE, 3).with("quantization_bit", 8).with("weight_placement", "streamed").run();
    assertThat(places(streamed)).contains("0 of 3 layers stay");
    assertThat(streamed.losses()).isEqualTo(resident.losses());
  }

  @Test
  void whatCannotFitIsRefusedBeforeAnythingIsMade() {
    assertThatThrownBy(() -> run(LARGE, 5).with("vram_limit", "1500KB").with("weight_placement", "resident").run())
        .isInstanceOf(UserError.class).hasMessageContaining("run.yaml: this run needs at least")
        .hasMessageContaining("leave the placement keys out");
    assertThatThrownBy(() -> run("cc=8.0 vram=262144", 5).run())
        .isInstanceOf(UserError.class).hasMessageContaining("run.yaml: this run needs at least");
    assertThat(folder.resolve("cache")).doesNotExist();
  }

  @Test
  void theRowsOfAStepAreDealtSoThatTheyFit() {
    Path rows = TokenizedRows.random(folder.resolve("rows.jsonl"), 3, 50, 60, 96, 5);
    TrainingRun.Told wide = run(LARGE, 3, rows).with("lora_dropout", 0).with("per_device_train_batch_size", 3).with("max_steps", 1).run();
    TrainingRun tight = run("cc=8.0 vram=2250000", 3, rows).with("lora_dropout", 0).with("per_device_train_batch_size", 3)
        .with("max_steps", 1).with("weight_placement", "resident").with("activation_placement", "recompute");
    assertThatThrownBy(tight::run).isInstanceOf(UserError.class).hasMessageContaining("auto_find_batch_size: true");
    TrainingRun.Told dealt = tight.with("auto_find_batch_size", true).run();
    assertThat(dealt.plan.summary()).anySatisfy(line -> assertThat(line).contains("1 of 3 x 1 rows (auto_find_batch_size)"));
    assertThat(dealt.losses().getFirst()).as("bf16, other sums").isCloseTo(wide.losses().getFirst(), withinPercentage(0.1));
  }

  @Test
  void onTheCpuTheKeysOfACardChangeNothingAndSaySo() {
    TrainingRun run = run(LARGE, 2).with("device", "cpu").with("cuda_driver", null).with("vram_limit", "6GB");
    assertThat(run.run().warnings).anySatisfy(line -> assertThat(line).contains("vram_limit is for a card"));
  }
}
