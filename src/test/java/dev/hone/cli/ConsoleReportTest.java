package dev.hone.cli;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.train.TrainListener.EvalReport;
import dev.hone.train.TrainListener.Finished;
import dev.hone.train.TrainListener.Planned;
import dev.hone.train.TrainListener.StepReport;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;

class ConsoleReportTest {
  private final ByteArrayOutputStream bytes = new ByteArrayOutputStream();
  private final PrintStream out = new PrintStream(bytes, true, StandardCharsets.UTF_8);

  private String text() {
    return bytes.toString(StandardCharsets.UTF_8);
  }

  private static StepReport step(int step, boolean logged) {
    return new StepReport(step, 20, step / 10.0, 1.25, 1.5, 2e-4, 0.7, 1234.5, 60, 61.4, logged);
  }

  @Test
  void plainLinesForLoggedStepsWhereThereIsNoTerminal() {
    try (ConsoleReport report = new ConsoleReport(out, false, () -> false)) {
      report.planned(new Planned(List.of("model llama"), 0, 20));
      report.step(step(1, false));
      report.step(step(2, true));
      report.evaluated(new EvalReport(2, 0.2, 2, 10, 3));
      report.saved(Path.of("out/checkpoint-2"));
      report.warning("3 rows were cut");
      report.finished(new Finished(Path.of("out"), 20, 1.5, 3725, false));
    }
    assertThat(text().lines()).containsExactly(
        "model llama",
        "step 2/20  epoch 0.20  loss 1.5000  lr 2.000e-04  grad_norm 0.7000  1,235 tok/s  left 1:01",
        "eval at step 2: loss 2.0000, perplexity 7.39, 10 rows in 0:03",
        "saved " + Path.of("out/checkpoint-2"),
        "note: 3 rows were cut",
        "done: 20 steps in 1:02:05, mean loss 1.5000; result in out");
  }

  @Test
  void aBarOnATerminal() {
    try (ConsoleReport report = new ConsoleReport(out, true, () -> false)) {
      report.planned(new Planned(List.of("model llama"), 5, 20));
      report.step(step(6, false));
      report.warning("3 rows were cut");
      report.step(step(20, true));
    }
    assertThat(text()).contains("train", "100%", "20/20").contains("\u001b[Knote: 3 rows were cut\n")
        .doesNotContain("step 20/20");
  }

  @Test
  void passesOnTheWishToStopAndSaysHowToGoOn() {
    try (ConsoleReport report = new ConsoleReport(out, false, () -> true)) {
      assertThat(report.stopRequested()).isTrue();
      report.finished(new Finished(Path.of("out/checkpoint-7"), 7, 1.5, 10, true));
    }
    assertThat(text()).isEqualTo("stopped after step 7; go on with resume_from_checkpoint="
        + Path.of("out/checkpoint-7")
        + System.lineSeparator());
  }
}
