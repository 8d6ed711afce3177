package dev.hone.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import dev.hone.testing.Golden;
import dev.hone.testing.StandIn;
import dev.hone.testing.TrainingRun;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Runs of the trainer on a card, by its front door, through the stand-in driver. */
class CardRunTest {
  /**
   * Rounding to 16 bits moves each loss by 0.1 % (CardGoldenTest); twenty steps let the two runs drift apart a little.
   */
  private static final double LOSS = 0.02;

  @TempDir Path folder;

  private TrainingRun golden(String model, Path driver) {
    return TrainingRun.golden(folder, model).with("device", "cuda").with("cuda_driver", driver.toAbsolutePath());
  }

  @ParameterizedTest
  @CsvSource({
    "cc=8.0, models/llama", "cc=8.0, models/qwen2", "cc=8.0, models/qwen3", "cc=8.0, models/mistral",
    "cc=8.0, models/gemma2", "cc=8.0, qlora/llama_nf4_dq", "cc=7.5, models/llama", "cc=7.5, qlora/llama_nf4_dq"
  })
  void twentyStepsFollowTheReference(String card, String model) {
    List<Double> losses = golden(model, StandIn.library(card)).run().losses();
    JsonNode want = Golden.json(Golden.committed(model).resolve("golden/golden.json")).path("train").path("log");
    double worst = 0;
    for (int i = 0; i < 20; i++) {
      double reference = want.get(i).path("loss").asDouble();
      assertThat(losses.get(i)).as("%s step %d", model, i + 1).isCloseTo(reference, within(LOSS * reference));
      worst = Math.max(worst, Math.abs(losses.get(i) / reference - 1));
    }
    System.out.printf("%s %s: 20 losses within %.2f %% of the reference's%n", card, model, 100 * worst);
  }

  /** What a card before compute capability 8.0 computes in by itself; the CPU takes f32 for it. */
  @Test
  void fp16IsTheSameOnEveryCard() {
    List<Double> turing = golden("models/qwen2", StandIn.library("cc=7.5")).with("max_steps", 3).to("turing").run().losses();
    TrainingRun asked = golden("models/qwen2", StandIn.library("cc=8.0")).with("compute_dtype", "fp16").with("max_steps", 3);
    TrainingRun.Told told = asked.to("asked").run();
    assertThat(told.losses()).isEqualTo(turing);
    assertThat(told.plan.summary()).anyMatch(line -> line.contains("activations f16"));
    TrainingRun.Told onCpu =
        TrainingRun.golden(folder, "models/qwen2").with("compute_dtype", "fp16").with("max_steps", 1).to("cpu").run();
    assertThat(onCpu.plan.summary()).anyMatch(line -> line.contains("activations f32 (compute_dtype fp16 is for cards)"));
  }

  /** quantization_bit: 8 on a card against the same setting on the CPU. */
  @ParameterizedTest
  @CsvSource({"cc=8.0", "cc=7.5"})
  void anInt8BaseFollowsTheCpu(String card) {
    List<Double> want =
        TrainingRun.golden(folder, "models/llama").with("quantization_bit", 8).with("layer_cache", false).to("cpu").run().losses();
    List<Double> got =
        golden("models/llama", StandIn.library(card)).with("quantization_bit", 8)
            .with("layer_cache_dir", folder.resolve("cache").toAbsolutePath()).to("card").run().losses();
    assertThat(got).hasSameSizeAs(want);
    for (int i = 0; i < want.size(); i++) {
      assertThat(got.get(i)).as("step %d", i + 1).isCloseTo(want.get(i), within(LOSS * want.get(i)));
    }
  }

  /** With moments in 8 bits, on the card and on the host: the CPU's losses within what the rounding of activations moves them. */
  @ParameterizedTest
  @CsvSource({"device", "host"})
  void eightBitMomentsFollowTheCpus(String states) {
    TrainingRun run =
        TrainingRun.golden(folder, "models/llama").with("adapter_name_or_path", null).with("lora_rank", 65)
            .with("optim", "adamw_8bit").with("max_steps", 8);
    List<Double> want = run.to("cpu").run().losses();
    Path driver = StandIn.library("cc=8.0");
    List<Double> losses =
        run.to("card").with("device", "cuda").with("cuda_driver", driver.toAbsolutePath()).with("optimizer_placement", states).run()
            .losses();
    for (int i = 0; i < 8; i++) {
      assertThat(losses.get(i)).as("step %d", i + 1).isCloseTo(want.get(i), within(LOSS * want.get(i)));
    }
    assertThat(want.getLast()).isLessThan(0.95 * want.getFirst());
  }

  /** Dropout, whose seed is another one in every replay, and whatever rows the steps draw. */
  @Test
  void aRunInGraphsEndsInTheSameBits() {
    Path driver = StandIn.library("cc=8.0");
    TrainingRun launched =
        golden("models/llama", driver).with("adapter_name_or_path", null).with("lora_rank", 4).with("lora_dropout", 0.1)
            .with("max_steps", 12).with("cuda_graphs", "off").to("launched");
    List<Double> losses = launched.run().losses();
    assertThat(StandIn.counter("graph_launches")).isZero();
    TrainingRun replayed = launched.to("replayed").with("cuda_graphs", "on");
    assertThat(replayed.run().losses()).isEqualTo(losses);
    assertThat(StandIn.counter("graph_launches")).isPositive();
    String adapter = "adapter_model.safetensors";
    assertThat(TrainingRun.bytes(replayed.output().resolve(adapter)))
        .isEqualTo(TrainingRun.bytes(launched.output().resolve(adapter)));
  }

  /** Rank 65: 8-bit moments whose tensors end within a block. */
  @ParameterizedTest
  @CsvSource({
    "cc=8.0, adamw_torch, device", "cc=7.5, adamw_torch, host", "cc=8.0, adamw_8bit, device", "cc=8.0, adamw_8bit, host"
  })
  void aResumedRunEndsInTheSameBits(String card, String optim, String states) {
    Path driver = StandIn.library(card);
    TrainingRun straight =
        golden("models/llama", driver).with("adapter_name_or_path", null).with("lora_rank", 65).with("optim", optim)
            .with("optimizer_placement", states).with("lora_dropout", 0.1).with("max_steps", 4).to("straight");
    TrainingRun.Told told = straight.run();
    assertThat(told.plan.summary()).anyMatch(line -> line.contains("optimizer: " + states + " (as set)"))
        .anyMatch(line -> line.contains("of optimizer states on the host") == states.equals("host"));
    List<Double> all = told.losses();
    TrainingRun half = straight.to("half").with("save_strategy", "steps").with("save_steps", 2);
    half.run();
    TrainingRun rest = half.to("rest").with("resume_from_checkpoint", half.output().resolve("checkpoint-2"));
    assertThat(rest.run().losses()).isEqualTo(all.subList(2, 4));
    String adapter = "adapter_model.safetensors";
    assertThat(TrainingRun.bytes(rest.output().resolve(adapter)))
        .isEqualTo(TrainingRun.bytes(straight.output().resolve(adapter)));
  }
}
