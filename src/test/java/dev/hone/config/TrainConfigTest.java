package dev.hone.config;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.TrainConfig.ComputeDtype;
import dev.hone.config.TrainConfig.Method;
import dev.hone.config.TrainConfig.Quantization;
import dev.hone.config.TrainConfig.Recompute;
import dev.hone.config.TrainConfig.Scheduler;
import dev.hone.config.TrainConfig.Stage;
import dev.hone.config.TrainConfig.Strategy;
import java.io.IOException;
import java.io.InputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TrainConfigTest {
  @TempDir Path folder;
  private Path yaml;

  @BeforeEach
  void modelFolder() throws IOException {
    Files.createDirectory(folder.resolve("model"));
    yaml = folder.resolve("run.yaml");
  }

  /** The three required keys, then {@code lines} from line 4 on. */
  private TrainConfig load(String lines, String... overrides) {
    write("model_name_or_path: model\ndataset: rows.jsonl\noutput_dir: out\n" + lines);
    return TrainConfig.load(yaml, List.of(overrides));
  }

  private void write(String text) {
    try {
      Files.writeString(yaml, text);
    } catch (IOException e) {
      throw new AssertionError(e);
    }
  }

  private void refuses(String lines, String message) {
    assertThatThrownBy(() -> load(lines)).isInstanceOf(UserError.class).hasMessage(yaml + message);
  }

  @Test
  void defaultsAreThoseOfLlamaFactory() {
    TrainConfig c = load("");
    assertThat(c.stage()).isEqualTo(Stage.SFT);
    assertThat(c.method()).isEqualTo(Method.LORA);
    assertThat(c.model().directory()).isEqualTo(folder.resolve("model"));
    assertThat(c.model().adapter()).isEmpty();
    assertThat(c.model().quantization()).isEqualTo(Quantization.NONE);
    assertThat(c.model().computeDtype()).isEqualTo(ComputeDtype.FP32);
    assertThat(load("bf16: true\ncompute_dtype: fp16\n").model().computeDtype()).isEqualTo(ComputeDtype.FP16);
    assertThat(c.model().ropeScaling()).isEmpty();
    assertThat(c.lora()).isEqualTo(new TrainConfig.Lora(8, 16, 0, List.of(), false));
    assertThat(c.lora().scale()).isEqualTo(2);
    assertThat(c.data().datasets()).containsExactly("rows.jsonl");
    assertThat(c.data().cutoffLength()).isEqualTo(2048);
    assertThat(c.data().packing()).isFalse();
    assertThat(c.data().shuffle()).isTrue();
    assertThat(c.data().shuffleSeed()).isEqualTo(42);
    assertThat(c.data().hasEvaluation()).isFalse();
    assertThat(c.optimizer()).isEqualTo(new TrainConfig.Optimizer(5e-5, 0.9, 0.999, 1e-8, 0, 1, 0, Moments.F32));
    assertThat(c.schedule().batch()).isEqualTo(8);
    assertThat(c.schedule().accumulation()).isEqualTo(1);
    assertThat(c.schedule().epochs()).isEqualTo(3);
    assertThat(c.schedule().maxSteps()).isEmpty();
    assertThat(c.schedule().scheduler()).isEqualTo(Scheduler.LINEAR);
    assertThat(c.output().saveStrategy()).isEqualTo(Strategy.STEPS);
    assertThat(c.output().saveSteps()).isEqualTo(500);
    assertThat(c.output().resumeFrom()).isEmpty();
    assertThat(c.evaluation().strategy()).isEqualTo(Strategy.NO);
    assertThat(c.machine()).isEqualTo(
        new TrainConfig.Machine(DeviceChoice.parse("auto").orElseThrow(), 0, Recompute.AUTO, Placement.AUTO));
    assertThat(c.seed()).isEqualTo(42);
    assertThat(c.notes()).isEmpty();
    assertThat(c.where("lora_rank")).isEqualTo(yaml.toString());
    assertThat(c.where("dataset")).isEqualTo(yaml + ":2");
  }

  @Test
  void llamaFactorysOwnExampleLoadsUnchanged() throws IOException {
    String text;
    try (InputStream in = getClass().getResourceAsStream("/config/llama3_lora_sft.yaml")) {
      text = new String(in.readAllBytes(), StandardCharsets.UTF_8);
    }
    Files.createDirectories(folder.resolve("meta-llama/Meta-Llama-3-8B-Instruct"));
    write(text);
    TrainConfig c = TrainConfig.load(yaml, List.of());
    assertThat(c.data().datasets()).containsExactly("identity", "alpaca_en_demo");
    assertThat(c.data().template()).contains("llama3");
    assertThat(c.data().maxSamples()).hasValue(1000);
    assertThat(c.schedule().scheduler()).isEqualTo(Scheduler.COSINE);
    assertThat(c.schedule().warmup(95)).as("ceil(9.5)").isEqualTo(10);
    assertThat(c.optimizer().learningRate()).isEqualTo(1e-4);
    assertThat(c.model().computeDtype()).isEqualTo(ComputeDtype.BF16);
    assertThat(c.output().overwrite()).isTrue();
    assertThat(c.notes()).extracting(n -> n.replaceAll(".*:(\\d+): (\\S+) has no effect: .+", "$1 $2"))
        .containsExactly("3 trust_remote_code", "7 do_train", "17 overwrite_cache", "18 preprocessing_num_workers",
            "19 dataloader_num_workers", "28 report_to", "38 ddp_timeout");
  }

  @ParameterizedTest
  @CsvSource(delimiter = '|', textBlock = """
      lora_rnk: 8                | :4: unknown key lora_rnk; did you mean lora_rank?
      learningrate: 1            | :4: unknown key learningrate; did you mean learning_rate?
      quux_zzz_flavour: 1        | :4: unknown key quux_zzz_flavour; docs/config.md lists all keys
      micro_batch_size: 1        | :4: unknown key micro_batch_size; in Hone it is per_device_train_batch_size
      lora_rank: eight           | :4: lora_rank is `eight`; want an integer of at least 1
      lora_rank: 0               | :4: lora_rank is `0`; want an integer of at least 1
      lora_rank: 99999999999     | :4: lora_rank is `99999999999`; want an integer of at least 1
      lora_rank: [1, 2]          | :4: lora_rank is `[1, 2]`; want an integer of at least 1
      lora_rank: {a: 1}          | :4: lora_rank is `a nested structure`; want an integer of at least 1
      lora_alpha: 0              | :4: lora_alpha is `0`; want a number above 0
      lora_dropout: 1            | :4: lora_dropout is `1`; want a number from 0 to below 1
      warmup_ratio: 1.5          | :4: warmup_ratio is `1.5`; want a number from 0 to 1
      learning_rate: -1e-4       | :4: learning_rate is `-1e-4`; want a number of at least 0
      learning_rate: .nan        | :4: learning_rate is `.nan`; want a number of at least 0
      learning_rate: NaN         | :4: learning_rate is `NaN`; want a number of at least 0
      learning_rate: Infinity    | :4: learning_rate is `Infinity`; want a number of at least 0
      learning_rate: 1f          | :4: learning_rate is `1f`; want a number of at least 0
      packing: maybe             | :4: packing is `maybe`; want true or false
      dataset_dir: [a]           | :4: dataset_dir is `[a]`; want a text
      lora_target: []            | :4: lora_target is `[]`; want a name or a list of names
      lora_target: all,q_proj    | :4: lora_target: `all` stands alone; want all or a list of layer names
      stage: dpo                 | :4: stage is `dpo`; want sft or pt
      finetuning_type: freeze    | :4: finetuning_type is `freeze`; want lora or full
      quantization_bit: 5        | :4: quantization_bit is `5`; want 4, 8 or none
      lr_scheduler_type: poly    | :4: lr_scheduler_type is `poly`; want linear, cosine, constant or constant_with_warmup
      compute_dtype: fp64        | :4: compute_dtype is `fp64`; want fp32, bf16 or fp16
      device: tpu                | :4: device is `tpu`; want auto, cpu, cuda or cuda:N
      cutoff_len: 1              | :4: cutoff_len is `1`; want an integer of at least 2
      val_size: 2.5              | :4: val_size is `2.5`; want a share below 1 or a whole count of rows
      warmup_steps: 2.5          | :4: warmup_steps is `2.5`; want a whole number, or a share below 1
      eval_strategy: steps       | :4: eval_strategy is `steps` but nothing is there to evaluate; set val_size or eval_dataset
      pissa_init: true           | :4: pissa_init is not supported: PiSSA initialisation is not built; remove the key (A is random, B is 0)
      neftune_noise_alpha: 5     | :4: neftune_noise_alpha is not supported: NEFTune is not built; remove the key to train without embedding noise
      pref_beta: 0.1             | :4: pref_beta is not supported: it belongs to preference training; the stages supported are pt and sft
      """)
  void namesTheLineAndWhatToDo(String line, String message) {
    refuses(line + "\n", message);
  }

  @Test
  void refusesContradictions() {
    refuses("seed: 1\nseed: 2\n", ":5: seed is given twice, first on line 4; keep one");
    refuses("eval_strategy: no\nevaluation_strategy: no\n",
        ":5: evaluation_strategy is given twice, first on line 4; keep one");
    refuses("val_size: 0.1\neval_dataset: a.jsonl\n", ":4: val_size and eval_dataset exclude each other; keep one");
    refuses("packing: false\nneat_packing: true\n", ":5: neat_packing: true contradicts packing: false; keep one");
    refuses("finetuning_type: full\nquantization_bit: 4\n",
        ":5: quantization_bit 4 needs finetuning_type lora; quantised weights cannot be trained in full");
    refuses("finetuning_type: full\nadapter_name_or_path: model\n",
        ":5: adapter_name_or_path needs finetuning_type lora");
    refuses("gradient_checkpointing: true\ndisable_gradient_checkpointing: true\n",
        ":5: disable_gradient_checkpointing contradicts gradient_checkpointing; keep one");
  }

  @Test
  void refusesMissingFilesAndKeys() throws IOException {
    Path working = Path.of("").toAbsolutePath();
    refuses("adapter_name_or_path: none_here\n",
        ":4: adapter_name_or_path: " + working.resolve("none_here")
            + " is not a folder; give the folder of a PEFT adapter");
    refuses("resume_from_checkpoint: none_here\n", ":4: resume_from_checkpoint: " + working.resolve("none_here")
        + " is not a folder; give a checkpoint-N folder or true");
    refuses("resume_from_checkpoint: true\n", ":4: resume_from_checkpoint: " + working.resolve("out")
        + " holds no checkpoint-N; remove the key to start anew");
    write("dataset: a\noutput_dir: b\n");
    assertThatThrownBy(() -> TrainConfig.load(yaml, List.of())).isInstanceOf(UserError.class)
        .hasMessageStartingWith(yaml + ": model_name_or_path is missing: folder of a Hugging Face model");
    write("model_name_or_path: nobody/nothing-here\ndataset: a\noutput_dir: b\n");
    assertThatThrownBy(() -> TrainConfig.load(yaml, List.of())).hasMessage(yaml + ":1: model_name_or_path: no folder "
        + working.resolve("nobody/nothing-here")
        + ", and nobody/nothing-here is not in the Hugging Face cache; download the model and give its folder");
    Path file = Files.createFile(folder.resolve("taken"));
    write("model_name_or_path: model\ndataset: a\noutput_dir: " + file + "\n");
    assertThatThrownBy(() -> TrainConfig.load(yaml, List.of()))
        .hasMessage(yaml + ":3: output_dir: " + file + " is a file; give a folder");
    Path absent = folder.resolve("absent.yaml");
    assertThatThrownBy(() -> TrainConfig.load(absent, List.of()))
        .hasMessage(absent + ": no such file; give the path of a YAML file");
  }

  @Test
  void refusesWhatIsNotYaml() {
    write("a: [1\nb: 2\n");
    assertThatThrownBy(() -> TrainConfig.load(yaml, List.of())).isInstanceOf(UserError.class)
        .hasMessageMatching("\\Q" + yaml + "\\E:2:\\d+: not valid YAML: .+").hasMessageNotContaining("\n");
    write("- a\n- b\n");
    assertThatThrownBy(() -> TrainConfig.load(yaml, List.of())).hasMessage(yaml + ":1: want `key: value` lines");
    write("# nothing\n");
    assertThatThrownBy(() -> TrainConfig.load(yaml, List.of()))
        .hasMessage(yaml + ": the file is empty; give at least model_name_or_path, dataset and output_dir");
    write("[a, b]: 1\n");
    assertThatThrownBy(() -> TrainConfig.load(yaml, List.of()))
        .hasMessage(yaml + ":1: want a `key: value` line with a plain key");
  }

  @Test
  void overridesWinAndHaveNoLine() {
    TrainConfig c = load("learning_rate: 1e-4\nmax_steps: 5\n", "learning_rate=3e-4", "lora_target=[q_proj, v_proj]",
        "max_steps=");
    assertThat(c.optimizer().learningRate()).isEqualTo(3e-4);
    assertThat(c.lora().targets()).containsExactly("q_proj", "v_proj");
    assertThat(c.schedule().maxSteps()).isEmpty();
    assertThat(c.where("learning_rate")).isEqualTo("command line");
    assertThatThrownBy(() -> load("", "lora_rank=x"))
        .hasMessage("command line: lora_rank is `x`; want an integer of at least 1");
    assertThatThrownBy(() -> load("", "seed=1", "seed=2")).hasMessage("command line: seed is given twice; keep one");
    assertThatThrownBy(() -> load("", "loud"))
        .hasMessage("command line: `loud`: want key=value, such as learning_rate=1e-4");
    assertThatThrownBy(() -> load("", "seed=[")).isInstanceOf(UserError.class)
        .hasMessageStartingWith("command line: seed=[");
  }

  @Test
  void settingsThatDependOnOthers() {
    assertThat(load("stage: pt\n").data().packing()).isTrue();
    assertThat(load("stage: pt\npacking: false\n").data().packing()).isFalse();
    assertThat(load("neat_packing: true\n").data().packing()).isTrue();
    assertThat(load("bf16: true\ncompute_dtype: fp32\n").model().computeDtype()).isEqualTo(ComputeDtype.FP32);
    assertThat(load("bf16: true\ncompute_dtype: fp16\n").model().computeDtype()).isEqualTo(ComputeDtype.FP16);
    assertThat(load("quantization_bit: 4\n").model().quantization()).isEqualTo(Quantization.NF4_DOUBLE);
    assertThat(load("quantization_bit: 4\ndouble_quantization: false\n").model().quantization())
        .isEqualTo(Quantization.NF4);
    assertThat(load("quantization_bit: None\n").model().quantization()).isEqualTo(Quantization.NONE);
    assertThat(load("lora_rank: 16\n").lora().alpha()).isEqualTo(32);
    assertThat(load("lora_rank: 16\nuse_rslora: yes\n").lora().scale()).isEqualTo(8);
    assertThat(load("data_seed: 7\n").data().shuffleSeed()).isEqualTo(7);
    assertThat(load("disable_shuffling: true\n").data().shuffle()).isFalse();
    assertThat(load("val_size: 0.1\n").evaluation().strategy()).isEqualTo(Strategy.EPOCH);
    assertThat(load("val_size: 20\neval_steps: 5\n").evaluation())
        .isEqualTo(new TrainConfig.Evaluation(Strategy.STEPS, 5, 8));
    assertThat(load("val_size: 20\neval_strategy: no\n").evaluation().strategy()).isEqualTo(Strategy.NO);
    assertThat(load("val_size: 20\n").data().evalCount()).isEqualTo(20);
    assertThat(load("gradient_checkpointing: true\n").machine().recompute()).isEqualTo(Recompute.ON);
    assertThat(load("disable_gradient_checkpointing: true\n").machine().recompute()).isEqualTo(Recompute.OFF);
    assertThat(load("pissa_init: false\nneftune_noise_alpha: null\n").notes()).isEmpty();
    for (String f32 : List.of("adamw_torch", "adamw_torch_fused", "adamw", "paged_adamw_32bit")) {
      assertThat(load("optim: " + f32 + "\n").optimizer().moments()).as(f32).isEqualTo(Moments.F32);
    }
    for (String eightBit : List.of("adamw_8bit", "adamw_bnb_8bit", "paged_adamw_8bit")) {
      assertThat(load("optim: " + eightBit + "\n").optimizer().moments()).as(eightBit).isEqualTo(Moments.EIGHT_BIT);
    }
    assertThat(load("optim: adamw_8bit\n").notes()).isEmpty();
    assertThat(load("optim: paged_adamw_8bit\n").notes())
        .containsExactly(yaml + ":4: optim paged_adamw_8bit is adamw_8bit here; optimizer_placement says where its states lie");
    assertThat(load("finetuning_type: full\nlora_rank: 8\n").notes())
        .containsExactly(yaml + ":5: lora_rank has no effect: finetuning_type is full");
  }

  @Test
  void warmup() {
    assertThat(load("warmup_ratio: 0.03\n").schedule().warmup(100)).isEqualTo(3);
    assertThat(load("warmup_ratio: 0.03\n").schedule().warmup(101)).isEqualTo(4);
    assertThat(load("warmup_ratio: 0.5\nwarmup_steps: 7\n").schedule().warmup(100)).isEqualTo(7);
    assertThat(load("warmup_steps: 0.1\n").schedule().warmup(95)).isEqualTo(10);
    assertThat(load("warmup_steps: 7\nlr_scheduler_type: constant\n").schedule().warmup(100)).isZero();
  }

  @Test
  void loggingSteps() {
    TrainConfig.Output every3 = load("logging_steps: 3\n").output();
    assertThat(every3.logs(1, 10)).isFalse();
    assertThat(every3.logs(3, 10)).isTrue();
    assertThat(every3.logs(10, 10)).isTrue();
    assertThat(load("logging_steps: 3\nlogging_first_step: true\n").output().logs(1, 10)).isTrue();
  }

  @Test
  void resumesTheNewestCheckpoint() throws IOException {
    for (String name : List.of("checkpoint-9", "checkpoint-10", "checkpoint-x")) {
      Files.createDirectories(folder.resolve("out").resolve(name));
    }
    TrainConfig c = load("resume_from_checkpoint: true\n", "output_dir=" + folder.resolve("out"));
    assertThat(c.output().resumeFrom()).contains(folder.resolve("out/checkpoint-10"));
    assertThat(load("resume_from_checkpoint: false\n").output().resumeFrom()).isEmpty();
  }

  @Test
  void relativePathsAreTriedInTheWorkingDirectoryFirst() throws IOException {
    Files.createDirectory(folder.resolve("src"));
    TrainConfig c = load("");
    Path root = Path.of("").toAbsolutePath();
    assertThat(c.locate("src")).as("there is one in both").isEqualTo(root.resolve("src"));
    assertThat(c.locate("model")).as("beside the YAML only").isEqualTo(folder.resolve("model"));
    assertThat(c.locate("nowhere")).isEqualTo(root.resolve("nowhere"));
  }
}
