package dev.hone.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.UserError;
import dev.hone.data.DataOptions.Overlong;
import dev.hone.data.DataOptions.Stage;
import dev.hone.testing.GoldenFiles;
import dev.hone.testing.TinyTokenizer;
import dev.hone.text.Tokenizer;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/** Published sample datasets as they are: each loads whole, or is refused with a line that says why. */
class GoldenDataTest {
  private static final DataOptions SFT =
      DataOptions.of(Stage.SFT).withTemplate("chatml").withCutoff(4096, Overlong.CUT);

  @ParameterizedTest
  @CsvSource({
    "alpaca_en_demo.json.gz, 999",
    "alpaca_zh_demo.json.gz, 1000",
    "identity.json.gz, 91",
    "glaive_toolcall_en_demo.json.gz, 300",
    "v1_sft_demo.jsonl.gz, 500"
  })
  void loadsConversations(String name, int rows) {
    TrainingData data = load(name, SFT);
    DatasetReport report = data.report();
    assertThat(report.rows()).isEqualTo(rows);
    assertThat(data.train()).hasSize(report.used());
    assertThat(report.skipped()).isZero();
    assertThat(report.trainedTokens()).isPositive().isLessThan(report.tokens());
    assertThat(data.train()).allMatch(e -> e.length() <= 4096);
    List<Example> packed = Packing.pack(data.train(), 4096);
    assertThat(packed.stream().mapToLong(Example::length).sum()).isEqualTo(report.tokens());
    assertThat(packed.stream().mapToLong(e -> MicroBatch.of(List.of(e)).validTargets()).sum())
        .isEqualTo(report.trainedTokens());
    assertThat(packed.size()).isLessThan(rows / 2);
  }

  @Test
  void loadsTexts() {
    TrainingData data = load("c4_demo.jsonl.gz", DataOptions.of(Stage.PT).withCutoff(1024, Overlong.CUT));
    assertThat(data.report().rows()).isEqualTo(300);
    assertThat(data.train().stream().mapToLong(Example::length).sum()).isEqualTo(data.report().tokens());
    assertThat(data.train().subList(0, data.train().size() - 1)).allMatch(e -> e.length() == 1024);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "dpo_en_demo.json.gz | :2: this is a preference dataset (chosen, rejected), which stages pt and sft cannot"
            + " learn from",
        "kto_en_demo.json.gz | :2: this is a KTO dataset (answers labelled true and false); set dataset_format:"
            + " messages to learn every answer all the same",
        "reason_tool_use_demo_50.jsonl.gz | :1: messages[2]: content of type reasoning is not supported, only text is",
        "seed_tasks.jsonl.gz | :1: there is no field output"
      })
  void refusesWhatItCannotLearn(String name, String message) {
    Path file = GoldenFiles.find("data/" + name);
    assertThatThrownBy(() -> load(name, SFT)).isInstanceOf(UserError.class).hasMessage(file + message);
  }

  private static TrainingData load(String name, DataOptions options) {
    Path file = GoldenFiles.find("data/" + name);
    try (Tokenizer tokenizer = TinyTokenizer.open()) {
      return TrainingData.load(List.of(DatasetSource.of(file)), List.of(), options, tokenizer, tokenizer.vocabSize());
    }
  }
}
