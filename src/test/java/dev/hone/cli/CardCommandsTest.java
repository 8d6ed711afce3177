package dev.hone.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.testing.Golden;
import dev.hone.testing.StandIn;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** The commands that look at a card or run on one, by the command line, through the stand-in driver. */
class CardCommandsTest {
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  private int hone(String... args) {
    return Main.run(
        new RunTraining(), new RunTalking(), new BufferedReader(new StringReader("")), new PrintStream(out, true),
        new PrintStream(err, true), args);
  }

  private String out() {
    return out.toString(StandardCharsets.UTF_8);
  }

  private String err() {
    return err.toString(StandardCharsets.UTF_8).strip();
  }

  @Test
  void doctorTellsCardLinkAndWhatRunsWhere() {
    String driver = StandIn.library("cc=8.6 vram=4294967296 name=A card").toString();
    assertThat(hone("doctor", "--driver", driver)).isZero();
    assertThat(out()).contains("driver   " + driver)
        .contains("card     cuda:0, A card, compute capability 8.6, 4.0 GiB, driver for CUDA 12.0")
        .containsPattern("free, activations in bf16, link \\d+\\.\\d GB/s to the card, \\d+\\.\\d GB/s from it")
        .contains("runs on  the card");
  }

  @Test
  void doctorTellsWhatIsMissing() {
    assertThat(hone("doctor", "--driver", "/nowhere/libcuda.so.1")).isZero();
    assertThat(out()).contains("driver   /nowhere/libcuda.so.1: no NVIDIA driver").contains("runs on  the CPU");
    String driver = StandIn.library("cc=7.0").toString();
    assertThat(hone("doctor", "--driver", driver)).isZero();
    assertThat(out()).contains("has compute capability 7.0; Hone wants 7.5");
  }

  @Test
  void selftestPrintsATableAndItsVerdict() {
    String driver = StandIn.library("cc=8.0").toString();
    assertThat(hone("selftest", "--device", "cuda", "--driver", driver)).as(out()).isZero();
    assertThat(out()).contains("cuda:0").containsPattern("attention +M .* bf16 +\\d\\.\\d\\de-\\d\\d")
        .containsPattern("\\d{3} outputs checked, all good");
  }

  @Test
  void selftestTakesF16OnACardThatHasBf16() {
    String driver = StandIn.library("cc=8.0").toString();
    assertThat(hone("selftest", "--device", "cuda", "--driver", driver, "--compute-dtype", "fp16")).as(out()).isZero();
    assertThat(out()).containsPattern("attention +M .* f16 +\\d\\.\\d\\de-\\d\\d").doesNotContain("bf16")
        .containsPattern("\\d{3} outputs checked, all good");
  }

  @ParameterizedTest
  @CsvSource(delimiter = '|', textBlock = """
      selftest --device tpu                                  | hone: --device is `tpu`; want auto, cpu, cuda or cuda:N
      selftest --device cuda --driver /nowhere/libcuda.so.1  | no NVIDIA driver: /nowhere/libcuda.so.1 cannot be loaded
      selftest --device auto --driver /nowhere/libcuda.so.1  | no NVIDIA driver: /nowhere/libcuda.so.1 cannot be loaded
      """)
  void aDeviceThatIsNotThereIsOneLine(String line, String message) {
    assertThat(hone(line.strip().split(" +"))).isEqualTo(1);
    assertThat(err()).startsWith("hone: ").contains(message).doesNotContain("\n");
  }

  @Test
  void fullFineTuningOnACardIsRefusedInOneLine() {
    String driver = StandIn.library("cc=8.0").toString();
    Path yaml = Path.of(System.getProperty("hone.root", "."), "examples/quickstart.yaml");
    int code = hone("train", yaml.toString(), "finetuning_type=full", "quantization_bit=none", "--device", "cuda",
        "--driver", driver, "output_dir=" + Golden.committed("models/llama").resolveSibling("never-written"));
    assertThat(code).isEqualTo(1);
    assertThat(err()).contains("a card trains adapters, not whole weights").contains("--device cpu");
  }
}
