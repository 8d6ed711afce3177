package dev.hone.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.hone.testing.Golden;
import dev.hone.testing.GoldenModels;
import dev.hone.testing.TokenizedRows;
import dev.hone.testing.TrainingRun;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.StringReader;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Bad input at the command line: exit code 1, one line that says what, where and what to do, and nothing lost. */
class BadInputTest {
  private static final String ADAPTER = "adapter_model.safetensors";

  @TempDir Path folder;
  private Path rows;
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  @BeforeEach
  void rows() {
    rows = TokenizedRows.random(folder.resolve("rows.jsonl"), 6, 6, 20, 500, 1);
  }

  private TrainingRun llama() {
    return new TrainingRun(folder, Golden.committed("models/llama"), rows).with("max_steps", 2);
  }

  private int hone(String... args) {
    err.reset();
    PrintStream nowhere = new PrintStream(new ByteArrayOutputStream());
    return Main.run(
        new RunTraining(), new RunTalking(), new BufferedReader(new StringReader("")), nowhere,
        new PrintStream(err, true, StandardCharsets.UTF_8), args);
  }

  /** The one line of a run that fails before its first step; shown, so that a reader can judge it. */
  private String refused(TrainingRun run) {
    assertThat(hone("train", run.yaml().toString())).isEqualTo(Main.USER_ERROR);
    String text = err.toString(StandardCharsets.UTF_8).strip();
    List<String> said = text.lines().filter(l -> !l.startsWith("note: ")).toList();
    assertThat(said).as(text).hasSize(1);
    System.out.println(said.getFirst().replace(folder.toString(), "DIR"));
    assertThat(said.getFirst()).startsWith("hone: ").doesNotContain("Exception");
    assertThat(run.output().resolve(ADAPTER)).doesNotExist();
    return said.getFirst();
  }

  @Test
  void aTruncatedShard() throws IOException {
    Path model = GoldenModels.copy("models/llama_bf16_sharded", folder.resolve("model"));
    Path shard = model.resolve("model-00002-of-00003.safetensors");
    try (FileChannel channel = FileChannel.open(shard, StandardOpenOption.WRITE)) {
      channel.truncate(channel.size() - 1000);
    }
    assertThat(refused(llama().with("model_name_or_path", model)))
        .contains("model-00002-of-00003.safetensors is 115.0 kB, its header wants 116.0 kB", "fetch it again");
    try (FileChannel channel = FileChannel.open(shard, StandardOpenOption.WRITE)) {
      channel.truncate(5);
    }
    assertThat(refused(llama().with("model_name_or_path", model))).contains("model-00002-of-00003.safetensors");
  }

  @Test
  void aMissingShard() throws IOException {
    Path model = GoldenModels.copy("models/llama_bf16_sharded", folder.resolve("model"));
    Files.delete(model.resolve("model-00003-of-00003.safetensors"));
    assertThat(refused(llama().with("model_name_or_path", model)))
        .contains("1 of 3 shards are missing: model-00003-of-00003.safetensors; fetch them");
  }

  @Test
  void weightsOfAnotherShapeOrAnUnknownArchitecture() throws IOException {
    Path model = GoldenModels.copy("models/llama", folder.resolve("model"));
    String config = Files.readString(model.resolve("config.json"));
    Files.writeString(model.resolve("config.json"), config.replace("\"intermediate_size\": 160",
        "\"intermediate_size\": 192"));
    assertThat(refused(llama().with("model_name_or_path", model))).contains("config.json asks for [192, 64]");
    Files.writeString(model.resolve("config.json"), config.replace("\"llama\"", "\"mamba\"").replace("LlamaFor",
        "MambaFor"));
    assertThat(refused(llama().with("model_name_or_path", model))).containsIgnoringCase("mamba")
        .contains("llama", "qwen2");
  }

  @Test
  void notANumberAmongTheWeights() throws IOException {
    Path model = GoldenModels.copy("models/llama", folder.resolve("model"));
    try (FileChannel channel = FileChannel.open(model.resolve("model.safetensors"), StandardOpenOption.READ,
        StandardOpenOption.WRITE)) {
      ByteBuffer nan = ByteBuffer.allocate(4).order(ByteOrder.LITTLE_ENDIAN).putFloat(0, Float.NaN);
      channel.write(nan, channel.size() - 4000);
    }
    TrainingRun run = llama().with("model_name_or_path", model);
    assertThat(hone("train", run.yaml().toString())).isEqualTo(Main.USER_ERROR);
    String last = err.toString(StandardCharsets.UTF_8).strip().lines().reduce((a, b) -> b).orElseThrow();
    System.out.println(last.replace(folder.toString(), "DIR"));
    assertThat(last).startsWith("hone: ").contains("NaN").doesNotContain("learning_rate");
    assertThat(run.output().resolve(ADAPTER)).doesNotExist();
  }

