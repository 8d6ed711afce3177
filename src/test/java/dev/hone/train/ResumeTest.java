package dev.hone.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import dev.hone.config.UserError;
import dev.hone.testing.Golden;
import dev.hone.testing.TokenizedRows;
import dev.hone.testing.TrainingRun;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** A run that goes on from a checkpoint ends in the very bytes of one that never stopped. */
class ResumeTest {
  private static final String ADAPTER = "adapter_model.safetensors";

  @TempDir Path folder;
  private Path rows;

  @BeforeEach
  void rows() {
    rows = TokenizedRows.random(folder.resolve("rows.jsonl"), 14, 6, 20, 512, 1);
  }

  /** Ten steps over 2.5 shuffled epochs whose last step is short, with dropout. */
  private TrainingRun tenSteps() {
    return new TrainingRun(folder, Golden.committed("models/llama"), rows)
        .with("gradient_accumulation_steps", 2)
        .with("max_steps", 10)
        .with("lora_dropout", 0.1)
        .with("learning_rate", "2e-3")
        .with("lr_scheduler_type", "cosine")
        .with("warmup_steps", 2)
        .with("weight_decay", 0.01);
  }

  private static byte[] adapter(TrainingRun run) {
    return TrainingRun.bytes(run.output().resolve(ADAPTER));
  }

  /** Rank 65 has matrices of 4160 elements, which have 8-bit moments and end within a block; full has some of each form. */
  @ParameterizedTest
  @CsvSource({"lora, 8, adamw_torch", "full, , adamw_torch", "lora, 65, adamw_8bit", "full, , adamw_8bit"})
  void goesOnBitForBit(String method, Integer rank, String optim) {
    String result = method.equals("lora") ? ADAPTER : "model.safetensors";
    TrainingRun straight =
        tenSteps().with("finetuning_type", method).with("lora_rank", rank).with("optim", optim).to("straight");
    TrainingRun.Told all = straight.run();
    TrainingRun half = straight.to("half").with("save_strategy", "steps").with("save_steps", 5);
    half.run();
    assertThat(TrainingRun.bytes(half.output().resolve(result)))
        .as("saving changes nothing")
        .isEqualTo(TrainingRun.bytes(straight.output().resolve(result)));

    TrainingRun rest = half.to("rest").with("resume_from_checkpoint", half.output().resolve("checkpoint-5"));
    TrainingRun.Told told = rest.run();
    assertThat(told.plan.firstStep()).isEqualTo(5);
    assertThat(told.losses()).isEqualTo(all.losses().subList(5, 10));
    assertThat(TrainingRun.bytes(rest.output().resolve(result)))
        .isEqualTo(TrainingRun.bytes(straight.output().resolve(result)));
    assertThat(Golden.json(rest.output().resolve("trainer_state.json")).path("log_history"))
        .as("the history has the steps before the checkpoint too")
        .isEqualTo(Golden.json(straight.output().resolve("trainer_state.json")).path("log_history"));
  }

  /**
   * Polls 0 and 1 are the micro-batches of step 1: stopped before anything, within a step, before an epoch's
   * short last step, between epochs, within the second.
   */
  @ParameterizedTest
  @CsvSource({"0, 0", "5, 2", "6, 3", "7, 4", "12, 6"})
  void anInterruptSavesWhatWasDone(int poll, int stepsDone) throws Exception {
    TrainingRun straight = tenSteps().to("straight");
    straight.run();
    TrainingRun stopped = straight.to("stopped");
    TrainingRun.Told told = stopped.stopAt(poll);
    Path checkpoint = stopped.output().resolve("checkpoint-" + stepsDone);
    assertThat(told.end.interrupted()).isTrue();
    assertThat(told.end.steps()).isEqualTo(stepsDone);
    assertThat(told.end.output()).isEqualTo(checkpoint);
    assertThat(told.steps).hasSize(stepsDone);
    assertThat(stopped.output().resolve(ADAPTER)).as("no result yet").doesNotExist();

    assertThatThrownBy(stopped::run)
        .isInstanceOf(UserError.class)
        .hasMessageContaining("already holds checkpoint-" + stepsDone)
        .hasMessageContaining("--resume");
    stopped.with("resume_from_checkpoint", true).run();
    assertThat(adapter(stopped)).isEqualTo(adapter(straight));
    List<JsonNode> log = stopped.log();
    assertThat(log.stream().map(l -> l.path("current_steps").asInt())).containsExactly(1, 2, 3, 4, 5, 6, 7, 8, 9, 10);
    assertThat(log.stream().map(l -> l.path("loss").asDouble()).toList())
        .isEqualTo(straight.log().stream().map(l -> l.path("loss").asDouble()).toList());
    try (var left = Files.list(stopped.output())) {
      assertThat(left.map(p -> p.getFileName().toString())).noneMatch(name -> name.endsWith(".tmp"));
    }
  }

