package dev.hone.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.UserError;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.GZIPOutputStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class DatasetFilesTest {
  @TempDir Path temp;

  @Test
  void readsArraysAndLinesWithTheirLineNumbers() throws IOException {
    assertThat(rows("a.json", "\n[\n{\"n\": 1},\n  {\"n\":\n 2}\n, {\"n\": 3}]\n"))
        .containsExactly("3:1", "4:2", "6:3");
    assertThat(rows("a.jsonl", "{\"n\": 1}\r\n\n  \n{\"n\": 2}")).containsExactly("1:1", "4:2");
    assertThat(rows("lines.json", "{\"n\": 1}\n{\"n\": NaN}\n")).containsExactly("1:1", "2:NaN");
    assertThat(rows("mark.jsonl", "\uFEFF{\"n\": \"é\"}")).containsExactly("1:é");
    assertThat(rows("empty.json", "")).isEmpty();
    assertThat(rows("none.json", "[]")).isEmpty();
  }

  @Test
  void readsGzippedFilesWhateverTheirName() throws IOException {
    Files.write(temp.resolve("x.json.gz"), gzip("[{\"n\": 1}]"));
    Files.write(temp.resolve("x.jsonl"), gzip("{\"n\": 2}\n{\"n\": 3}"));
    assertThat(rows(temp.resolve("x.json.gz"))).containsExactly("1:1");
    assertThat(rows(temp.resolve("x.jsonl"))).containsExactly("1:2", "2:3");
    byte[] whole = gzip("{\"n\": 2}\n".repeat(1000));
    Files.write(temp.resolve("x.jsonl"), java.util.Arrays.copyOf(whole, whole.length / 2));
    assertThatThrownBy(() -> rows(temp.resolve("x.jsonl")))
        .isInstanceOf(UserError.class)
        .hasMessage(temp.resolve("x.jsonl") + ": the gzip data is damaged or ends early; fetch the file again");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '~',
      quoteCharacter = '`',
      value = {
        "a.jsonl ~ {\"n\": 1}\\n"
            + "{\"n\": oops}\\n"
            + " ~ :2: not valid JSON: Unrecognized token 'oops'; each line must be one whole row",
        "a.jsonl ~ {\"n\": 1}\\n{\"n\": ~ :2: not valid JSON: Unexpected end-of-input within/between Object entries; "
            + "each line must be one whole row",
        "a.jsonl ~ {\\n\"n\": 1\\n} ~ :1: not valid JSON: Unexpected end-of-input: expected close marker for Object; "
            + "each line must be one whole row",
        "a.jsonl ~ {\"n\": 1} {} ~ :1: not valid JSON: something follows the object; each line must be one whole row",
        "a.jsonl ~ {\"n\": 1}\\n7 ~ :2: a row must be a JSON object, not a number",
        "a.json ~ [{\"n\": 1},\\n\\n {\"n\" 2}] ~ :3: not valid JSON: Unexpected character ('2' (code 50)): "
            + "was expecting a colon to separate field name and value",
        "a.json ~ [{\"n\": 1},\\n[2]] ~ :2: a row must be a JSON object, not an array",
        "a.json ~ [{\"n\": 1},\\n"
            + "{\"n\": 2} ~ :2: not valid JSON: Unexpected end-of-input: expected close marker for Array",
        "a.json ~ [{\"n\": 1}]\\n[] ~ :2: something follows the end of the array of rows",
      })
  void saysWhereAFileIsMalformed(String name, String content, String message) throws IOException {
    Files.writeString(temp.resolve(name), content.replace("\\n", "\n"));
    assertThatThrownBy(() -> rows(temp.resolve(name)))
        .isInstanceOf(UserError.class)
        .hasMessage(temp.resolve(name) + message);
  }

  @Test
  void saysWhereBytesAreNoText() throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    bytes.write("{\"n\": 1}\n{\"n\": \"".getBytes(StandardCharsets.UTF_8));
    bytes.write(0xE9); // Latin-1
    bytes.write("x\"}\n".getBytes(StandardCharsets.UTF_8));
    Files.write(temp.resolve("latin.jsonl"), bytes.toByteArray());
    assertThatThrownBy(() -> rows(temp.resolve("latin.jsonl")))
        .isInstanceOf(UserError.class)
        .hasMessageStartingWith(temp.resolve("latin.jsonl") + ":2: not valid JSON: Invalid UTF-8");
  }

  @Test
  void resolvesFilesAndNames() throws IOException {
    Files.writeString(temp.resolve("own.jsonl"), "{}");
    Files.writeString(temp.resolve("talks.json"), "[]");
    Files.writeString(
        temp.resolve("dataset_info.json"),
        """
        {"talks": {"file_name": "talks.json", "formatting": "sharegpt", "num_samples": 5,
                   "columns": {"messages": "turns", "system": "sys"},
                   "tags": {"role_tag": "who", "content_tag": "says", "user_tag": "U", "assistant_tag": "A"}},
         "books": {"file_name": "own.jsonl", "columns": {"prompt": "body"}},
         "plain": {"file_name": "own.jsonl"}}\
        """);
    List<DatasetSource> sources =
        DatasetSource.resolve(List.of("own.jsonl", "talks", "books", "plain"), temp, temp::resolve);
    assertThat(sources)
        .extracting(s -> s.file().getFileName().toString())
        .containsExactly("own.jsonl", "talks.json", "own.jsonl", "own.jsonl");
    assertThat(sources).extracting(DatasetSource::form).containsExactly(null, Form.SHAREGPT, Form.ALPACA, null);
    assertThat(sources.get(1).samples()).isEqualTo(5);
    assertThat(sources.get(1).columns().messages()).isEqualTo("turns");
    assertThat(sources.get(1).columns().tools()).isNull();
    assertThat(sources.get(1).tags().speakers()).containsKeys("U", "A");
    assertThat(sources.get(2).columns().text()).isEqualTo("body");
    assertThat(sources.get(2).columns().response()).isNull();
  }

  @Test
  void saysWhyADatasetCannotBeResolved() throws IOException {
    assertWrong("x.json", "dataset x.json: no such file (" + temp.resolve("x.json") + ")");
    Path info = temp.resolve("dataset_info.json");
    assertWrong("x", "dataset x is no file, and there is no " + info + " to look the name up in");
    Files.createDirectory(temp.resolve("folder"));
    assertWrong("folder", "dataset folder is a folder; name its files, separated by commas");
    Files.writeString(
        info,
        """
        {"hub": {"hf_hub_url": "someone/something"}, "pairs": {"file_name": "p.json", "ranking": true},
         "gone": {"file_name": "gone.json"}, "odd": {"file_name": "a.json", "formatting": "odd"},
         "pictures": {"file_name": "a.json", "columns": {"images": "images"}}}\
        """);
    Files.writeString(temp.resolve("a.json"), "[]");
    assertWrong(
        "y", "dataset y is neither a file nor a name in " + info + ", which has hub, pairs, gone, odd, pictures");
    assertWrong(
        "hub", info + ": hub has no file_name; Hone reads local files only: download the dataset and name its file");
    assertWrong(
        "pairs", info + ": pairs is a preference dataset (ranking: true), which stages pt and sft cannot learn from");
    assertWrong("gone", info + ": gone names the file " + temp.resolve("gone.json") + ", which does not exist");
    assertWrong("odd", info + ": odd: formatting is odd; known are alpaca, sharegpt and openai");
    assertWrong("pictures", info + ": pictures: the column images is not supported");
    Files.writeString(info, "{\n\"x\": }");
    assertThatThrownBy(() -> DatasetSource.resolve(List.of("x"), temp, temp::resolve))
        .isInstanceOf(UserError.class)
        .hasMessageStartingWith(info + ":2: not valid JSON: ");
  }

  private void assertWrong(String name, String message) {
    assertThatThrownBy(() -> DatasetSource.resolve(List.of(name), temp, temp::resolve))
        .isInstanceOf(UserError.class)
        .hasMessage(message);
  }

  private List<String> rows(String name, String content) throws IOException {
    Files.writeString(temp.resolve(name), content);
    return rows(temp.resolve(name));
  }

  private static List<String> rows(Path file) {
    List<String> rows = new ArrayList<>();
    JsonRows.read(file, (row, line) -> rows.add(line + ":" + row.get("n").asText()));
    return rows;
  }

  private static byte[] gzip(String text) throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream();
    try (OutputStream out = new GZIPOutputStream(bytes)) {
      out.write(text.getBytes(StandardCharsets.UTF_8));
    }
    return bytes.toByteArray();
  }
}