  @Test
  void aMalformedRow() throws IOException {
    Files.writeString(rows, Files.readString(rows) + "{\"input_ids\": [1, 2,\n");
    assertThat(refused(llama())).contains(rows + ":7: not valid JSON");
    TokenizedRows.random(rows, 3, 6, 20, 500, 1);
    Files.writeString(rows, Files.readString(rows) + "{\"input_ids\": [1, 512], \"labels\": [1, 2]}\n");
    assertThat(refused(llama())).contains(rows + ":4: token id 512 is outside the model's vocabulary of 512");
    Files.writeString(rows, "{\"input_ids\": [1, 5, 6], \"labels\": [1, 2]}\n");
    assertThat(refused(llama())).contains(rows + ":1:").contains("3").contains("2");
    Files.writeString(rows, "{\"instruction\": \"Add\", \"output\": \"3\"}\n");
    assertThat(refused(llama())).contains("tokenizer");
  }

  @Test
  void dataWithNothingToLearn() throws IOException {
    Files.writeString(rows, "");
    assertThat(refused(llama())).contains("rows.jsonl").contains("is empty");
    Files.writeString(rows, "{\"input_ids\": [1, 2, 3], \"labels\": [-100, -100, -100]}\n".repeat(3));
    assertThat(refused(llama())).contains("rows.jsonl").contains("no token to learn: all labels are masked");
    assertThat(refused(llama().with("dataset", folder.resolve("absent.jsonl")))).contains("absent.jsonl");
    TokenizedRows.random(rows, 4, 30, 40, 500, 1);
    assertThat(refused(llama().with("cutoff_len", 20).with("overlong", "drop")))
        .contains("all are longer than cutoff_len 20");
    assertThat(refused(llama().with("cutoff_len", 20).with("overlong", "error"))).contains(rows + ":1:")
        .contains("cutoff_len");
    TokenizedRows.random(rows, 2, 300, 300, 500, 1);
    assertThat(refused(llama().with("cutoff_len", 400))).contains("300 tokens").contains("made for 256");
  }

  @Test
  void rowsOverTheCutoffAreCounted() {
    TokenizedRows.random(rows, 5, 30, 40, 500, 1);
    TrainingRun run = llama().with("cutoff_len", 20);
    assertThat(hone("train", run.yaml().toString())).isEqualTo(Main.DONE);
    assertThat(err.toString(StandardCharsets.UTF_8))
        .contains("note: 5 rows were longer than cutoff_len 20 and were cut");
  }

  @Test
  void rowsThatTeachNothingOrAreLeftOutAreCounted() throws IOException {
    Files.writeString(rows, "{\"input_ids\": [1, 2, 3], \"labels\": [1, 2, 3]}\n".repeat(4)
        + "{\"input_ids\": [1, 2, 3], \"labels\": [-100, -100, -100]}\n"
        + "{\"input_ids\": [1, 2, 3, 4, 5, 6], \"labels\": [1, 2, 3, 4, 5, 6]}\n".repeat(2));
    TrainingRun run = llama().with("cutoff_len", 5).with("overlong", "drop").with("eval_dataset", rows);
    assertThat(hone("train", run.yaml().toString())).isEqualTo(Main.DONE);
    assertThat(err.toString(StandardCharsets.UTF_8))
        .contains("note: 2 rows were longer than cutoff_len 5 and were dropped")
        .contains("note: 1 rows have no trained token")
        .contains("note: eval_dataset: 2 rows were longer than cutoff_len 5 and were dropped");
  }

