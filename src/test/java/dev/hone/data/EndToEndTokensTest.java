package dev.hone.data;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.hone.data.DataOptions.Overlong;
import dev.hone.data.DataOptions.Stage;
import dev.hone.testing.GoldenFiles;
import dev.hone.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;

/**
 * The reference's end-to-end set: the first 48 alpaca records in plain_alpaca on stories260K, rows cut at their ends.
 */
class EndToEndTokensTest {
  @Test
  void tokensAndLabelsOfAllRecordsAreTheReferences() throws IOException {
    Path e2e = GoldenFiles.find("e2e/e2e.json");
    Path records = GoldenFiles.find("data/alpaca_en_demo.json.gz");
    Path model = GoldenFiles.find("stories260K");
    JsonNode tokens = new ObjectMapper().readTree(e2e.toFile()).get("tokens");
    DataOptions options =
        DataOptions.of(Stage.SFT).withTemplate("plain_alpaca").withCutoff(192, Overlong.CUT_END).withMaxSamples(48);
    try (Tokenizer tokenizer = Tokenizer.open(model)) {
      TrainingData data = TrainingData.load(List.of(DatasetSource.of(records)), List.of(), options, tokenizer, 512);
      assertThat(tokens.size()).isEqualTo(48);
      assertThat(data.train()).hasSize(48);
      for (int i = 0; i < 48; i++) {
        assertThat(data.train().get(i).ids()).as("record " + i).isEqualTo(ints(tokens.get(i).get("input_ids")));
        assertThat(data.train().get(i).labels()).as("record " + i).isEqualTo(ints(tokens.get(i).get("labels")));
      }
      assertThat(data.report().rows()).isEqualTo(48);
      assertThat(data.report().lines().getFirst()).startsWith("48 rows, ");
    }
  }

  private static int[] ints(JsonNode array) {
    return StreamSupport.stream(array.spliterator(), false).mapToInt(JsonNode::asInt).toArray();
  }
}
