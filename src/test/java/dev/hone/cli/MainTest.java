package dev.hone.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.config.TrainConfig;
import dev.hone.config.UserError;
import dev.hone.train.TrainListener;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.PrintStream;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.function.BiConsumer;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class MainTest {
  @TempDir Path folder;
  private Path yaml;
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();
  private final List<TrainConfig> trained = new ArrayList<>();
  private int previewed;
  private Talking.Setup talked;
  private String in = "";
  private BiConsumer<TrainConfig, TrainListener> run = (config, listener) -> trained.add(config);

  @BeforeEach
  void goodYaml() throws IOException {
    Files.createDirectory(folder.resolve("model"));
    yaml = folder.resolve("run.yaml");
    Files.writeString(yaml, "model_name_or_path: model\ndataset: rows.jsonl\noutput_dir: out\nddp_timeout: 1\n");
  }

  private int hone(String... args) {
    out.reset();
    err.reset();
    Training training = new Training() {
      @Override
      public void run(TrainConfig config, TrainListener listener) {
        run.accept(config, listener);
      }

      @Override
      public void preview(TrainConfig config, int rows, PrintStream stream) {
        previewed = rows;
      }
    };
    Talking talking = new Talking() {
      @Override
      public void generate(Setup setup, List<String> prompts, boolean raw, PrintStream stream) {
        talked = setup;
        prompts.forEach(stream::println);
      }

      @Override
      public void chat(Setup setup, BufferedReader lines, PrintStream stream) {
        talked = setup;
        lines.lines().forEach(stream::println);
      }
    };
    return Main.run(training, talking, new BufferedReader(new StringReader(in)),
        new PrintStream(out, true, StandardCharsets.UTF_8), new PrintStream(err, true, StandardCharsets.UTF_8), args);
  }

  private String err() {
    return err.toString(StandardCharsets.UTF_8).strip();
  }

  @Test
  void trainsWithTheSettingsOfFileAndCommandLine() {
    assertThat(hone("train", yaml.toString(), "seed=7", "lora_rank=4", "--threads", "2")).isEqualTo(Main.DONE);
    TrainConfig config = trained.getFirst();
    assertThat(config.seed()).isEqualTo(7);
    assertThat(config.lora().rank()).isEqualTo(4);
    assertThat(config.machine().threads()).isEqualTo(2);
    assertThat(err()).isEqualTo("note: " + yaml + ":4: ddp_timeout has no effect: Hone is one process on one device");
  }

  @Test
  void previewTakesAnOptionalCount() {
    assertThat(hone("train", yaml.toString(), "--preview")).isZero();
    assertThat(previewed).isEqualTo(3);
    assertThat(hone("train", yaml.toString(), "--preview", "5")).isZero();
    assertThat(previewed).isEqualTo(5);
    assertThat(trained).isEmpty();
  }

  @Test
  void aUsersMistakeIsOneLineAndExitCode1() {
    assertThat(hone("train", yaml.toString(), "lora_rnk=4")).isEqualTo(1);
    assertThat(err()).isEqualTo("hone: command line: unknown key lora_rnk; did you mean lora_rank?");
    assertThat(hone("train")).isEqualTo(1);
    assertThat(err()).isEqualTo("hone: Missing required parameter: 'FILE.yaml' (see `hone train --help`)");
    assertThat(hone("trian")).isEqualTo(1);
    assertThat(err()).isEqualTo("hone: unknown command trian; did you mean train? (see `hone --help`)");
    assertThat(hone("train", yaml.toString(), "--device", "tpu")).isEqualTo(1);
    assertThat(err()).isEqualTo("hone: command line: device is `tpu`; want auto, cpu, cuda or cuda:N");
    run = (config, listener) -> {
      throw new UserError("a.jsonl:3: not JSON\n  at column 4");
    };
    assertThat(hone("train", yaml.toString())).isEqualTo(1);
    assertThat(err()).endsWith("hone: a.jsonl:3: not JSON at column 4");
  }

  @Test
  void anInternalFaultIsOneLineAndExitCode2() {
    run = (config, listener) -> {
      throw new IllegalStateException("two\nlines");
    };
    assertThat(hone("train", yaml.toString())).isEqualTo(2);
    assertThat(err()).endsWith("hone: internal fault: IllegalStateException: two lines"
        + " (run again with --debug for the stack trace)");
    assertThat(hone("train", "--debug", yaml.toString())).isEqualTo(2);
    assertThat(err()).contains("hone: internal fault: IllegalStateException: two lines\n")
        .contains("\tat dev.hone.cli.MainTest");
    run = (config, listener) -> {
      throw new AssertionError("a binding is wrong");
    };
    assertThat(hone("train", yaml.toString())).isEqualTo(2);
    assertThat(err()).contains("hone: internal fault: AssertionError: a binding is wrong");
  }

  @Test
  void generateTakesPromptsOrLines() {
    String model = folder.resolve("model").toString();
    assertThat(hone("generate", model, "--prompt", "one", "--prompt", "two", "--temperature", "0.7", "--top-p=0.9"))
        .isZero();
    assertThat(out.toString(StandardCharsets.UTF_8).lines()).containsExactly("one", "two");
    assertThat(talked.temperature()).isEqualTo(0.7);
    assertThat(talked.topP()).isEqualTo(0.9);
    assertThat(talked.maxNewTokens()).isEqualTo(256);
    in = "from stdin\n\nsecond\n";
    assertThat(hone("generate", model, "--adapter", model, "--quantization-bit", "4")).isZero();
    assertThat(out.toString(StandardCharsets.UTF_8).lines()).containsExactly("from stdin", "second");
    assertThat(talked.adapter()).contains(Path.of(model));
    assertThat(talked.quantizationBits()).isEqualTo(4);
    assertThat(hone("chat", model)).isZero();
    assertThat(talked.quantizationBits()).isZero();
    in = "";
    assertThat(hone("generate", model)).isEqualTo(1);
    assertThat(err()).isEqualTo("hone: no prompt; give --prompt TEXT or lines on the standard input");
    assertThat(hone("chat", model, "--top-p", "0")).isEqualTo(1);
    assertThat(err()).isEqualTo("hone: --top-p is `0.0`; want a number above 0 up to 1");
    assertThat(hone("chat", model, "--adapter", model + "x")).isEqualTo(1);
    assertThat(err()).isEqualTo("hone: --adapter: " + model + "x is not a folder; give the folder of a PEFT adapter");
    assertThat(hone("chat", "no-such/model-here")).isEqualTo(1);
    assertThat(err()).startsWith("hone: no-such/model-here is neither a folder nor in the Hugging Face cache");
  }

  @Test
  void doctorNamesTheMachine() {
    assertThat(hone("doctor")).isZero();
    assertThat(out.toString(StandardCharsets.UTF_8)).contains("jdk      " + Runtime.version())
        .containsPattern("kernels  CPU, \\d+ thread")
        .containsPattern("libhone  .+hone");
  }

  @Test
  void withoutACommandItShowsTheUsage() {
    assertThat(hone()).isEqualTo(1);
    assertThat(hone("--help")).isZero();
    assertThat(out.toString(StandardCharsets.UTF_8)).contains("hone [-hV] [--debug] COMMAND").contains("train ");
  }
}