  @Test
  void settingsThatAreNotThere() {
    assertThat(refused(llama().with("learning_rte", "1e-4")))
        .contains("run.yaml:11", "unknown key learning_rte", "did you mean learning_rate?");
    assertThat(refused(llama().with("lora_target", "q_proj,query"))).contains("run.yaml:11", "`query`", "q_proj");
    assertThat(refused(llama().with("model_name_or_path", folder.resolve("nowhere"))))
        .contains("run.yaml:1", "no folder");
    assertThat(refused(llama().with("vram_limit", "six"))).contains("run.yaml:11", "vram_limit");
    assertThat(refused(llama().with("activation_placement", "offload").with("gradient_checkpointing", false)))
        .contains("run.yaml:11", "activation_placement: offload contradicts gradient_checkpointing");
    assertThat(refused(llama().with("resume_from_checkpoint", true))).contains("run.yaml:11", "holds no checkpoint-N");
    assertThat(refused(llama().with("adapter_name_or_path", folder.resolve("nowhere")))).contains("nowhere");
    assertThat(refused(llama()
        .with("adapter_name_or_path", Golden.committed("models/gemma2/golden/adapter_init").toAbsolutePath())))
        .contains("adapter_model.safetensors");
    assertThat(refused(llama().with("val_size", 6))).contains("val_size keeps 6 of 6 rows");
  }

  @Test
  void aFinishedRunIsKept() throws IOException {
    TrainingRun run = llama();
    assertThat(hone("train", run.yaml().toString())).isEqualTo(Main.DONE);
    byte[] before = Files.readAllBytes(run.output().resolve(ADAPTER));
    assertThat(hone("train", run.yaml().toString(), "seed=7")).isEqualTo(Main.USER_ERROR);
    assertThat(err.toString(StandardCharsets.UTF_8).strip())
        .startsWith("hone: " + folder.resolve("run.yaml") + ":3: output_dir").contains("already holds").hasLineCount(1);
    assertThat(Files.readAllBytes(run.output().resolve(ADAPTER))).isEqualTo(before);
    assertThat(hone("train", run.yaml().toString(), "seed=7", "overwrite_output_dir=true")).isEqualTo(Main.DONE);
    assertThat(Files.readAllBytes(run.output().resolve(ADAPTER))).isNotEqualTo(before);
  }

  @Test
  void aRunawayLoss() {
    TrainingRun run = llama().with("max_steps", 30).with("learning_rate", "1e20").with("max_grad_norm", 0);
    assertThat(hone("train", run.yaml().toString())).isEqualTo(Main.USER_ERROR);
    String last = err.toString(StandardCharsets.UTF_8).strip().lines().reduce((a, b) -> b).orElseThrow();
    System.out.println(last);
    assertThat(last).startsWith("hone: the loss of step ").contains("NaN").contains("learning_rate");
    assertThat(run.output().resolve(ADAPTER)).doesNotExist();
  }

  /**
   * A process that may write files of 200 KiB only meets a failing write in the middle of a file, as a full disk makes
   * it.
   */
  @Test
  void aDiskThatIsFullWhileSaving() throws Exception {
    assumeTrue(Files.isExecutable(Path.of("/bin/bash")), "skipped: needs bash and its ulimit");
    TrainingRun run = llama().with("lora_rank", 2);
    assertThat(hone("train", run.yaml().toString())).isEqualTo(Main.DONE);
    byte[] weights = Files.readAllBytes(run.output().resolve(ADAPTER));
    byte[] config = Files.readAllBytes(run.output().resolve("adapter_config.json"));

    run.with("lora_rank", 64).with("overwrite_output_dir", true).with("save_strategy", "steps").with("save_steps", 1);
    for (String when : List.of("steps", "no")) {
      run.with("save_strategy", when);
      Process process = new ProcessBuilder(
          "/bin/bash", "-c", "ulimit -f 200; exec \"$@\"", "bash",
          Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-XX:-UsePerfData",
          "--enable-native-access=ALL-UNNAMED", "-cp", System.getProperty("java.class.path"), "dev.hone.cli.Main",
              "train",
          run.yaml().toString()).redirectOutput(ProcessBuilder.Redirect.DISCARD).start();
      String said = new String(process.getErrorStream().readAllBytes(), StandardCharsets.UTF_8).strip();
      String last = said.lines().reduce((a, b) -> b).orElse("");
      System.out.println(last.replace(folder.toString(), "DIR"));
      assertThat(process.waitFor()).as(said).isEqualTo(Main.USER_ERROR);
      assertThat(last).startsWith("hone: cannot write " + run.output()).contains("large").doesNotContain(".tmp");
      assertThat(Files.readAllBytes(run.output().resolve(ADAPTER))).isEqualTo(weights);
      assertThat(Files.readAllBytes(run.output().resolve("adapter_config.json"))).isEqualTo(config);
      try (var left = Files.walk(run.output())) {
        assertThat(left.map(p -> p.getFileName().toString()))
            .noneMatch(n -> n.endsWith(".tmp") || n.startsWith("checkpoint"));
      }
    }
  }
}
