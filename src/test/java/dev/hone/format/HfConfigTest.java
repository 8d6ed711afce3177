package dev.hone.format;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.UserError;
import dev.hone.testing.GoldenModels;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import org.assertj.core.api.ThrowableAssert.ThrowingCallable;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class HfConfigTest {
  @TempDir Path temp;

  private static final HfConfig CONFIG =
      HfConfig.parse(
          """
          {"n": 3, "whole": 4.0, "x": 0.5, "on": true, "name": "a", "nothing": null, "list": ["p", "q"], "numbers": [1, 2.5],
           "Shouted_Key": 7, "inner": {"deep": 1}, "eos_token_id": [4, 5], "bos_token_id": 6, "pad_token_id": -1}
          """,
          "config.json");

  private static void refused(ThrowingCallable call, String message) {
    assertThatThrownBy(call).isInstanceOf(UserError.class).hasMessage(message);
  }

  @Test
  void readsByType() {
    assertThat(CONFIG.integer("n")).isEqualTo(3);
    assertThat(CONFIG.integer("whole")).isEqualTo(4);
    assertThat(CONFIG.integer("absent", 9)).isEqualTo(9);
    assertThat(CONFIG.integer("nothing", 9)).isEqualTo(9);
    assertThat(CONFIG.number("x")).isEqualTo(0.5);
    assertThat(CONFIG.number("n", 1)).isEqualTo(3);
    assertThat(CONFIG.flag("on", false)).isTrue();
    assertThat(CONFIG.text("name")).isEqualTo("a");
    assertThat(CONFIG.text("absent", "b")).isEqualTo("b");
    assertThat(CONFIG.texts("list")).containsExactly("p", "q");
    assertThat(CONFIG.texts("absent")).isEmpty();
    assertThat(CONFIG.numbers("numbers")).containsExactly(1, 2.5);
    assertThat(CONFIG.integer("shouted_key")).isEqualTo(7);
    assertThat(CONFIG.object("inner").orElseThrow().integer("deep")).isEqualTo(1);
    assertThat(CONFIG.object("nothing")).isEmpty();
    assertThat(CONFIG.has("nothing")).isFalse();
    assertThat(CONFIG.declares("nothing")).isTrue();
    assertThat(CONFIG.declares("absent")).isFalse();
    assertThat(CONFIG.eosIds()).containsExactly(4, 5);
    assertThat(CONFIG.tokenId("bos_token_id")).isEqualTo(6);
    assertThat(CONFIG.tokenId("pad_token_id")).isEqualTo(-1);
  }

  @Test
  void saysWhatIsWrong() {
    refused(() -> CONFIG.integer("num_attention_heads"), "config.json: num_attention_heads is missing");
    refused(() -> CONFIG.integer("nothing"), "config.json: nothing is missing");
    refused(() -> CONFIG.integer("x"), "config.json: x is 0.5, want a whole number");
    refused(() -> CONFIG.integer("name", 1), "config.json: name is \"a\", want a whole number");
    refused(() -> CONFIG.number("on"), "config.json: on is true, want a number");
    refused(() -> CONFIG.flag("n", true), "config.json: n is 3, want true or false");
    refused(() -> CONFIG.text("n"), "config.json: n is 3, want a string");
    refused(() -> CONFIG.texts("n"), "config.json: n is 3, want a list [...]");
    refused(() -> CONFIG.numbers("list"), "config.json: list is \"p\", want a number");
    refused(() -> CONFIG.object("n"), "config.json: n is 3, want an object {...}");
    refused(() -> CONFIG.object("inner").orElseThrow().text("name"), "config.json: inner.name is missing");
  }

  @Test
  void readsBothFilesOfAModel() throws IOException {
    Files.copy(GoldenModels.path("models/qwen2/config.json"), temp.resolve("config.json"));
    assertThat(HfConfig.read(temp).eosIds()).containsExactly(2);
    Files.writeString(temp.resolve("generation_config.json"), "{\"eos_token_id\": [9, 2], \"bos_token_id\": 8}");
    HfConfig config = HfConfig.read(temp);
    assertThat(config.eosIds()).containsExactly(9, 2);
    assertThat(config.tokenId("bos_token_id")).isEqualTo(1);
    assertThat(config.text("model_type")).isEqualTo("qwen2");
  }

  @Test
  void refusesMissingAndMalformedFiles() throws IOException {
    refused(
        () -> HfConfig.read(temp.resolve("absent")),
        temp.resolve("absent") + ": no such folder; model_name_or_path wants a folder with config.json and *.safetensors");
    refused(
        () -> HfConfig.read(temp), temp + ": has no config.json; model_name_or_path wants a Hugging Face model folder");
    Path file = temp.resolve("config.json");
    for (String[] broken :
        new String[][] {
          {"{\n \"a\": 1,\n \"b\" 2}", ":3: not valid JSON"},
          {"{\"a\": 1, \"a\": 2}", ":1: not valid JSON: Duplicate"},
          {"{\"a\": 1} x", ":1: not valid JSON"},
          {"{\"a\": ", "not valid JSON"},
          {"", "want a JSON object {...}"},
          {"[1]", "want a JSON object {...}"},
        }) {
      Files.writeString(file, broken[0]);
      assertThatThrownBy(() -> HfConfig.read(temp))
          .as(broken[0])
          .isInstanceOf(UserError.class)
          .hasMessageStartingWith(file.toString())
          .hasMessageContaining(broken[1]);
    }
    Files.writeString(file, "{\"v\": NaN, \"w\": Infinity}");
    refused(() -> HfConfig.read(temp).number("w"), file + ": w is \"Infinity\", want a number");
  }
}
