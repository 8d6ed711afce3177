package dev.hone.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.testing.GoldenModels;
import dev.hone.testing.TinyTokenizer;
import dev.hone.testing.TrainingRun;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** train, generate and chat by the command line on one small model with a tokenizer. */
class TalkingTest {
  private static final String QUESTION = "Say it";
  private static final String ANSWER = "it is told";

  @TempDir Path folder;
  private Path model;
  private String in = "";
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  @BeforeEach
  void modelWithTokenizer() {
    model = GoldenModels.copy("models/llama", folder.resolve("model"));
    TinyTokenizer.copy(model, null);
  }

  private int hone(String... args) {
    out.reset();
    err.reset();
    return Main.run(
        new RunTraining(), new RunTalking(), new BufferedReader(new StringReader(in)),
        new PrintStream(out, true, StandardCharsets.UTF_8), new PrintStream(err, true, StandardCharsets.UTF_8), args);
  }

  private String out() {
    return out.toString(StandardCharsets.UTF_8);
  }

  private String err() {
    return err.toString(StandardCharsets.UTF_8).strip();
  }

  /** An adapter that has learnt one answer by heart. */
  private TrainingRun learnt(String quantization) throws IOException {
    Path rows = folder.resolve("rows.json");
    Files.writeString(rows, "[{\"instruction\": \"" + QUESTION + "\", \"output\": \"" + ANSWER + "\"}]");
    TrainingRun run = new TrainingRun(folder, model, rows).with("template", "alpaca")
        .with("quantization_bit", quantization)
        .with("probe_dataset", rows).with("learning_rate", "2e-2").with("max_steps", 25);
    assertThat(hone("train", run.yaml().toString())).as(err()).isZero();
    assertThat(err()).contains("held-out rows answered exactly before training: 0 of 1 (0 %)")
        .contains("held-out rows answered exactly after training: 1 of 1 (100 %)").contains("+ ");
    return run;
  }

  @Test
  void whatWasTrainedIsAnsweredAndTheBaseDoesNotKnowIt() throws IOException {
    for (String bits : new String[] {"none", "4"}) {
      TrainingRun run = learnt(bits);
      String[] ask = {"generate", model.toString(), "--adapter", run.output().toString(), "--template", "alpaca",
          "--prompt",
          QUESTION, "--threads", "1", "--quantization-bit", "4"};
      String[] options = bits.equals("4") ? ask : java.util.Arrays.copyOf(ask, ask.length - 2);
      assertThat(hone(options)).as(err()).isZero();
      assertThat(out().strip()).isEqualTo(ANSWER);
      assertThat(hone("generate", run.output().toString(), "--template", "alpaca", "--prompt", QUESTION, "--threads",
          "1"))
          .as("an output_dir by itself: " + err()).isZero();
      assertThat(out().strip()).startsWith(ANSWER.substring(0, 2));
      try (var files = Files.walk(run.output())) {
        for (Path path : files.sorted(java.util.Comparator.reverseOrder()).toList()) {
          Files.delete(path);
        }
      }
    }
    assertThat(hone("generate", model.toString(), "--template", "alpaca", "--prompt", QUESTION, "--max-new-tokens",
        "8")).isZero();
    assertThat(out()).doesNotContain(ANSWER);
    assertThat(hone("generate", model.toString(), "--raw", "--prompt", "abc", "--system", "x", "--max-new-tokens", "3",
        "--compute-dtype", "bf16")).isZero();
    assertThat(out()).startsWith("abc");
    assertThat(hone("generate", model.toString(), "--prompt", "abc", "--compute-dtype", "int8")).isEqualTo(1);
    assertThat(err()).contains("--compute-dtype is `int8`; want fp32, bf16 or fp16");
  }

  @Test
  void aConversationGoesOnAfterAQuestionThatDoesNotFit() {
    in = "hello\n\n" + "far too long ".repeat(40) + "\nagain\n/new\nonce more\n/quit\nnever read\n";
    assertThat(hone("chat", model.toString(), "--template", "alpaca", "--max-new-tokens", "4", "--threads", "1"))
        .as(err()).isZero();
    assertThat(out()).contains("/new begins anew, /quit leaves")
        .contains("the context takes 256; shorten it, or begin anew");
    assertThat(out().split("> ", -1)).as("a prompt for each line read").hasSizeGreaterThanOrEqualTo(7);
  }

  @Test
  void mistakesAreOneLine() {
    assertThat(hone("generate", model.toString(), "--prompt", "a", "--template", "alpacca")).isEqualTo(Main.USER_ERROR);
    assertThat(err()).hasLineCount(1).startsWith("hone: ").contains("alpacca").contains("alpaca");
    assertThat(hone("generate", model.toString(), "--prompt", "a", "--adapter", model.toString()))
        .isEqualTo(Main.USER_ERROR);
    assertThat(err()).hasLineCount(1).contains("adapter_config.json");
    assertThat(hone("generate", model.toString(), "--prompt", "word ".repeat(300))).isEqualTo(Main.USER_ERROR);
    assertThat(err()).hasLineCount(1).contains("the context takes 256");
  }
}