  /** What the log averages over its window is not lost by a stop in its middle. */
  @Test
  void theLogsWindowSurvivesAStop() {
    TrainingRun straight = tenSteps().with("logging_steps", 4).to("straight");
    straight.run();
    TrainingRun stopped = straight.to("stopped");
    assertThat(stopped.stopAt(11).end.steps()).as("in the middle of the second window").isEqualTo(6);
    stopped.with("resume_from_checkpoint", true).run();
    assertThat(Golden.json(stopped.output().resolve("trainer_state.json")).path("log_history"))
        .isEqualTo(Golden.json(straight.output().resolve("trainer_state.json")).path("log_history"));
  }

  @ParameterizedTest
  @CsvSource({
    "seed, 7, seed",
    "data_seed, 7, data_seed",
    "disable_shuffling, true, disable_shuffling",
    "per_device_train_batch_size, 4, per_device_train_batch_size",
    "gradient_accumulation_steps, 1, gradient_accumulation_steps",
    "max_samples, 13, dataset",
    "lora_rank, 4, lora_A",
    "lora_target, 'q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj', down_proj",
    "packing, true, dataset",
    "optim, adamw_8bit, optim adamw_torch",
  })
  void refusesAnotherRunsCheckpoint(String key, String value, String named) {
    TrainingRun stopped = tenSteps();
    stopped.stopAt(4);
    byte[] state = TrainingRun.bytes(stopped.output().resolve("checkpoint-2/trainer_state.json"));
    assertThatThrownBy(() -> stopped.with(key, value).with("resume_from_checkpoint", true).run())
        .isInstanceOf(UserError.class)
        .hasMessageContaining("checkpoint-2")
        .hasMessageContaining(named)
        .hasMessageNotContaining("\n");
    assertThat(TrainingRun.bytes(stopped.output().resolve("checkpoint-2/trainer_state.json"))).isEqualTo(state);
    assertThat(stopped.log()).as("the refused run touched nothing").hasSize(2);
  }

  @Test
  void refusesAFolderWithoutOptimiserState() {
    TrainingRun run = tenSteps().with("save_strategy", "steps").with("save_steps", 5).with("save_only_model", true);
    run.run();
    assertThatThrownBy(() -> run.with("resume_from_checkpoint", run.output().resolve("checkpoint-5")).run())
        .isInstanceOf(UserError.class)
        .hasMessageContaining("optimizer.safetensors");
  }

  @Test
  void resumingAFinishedRunOnlyWritesItsResultAgain() {
    TrainingRun run = tenSteps().with("save_strategy", "steps").with("save_steps", 5);
    run.run();
    byte[] before = adapter(run);
    TrainingRun.Told told = run.with("resume_from_checkpoint", true).run();
    assertThat(told.steps).isEmpty();
    assertThat(told.end.steps()).isEqualTo(10);
    assertThat(adapter(run)).isEqualTo(before);
    assertThatThrownBy(() -> run.with("max_steps", 4).run())
        .isInstanceOf(UserError.class)
        .hasMessageContaining("10")
        .hasMessageContaining("4");
  }
}
