package dev.hone.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.hone.config.UserError;
import dev.hone.testing.GoldenFiles;
import dev.hone.testing.TinyTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.stream.StreamSupport;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class TokenizerTest {
  @TempDir Path temp;

  @ParameterizedTest
  @ValueSource(strings = {"gpt2", "smollm2", "llama2", "llama3", "qwen2"})
  void encodesAndDecodesAsThePublishedVocabularies(String name) throws IOException {
    Path golden = GoldenFiles.find("tokenizers");
    Files.write(temp.resolve("tokenizer.json"), GoldenFiles.read(golden.resolve(name + ".tokenizer.json.gz")));
    JsonNode cases = new ObjectMapper().readTree(GoldenFiles.read(golden.resolve("cases.json.gz"))).get(name);
    assertThat(cases.size()).isGreaterThan(40);
    try (Tokenizer tokenizer = Tokenizer.open(temp)) {
      for (JsonNode c : cases) {
        String text = c.get("text").asText();
        int[] ids = ints(c.get("ids"));
        assertThat(tokenizer.encode(text, false)).as(text).isEqualTo(ids);
        assertThat(tokenizer.decode(ids, false)).as(text).isEqualTo(c.get("decoded").asText());
        if (c.has("ids_with_special")) {
          assertThat(tokenizer.encode(text, true)).as(text).isEqualTo(ints(c.get("ids_with_special")));
        }
        StreamDecoder stream = tokenizer.stream(false);
        StringBuilder pieces = new StringBuilder();
        for (int id : ids) {
          pieces.append(stream.push(id));
        }
        assertThat(pieces.append(stream.flush()).toString()).as(text).isEqualTo(c.get("decoded").asText());
      }
    }
  }

  @Test
  void ignoresStaleTruncationAndPadding() {
    try (Tokenizer tokenizer = TinyTokenizer.open()) {
      assertThat(tokenizer.encode("hello", false)).hasSize(1);
      assertThat(tokenizer.encode("a b c d e f g h i j", false)).hasSize(19); // " a" is one token
    }
  }

  @Test
  void addsAndSkipsSpecialTokens() {
    try (Tokenizer tokenizer = TinyTokenizer.open()) {
      int[] plain = tokenizer.encode("hello world", false);
      int[] special = tokenizer.encode("hello world", true);
      assertThat(special).hasSize(plain.length + 1).startsWith(1).endsWith(plain);
      assertThat(tokenizer.decode(special, true)).isEqualTo("hello world");
      assertThat(tokenizer.decode(special, false)).isEqualTo("<s>hello world");
      assertThat(tokenizer.encode("<|im_end|>x", false)).startsWith(5);
    }
  }

  @Test
  void knowsItsSpecialTokens() {
    try (Tokenizer tokenizer = TinyTokenizer.open()) {
      assertThat(tokenizer.bosId()).isEqualTo(1);
      assertThat(tokenizer.eosId()).isEqualTo(2);
      assertThat(tokenizer.padId()).isEqualTo(3);
      assertThat(tokenizer.addsBos()).isTrue();
      assertThat(tokenizer.vocabSize()).isEqualTo(9 + 256 + 20);
      assertThat(tokenizer.id("<|eot_id|>")).hasValue(8);
      assertThat(tokenizer.id("<|nothing|>")).isEmpty();
    }
  }

  @Test
  void takesIdsFromConfigWhenTheTokenizerNamesNone() throws IOException {
    TinyTokenizer.copy(temp, "{}");
    Files.writeString(
        temp.resolve("config.json"), "{\"bos_token_id\": 1, \"eos_token_id\": [8, 2], \"pad_token_id\": null}");
    try (Tokenizer tokenizer = Tokenizer.open(temp)) {
      assertThat(tokenizer.bosId()).isEqualTo(1);
      assertThat(tokenizer.eosId()).isEqualTo(8);
      assertThat(tokenizer.padId()).isEqualTo(-1);
      assertThat(tokenizer.addsBos()).isFalse();
    }
  }

  @Test
  void readsTheChatTemplateFromEitherPlace() throws IOException {
    TinyTokenizer.copy(temp, "{\"chat_template\": [{\"name\": \"default\", \"template\": \"inside\"}]}");
    try (Tokenizer tokenizer = Tokenizer.open(temp)) {
      assertThat(tokenizer.chatTemplate()).isEqualTo("inside");
    }
    Files.writeString(temp.resolve("chat_template.jinja"), "apart");
    try (Tokenizer tokenizer = Tokenizer.open(temp)) {
      assertThat(tokenizer.chatTemplate()).isEqualTo("apart");
    }
  }

  @Test
  void streamsCharactersWhole() {
    try (Tokenizer tokenizer = TinyTokenizer.open()) {
      StreamDecoder stream = tokenizer.stream(true);
      StringBuilder text = new StringBuilder();
      int empty = 0;
      for (int id : tokenizer.encode("é€😀!", true)) { // 2 + 3 + 4 bytes, one token each
        String piece = stream.push(id);
        assertThat(piece).doesNotContain("\uFFFD");
        empty += piece.isEmpty() ? 1 : 0;
        text.append(piece);
      }
      assertThat(text.toString()).isEqualTo("é€😀!");
      assertThat(empty).isEqualTo(1 + 1 + 2 + 3); // BOS is skipped, then the unfinished characters
      assertThat(stream.flush()).isEmpty();
    }
  }

  @Test
  void flushesAnUnfinishedCharacter() {
    try (Tokenizer tokenizer = TinyTokenizer.open()) {
      int[] euro = tokenizer.encode("€", false);
      StreamDecoder stream = tokenizer.stream(true);
      assertThat(stream.push(euro[0]) + stream.push(euro[1])).isEmpty();
      assertThat(stream.flush()).isEqualTo("\uFFFD");
    }
  }

  @Test
  void doesNotWaitForeverForACharacter() {
    try (Tokenizer tokenizer = TinyTokenizer.open()) {
      int half = tokenizer.encode("€", false)[0];
      StreamDecoder stream = tokenizer.stream(true);
      StringBuilder text = new StringBuilder();
      for (int i = 0; i < 20; i++) {
        text.append(stream.push(half));
      }
      assertThat(text.append(stream.flush()).toString()).isEqualTo("\uFFFD".repeat(20));
    }
  }

  @Test
  void replacesHalfASurrogatePair() {
    try (Tokenizer tokenizer = TinyTokenizer.open()) {
      assertThat(tokenizer.decode(tokenizer.encode("a\uD83Db\uDE00😀", false), false)).isEqualTo("a\uFFFDb\uFFFD😀");
      assertThat(tokenizer.encode("nul \0 inside", false)).hasSize("nul \0 inside".length() - 1); // "in" is one token
    }
  }

  @Test
  void refusesAMissingOrGarbledTokenizer() throws IOException {
    assertThat(Tokenizer.in(temp)).isFalse();
    Path file = temp.resolve("tokenizer.json");
    assertThatThrownBy(() -> Tokenizer.open(temp))
        .isInstanceOf(UserError.class)
        .hasMessage(file + " is missing: put the model's tokenizer.json there, or train on tokenized data");

    byte[] whole = Files.readAllBytes(TinyTokenizer.directory().resolve("tokenizer.json"));
    Files.write(file, java.util.Arrays.copyOf(whole, whole.length / 2));
    assertThatThrownBy(() -> Tokenizer.open(temp))
        .isInstanceOf(UserError.class)
        .hasMessageStartingWith(file + ":1: not valid JSON: ")
        .hasMessageEndingWith("; fetch the file again");

    Files.writeString(file, "{\"added_tokens\": []}");
    assertThatThrownBy(() -> Tokenizer.open(temp))
        .isInstanceOf(UserError.class)
        .hasMessage(file + ": not a tokenizer: it has no \"model\"");

    Files.writeString(file, "[1]");
    assertThatThrownBy(() -> Tokenizer.open(temp))
        .isInstanceOf(UserError.class)
        .hasMessage(file + ":1: not a tokenizer: a JSON object must stand here");

    Files.writeString(file, "{\"model\": {\"type\": \"Unheard\", \"vocab\": {}}}");
    assertThatThrownBy(() -> Tokenizer.open(temp))
        .isInstanceOf(UserError.class)
        .hasMessageStartingWith(file + " is not a usable tokenizer: ");
  }

  @Test
  void namesAGarbledSideFile() throws IOException {
    TinyTokenizer.copy(temp, "{\n\"bos_token\": oops}");
    assertThatThrownBy(() -> Tokenizer.open(temp))
        .isInstanceOf(UserError.class)
        .hasMessageStartingWith(temp.resolve("tokenizer_config.json") + ":2: not valid JSON: ");
  }

  private static int[] ints(JsonNode array) {
    return StreamSupport.stream(array.spliterator(), false).mapToInt(JsonNode::asInt).toArray();
  }
}
