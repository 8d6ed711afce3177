package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.hone.config.TrainConfig;
import dev.hone.testing.Residency;
import dev.hone.testing.TokenizedRows;
import dev.hone.train.TrainListener;
import dev.hone.train.Trainer;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * A model larger than the memory it may take trains: TinyLlama's shape in bf16, 2.2 GB, with at most 2 GB resident. It writes and reads
 * the model, so it runs when it is asked for: {@code mvn test -Dtest=ResidentTrainingTest -Dhone.large=true}.
 */
class ResidentTrainingTest {
  private static final long MOST = 2_000_000_000L;

  @TempDir
  private Path folder;

  /** Trains by the YAML in {@code args[0]} and prints the loss of its step and VmHWM. */
  static final class Program {
    public static void main(String[] args) {
      double[] loss = {0};
      new Trainer(TrainConfig.load(Path.of(args[0]), List.of()), new TrainListener() {
        @Override
        public void step(StepReport step) {
          loss[0] = step.loss();
        }

        @Override
        public void warning(String line) {
          System.out.println(line);
        }
      }).run();
      System.out.println("loss " + loss[0]);
      System.out.println("VmHWM " + Residency.status("VmHWM"));
    }
  }

  private List<String> train(String limit) throws Exception {
    Path yaml = Files.writeString(folder.resolve("run.yaml"), """
        model_name_or_path: %s
        dataset: %s
        output_dir: %s
        overwrite_output_dir: true
        device: cpu
        lora_rank: 8
        lora_target: all
        max_steps: 1
        logging_steps: 1
        save_strategy: "no"
        plot_loss: false
        %s""".formatted(folder.resolve("model"), folder.resolve("rows.jsonl"), folder.resolve("out"), limit));
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xmx512m", "-XX:+UseSerialGC",
                "--enable-native-access=ALL-UNNAMED", "-cp", System.getProperty("java.class.path"),
                Program.class.getName(), yaml.toString())
            .redirectErrorStream(true).start();
    List<String> said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8).lines().toList();
    assertThat(process.waitFor()).as(String.join("\n", said)).isZero();
    return said;
  }

  private static double number(List<String> said, String word) {
    return said.stream().filter(line -> line.startsWith(word + " ")).mapToDouble(line -> Double.parseDouble(line.split(" ")[1]))
        .findFirst().orElseThrow();
  }

  @Test
  void twoGigabytesOfWeightsTrainInLess() throws Exception {
    assumeTrue(Boolean.getBoolean("hone.large"), "skipped: it writes 2.2 GB; -Dhone.large=true runs it");
    assumeTrue(Residency.isKnown(), "skipped: no /proc/self/status to read the resident memory from");
    assumeTrue(Files.getFileStore(folder).getUsableSpace() > 3_000_000_000L, "skipped: less than 3 GB free in " + folder);
    assertThat(QuantisingMemoryTest.write(folder.resolve("model"))).isGreaterThan(MOST + 200_000_000);
    TokenizedRows.random(folder.resolve("rows.jsonl"), 1, 64, 65, 32000, 5);
    List<String> within = train("ram_limit: 1800MB");
    List<String> whole = train("");
    System.out.printf(
        "2.2 GB of bf16 weights: VmHWM %.0f MB within ram_limit 1800MB, %.0f MB without%n", number(within, "VmHWM") / 1e6,
        number(whole, "VmHWM") / 1e6);
    assertThat(within).anyMatch(line -> line.contains("layers stay in memory, the others are read as they are needed"));
    assertThat(number(within, "VmHWM")).isLessThan(MOST);
    assertThat(number(whole, "VmHWM")).isGreaterThan(MOST);
    assertThat(number(within, "loss")).isEqualTo(number(whole, "loss"));
  }
}
