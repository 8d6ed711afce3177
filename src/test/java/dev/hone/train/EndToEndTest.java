package dev.hone.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import dev.hone.testing.Golden;
import dev.hone.testing.GoldenFiles;
import dev.hone.testing.TrainingRun;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The reference's end-to-end set: alpaca records, prompt template, tokenizer, cutting, padding and 18 LoRA steps on a
 * trained model, as
 * one YAML. Between fp32 and fp64 the reference itself differs by 4e-7 in the loss and 2.8e-5 in the adapter
 * (golden/README.md).
 */
class EndToEndTest {
  private static final double LOSS = 1e-4;
  private static final double GRADIENT_NORM = 1e-4;
  private static final float ADAPTER = 1e-4f;

  @TempDir Path folder;

  @Test
  void eighteenStepsOnAlpacaAreTheReferences() {
    Path e2e = GoldenFiles.find("e2e");
    Path records = GoldenFiles.find("data/alpaca_en_demo.json.gz");
    Path stories = GoldenFiles.find("stories260K");
    TrainingRun run = new TrainingRun(folder, stories, records)
        .with("adapter_name_or_path", e2e.resolve("adapter_init").toAbsolutePath())
        .with("template", "plain_alpaca")
        .with("overlong", "cut_end")
        .with("cutoff_len", 192)
        .with("max_samples", 48)
        .with("disable_shuffling", true)
        .with("per_device_train_batch_size", 4)
        .with("gradient_accumulation_steps", 2)
        .with("num_train_epochs", 3)
        .with("learning_rate", "3e-3")
        .with("lr_scheduler_type", "cosine")
        .with("warmup_steps", 2)
        .with("weight_decay", 0.01);
    TrainingRun.Told told = run.run();

    JsonNode want = Golden.json(e2e.resolve("e2e.json")).path("log");
    assertThat(told.steps).hasSize(18).hasSize(want.size());
    for (int i = 0; i < 18; i++) {
      TrainListener.StepReport step = told.steps.get(i);
      String at = "step " + (i + 1);
      double norm = want.get(i).path("grad_norm").asDouble();
      assertThat(step.loss()).as(at + " loss").isCloseTo(want.get(i).path("loss").asDouble(), within(LOSS));
      assertThat(step.gradNorm()).as(at + " norm").isCloseTo(norm, within(GRADIENT_NORM * norm));
      assertThat(step.learningRate()).as(at + " lr").isCloseTo(want.get(i).path("lr").asDouble(), within(1e-15));
    }
    Map<String, float[]> reference = TrainingRun.tensors(e2e.resolve("adapter_final/adapter_model.safetensors"));
    Map<String, float[]> got = TrainingRun.tensors(run.output().resolve("adapter_model.safetensors"));
    assertThat(got.keySet()).isEqualTo(reference.keySet());
    reference.forEach((name, values) -> assertThat(got.get(name)).as(name).containsExactly(values, within(ADAPTER)));
    assertThat(run.output().resolve("tokenizer.json")).exists();
  }
}
