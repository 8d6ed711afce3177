package dev.hone.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import dev.hone.format.Checkpoint;
import dev.hone.testing.Golden;
import dev.hone.testing.TrainingRun;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * The reference's 20 steps by the trainer's own front door: YAML and a file of tokenized rows in, logs and adapter out.
 * Tolerances are
 * those of golden/README.md.
 */
class GoldenRunTest {
  private static final double LOSS = 1e-4;
  private static final double GRADIENT_NORM = 1e-4;
  private static final double ADAPTER = 1e-4;

  @TempDir Path folder;

  @ParameterizedTest
  @ValueSource(strings = {"models/llama", "qlora/llama_nf4_dq"})
  void logsAndAdapterAreTheReferences(String model) {
    TrainingRun run = TrainingRun.golden(folder, model);
    TrainingRun.Told told = run.run();

    Path golden = Golden.committed(model).resolve("golden");
    JsonNode want = Golden.json(golden.resolve("golden.json")).path("train").path("log");
    List<JsonNode> log = run.log();
    assertThat(log).hasSize(20);
    assertThat(told.steps).hasSize(20);
    for (int i = 0; i < 20; i++) {
      JsonNode line = log.get(i);
      String at = "step " + (i + 1);
      assertThat(line.path("current_steps").asInt()).isEqualTo(i + 1);
      assertThat(line.path("total_steps").asInt()).isEqualTo(20);
      assertThat(line.path("loss").asDouble()).as(at + " loss")
          .isCloseTo(want.get(i).path("loss").asDouble(), within(LOSS));
      double norm = want.get(i).path("grad_norm").asDouble();
      assertThat(line.path("grad_norm").asDouble()).as(at + " norm").isCloseTo(norm, within(GRADIENT_NORM * norm));
      // The same double arithmetic as the reference's: a few roundings apart.
      assertThat(line.path("lr").asDouble()).as(at + " lr").isCloseTo(want.get(i).path("lr").asDouble(), within(1e-15));
    }

    Map<String, float[]> reference = TrainingRun.tensors(golden.resolve("adapter_final/adapter_model.safetensors"));
    Map<String, float[]> got = TrainingRun.tensors(run.output().resolve("adapter_model.safetensors"));
    assertThat(got.keySet()).isEqualTo(reference.keySet());
    reference.forEach((name, values) -> assertThat(got.get(name)).as(name)
        .containsExactly(values, within((float) ADAPTER)));
  }

  @Test
  void theOutputFolderHasTheFilesAndKeysThatToolsRead() throws Exception {
    TrainingRun run = TrainingRun.golden(folder, "models/llama")
        .with("max_steps", 4).with("plot_loss", true).with("save_strategy", "steps")
        .with("save_steps", 2).with("logging_steps", 2).with("val_size", 4).with("eval_strategy", "steps");
    TrainingRun.Told told = run.run();
    Path out = run.output();

    assertThat(out).isDirectoryContaining("glob:**/adapter_config.json");
    assertThat(names(out)).containsExactlyInAnyOrder(
        "adapter_config.json", "adapter_model.safetensors", "trainer_log.jsonl", "trainer_state.json",
            "training_loss.png",
        "checkpoint-2", "checkpoint-4");
    assertThat(names(out.resolve("checkpoint-2"))).containsExactlyInAnyOrder(
        "adapter_config.json", "adapter_model.safetensors", "optimizer.safetensors", "trainer_state.json");
    assertThat(told.saved).containsExactly(out.resolve("checkpoint-2"), out.resolve("checkpoint-4"), out);
    assertThat(told.end.output()).isEqualTo(out);

    List<JsonNode> log = run.log();
    assertThat(log).hasSize(4);
    assertThat(log.get(0).properties().stream().map(Map.Entry::getKey)).containsExactlyInAnyOrder(
        "current_steps", "total_steps", "loss", "lr", "grad_norm", "epoch", "percentage", "elapsed_time",
            "remaining_time",
        "throughput");
    double mean = (told.steps.get(0).loss() + told.steps.get(1).loss()) / 2;
    assertThat(log.get(0).path("loss").asDouble()).as("mean since the last line").isEqualTo(mean);
    assertThat(log.get(0).path("percentage").asDouble()).isEqualTo(50);
    assertThat(log.get(1).path("eval_loss").asDouble()).isEqualTo(told.evaluations.getFirst().loss());
    assertThat(log.get(3).has("eval_loss")).isTrue();

    JsonNode state = Golden.json(out.resolve("trainer_state.json"));
    assertThat(state.path("global_step").asInt()).isEqualTo(4);
    assertThat(state.path("max_steps").asInt()).isEqualTo(4);
    JsonNode rows = state.path("log_history");
    assertThat(rows).hasSize(4);
    assertThat(rows.get(0).properties().stream().map(Map.Entry::getKey))
        .containsExactlyInAnyOrder("epoch", "grad_norm", "learning_rate", "loss", "step");
    assertThat(rows.get(1).properties().stream().map(Map.Entry::getKey))
        .contains("epoch", "eval_loss", "eval_runtime", "eval_samples_per_second", "step");

    JsonNode peft = Golden.json(out.resolve("adapter_config.json"));
    assertThat(peft.path("peft_type").asText()).isEqualTo("LORA");
    assertThat(peft.path("r").asInt()).isEqualTo(8);
    assertThat(peft.path("lora_alpha").asInt()).isEqualTo(16);
    assertThat(peft.path("inference_mode").asBoolean()).isTrue();
    byte[] png = Files.readAllBytes(out.resolve("training_loss.png"));
    assertThat(png).startsWith(0x89, 'P', 'N', 'G', '\r', '\n', 0x1a, '\n').hasSizeGreaterThan(2000);
    assertThat(javax.imageio.ImageIO.read(out.resolve("training_loss.png").toFile()).getWidth()).isEqualTo(960);
  }

  @Test
  void fullFineTuningLeavesAModelThatTrainsOn() {
    TrainingRun first = TrainingRun.golden(folder, "models/llama")
        .with("adapter_name_or_path", null).with("finetuning_type", "full")
        .with("learning_rate", "1e-3").with("num_train_epochs", 2);
    TrainingRun.Told told = first.run();
    assertThat(told.losses().getLast()).as("falls").isLessThan(told.losses().getFirst() - 0.5);
    try (Checkpoint written = Checkpoint.open(first.output());
        Checkpoint base = Checkpoint.open(Golden.committed("models/llama"))) {
      assertThat(written.names()).containsExactlyInAnyOrderElementsOf(base.names());
      for (String name : base.names()) {
        assertThat(written.type(name)).as(name).isEqualTo(base.type(name));
        assertThat(written.shape(name)).as(name).isEqualTo(base.shape(name));
        assertThat(written.tensor(name).toFloats()).as(name + " was trained")
            .isNotEqualTo(base.tensor(name).toFloats());
      }
    }
    assertThat(names(first.output())).contains("config.json", "model.safetensors")
        .doesNotContain("adapter_config.json");

    // A rate of 0 shows the loss of the weights as they are read back.
    TrainingRun again = first.to("again").with("model_name_or_path", first.output()).with("learning_rate", 0)
        .with("num_train_epochs", 1);
    double mean = again.run().losses().stream().mapToDouble(Double::doubleValue).average().orElseThrow();
    assertThat(mean).as("goes on where the first run ended").isLessThan(told.losses().getFirst() - 0.5);
  }

  private static List<String> names(Path folder) {
    try (var list = Files.list(folder)) {
      return list.map(p -> p.getFileName().toString()).toList();
    } catch (java.io.IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }
}
