package dev.hone.text;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.UserError;
import dev.hone.testing.TinyTokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Renderings are written as prompt|answer|prompt|answer with each segment's end as ¦. The expected texts are
 * LLaMA-Factory's; where the model's own chat template differs (gemma refuses a system message, llama2 writes a space
 * before EOS) LLaMA-Factory is followed.
 */
class TemplateTest {
  @TempDir Path temp;

  private static final Conversation TWO_TURNS =
      new Conversation(
          "Be brief.",
          "",
          List.of(Message.user("Hi"), Message.assistant("Hello!"), Message.user("2+2?"), Message.assistant("4")));

  @ParameterizedTest
  @CsvSource(
      delimiter = '~',
      quoteCharacter = '`',
      value = {
        "default ~ System: Be brief.¦<EOS>¦\\n¦Human: Hi¦<EOS>¦\\nAssistant:|Hello!¦<EOS>¦\\n"
            + "|Human: 2+2?¦<EOS>¦\\nAssistant:|4¦<EOS>¦\\n",
        "empty ~ Be brief.¦Hi|Hello!|2+2?|4",
        "vanilla ~ Be brief.¦Hi|Hello!¦<EOS>|2+2?|4¦<EOS>",
        "alpaca ~ Be brief.¦### Instruction:\\nHi\\n\\n### Response:\\n|Hello!¦<EOS>¦\\n\\n"
            + "|### Instruction:\\n2+2?\\n\\n### Response:\\n|4¦<EOS>¦\\n\\n",
        "llama2 ~ <BOS>¦[INST] <<SYS>>\\n"
            + "Be brief.\\n"
            + "<</SYS>>\\n"
            + "\\n"
            + "Hi [/INST]|Hello!¦<EOS>|<BOS>¦[INST] 2+2? [/INST]|4¦<EOS>",
        "llama3 ~ <BOS>¦<|start_header_id|>system<|end_header_id|>\\n"
            + "\\n"
            + "Be brief.<|eot_id|>¦<|start_header_id|>user<|end_header_id|>\\n"
            + "\\n"
            + "Hi<|eot_id|><|start_header_id|>assistant<|end_header_id|>\\n"
            + "\\n"
            + "|Hello!<|eot_id|>|<|start_header_id|>user<|end_header_id|>\\n"
            + "\\n"
            + "2+2?<|eot_id|><|start_header_id|>assistant<|end_header_id|>\\n"
            + "\\n"
            + "|4<|eot_id|>",
        "chatml ~ <|im_start|>system\\n"
            + "Be brief.<|im_end|>\\n"
            + "¦<|im_start|>user\\n"
            + "Hi<|im_end|>\\n"
            + "<|im_start|>assistant\\n"
            + "|Hello!<|im_end|>\\n"
            + "|<|im_start|>user\\n"
            + "2+2?<|im_end|>\\n"
            + "<|im_start|>assistant\\n"
            + "|4<|im_end|>\\n",
        "mistral ~ <BOS>¦[INST] Be brief.\\n\\nHi[/INST]| Hello!¦<EOS>|[INST] 2+2?[/INST]| 4¦<EOS>",
        "gemma ~ <BOS>¦<start_of_turn>user\\n"
            + "Be brief.\\n"
            + "\\n"
            + "Hi<end_of_turn>\\n"
            + "<start_of_turn>model\\n"
            + "|Hello!<end_of_turn>\\n"
            + "|<start_of_turn>user\\n"
            + "2+2?<end_of_turn>\\n"
            + "<start_of_turn>model\\n"
            + "|4<end_of_turn>\\n",
        "plain_alpaca ~ <BOS>¦Be brief.¦### Instruction:\\nHi\\n\\n### Response:\\n|Hello!¦<EOS>"
            + "|### Instruction:\\n2+2?\\n\\n### Response:\\n|4¦<EOS>",
      })
  void rendersEachTemplate(String name, String expected) {
    assertThat(text(Templates.named(name), TWO_TURNS)).isEqualTo(expected.replace("\\n", "\n"));
  }

  @Test
  void fillsInTheDefaultSystemMessage() {
    Conversation plain = Conversation.of(Message.user("Hi"), Message.assistant("Yes"));
    assertThat(text(Templates.named("qwen"), plain))
        .startsWith(
            "<|im_start|>system\n"
                + "You are Qwen, created by Alibaba Cloud. You are a helpful assistant.<|im_end|>\n"
                + "¦<|im_start|>user\n"
                + "Hi");
    assertThat(text(Templates.named("alpaca"), plain))
        .startsWith(
            "Below is an instruction that describes a task. Write a response that appropriately completes the"
                + " request.\n\n"
                + "¦### Ins");
    assertThat(text(Templates.named("chatml"), plain)).startsWith("<|im_start|>user\nHi");
  }

  @Test
  void joinsTheInputOrGivesItAPlaceOfItsOwn() {
    Conversation row =
        Conversation.of(new Message(Role.USER, "Add", "1 and {{content}}", false), Message.assistant("2"));
    assertThat(text(Templates.named("default"), row)).startsWith("Human: Add\n1 and {{content}}¦");
    assertThat(text(Templates.named("plain_alpaca"), row))
        .startsWith("<BOS>¦### Instruction:\nAdd\n\n### Input:\n1 and {{content}}\n\n### Response:\n|2");
    Conversation onlyInput = Conversation.of(new Message(Role.USER, "", "x", false), Message.assistant("2"));
    assertThat(text(Templates.named("default"), onlyInput)).startsWith("Human: x¦");
  }

  @Test
  void leavesPlaceholdersInTheTextAlone() {
    Conversation row = Conversation.of(Message.user("{{content}} {{input}}"), Message.assistant("{{input}}"));
    assertThat(text(Templates.named("plain_alpaca"), row))
        .isEqualTo("<BOS>¦### Instruction:\n{{content}} {{input}}\n\n### Response:\n|{{input}}¦<EOS>");
  }

  @Test
  void rendersToolsAndTheirAnswers() {
    Conversation row =
        new Conversation(
            "",
            "[{\"name\": \"now\", \"description\": \"Time\"}]",
            List.of(
                Message.user("When?"),
                Message.of(Role.FUNCTION, "{\"name\": \"now\", \"arguments\": {\"zone\":\"é\"}}"),
                Message.of(Role.OBSERVATION, "12:00"),
                Message.assistant("Noon")));
    assertThat(text(Templates.named("qwen"), row))
        .contains(
            "<tools>\n{\"type\": \"function\", \"function\": {\"name\": \"now\", \"description\": \"Time\"}}\n</tools>")
        .contains("|<tool_call>\n{\"name\": \"now\", \"arguments\": {\"zone\": \"é\"}}\n</tool_call><|im_end|>\n|")
        .endsWith(
            "|<|im_start|>user\n"
                + "<tool_response>\n"
                + "12:00\n"
                + "</tool_response><|im_end|>\n"
                + "<|im_start|>assistant\n"
                + "|Noon<|im_end|>\n");
    assertThat(text(Templates.named("default"), row)).contains("|Action: now\nAction Input: {\"zone\": \"é\"}¦<EOS>");
    assertThat(text(Templates.named("mistral"), row))
        .contains("|[TOOL_CALLS] [{\"name\": \"now\", \"arguments\": {\"zone\": \"é\"}}]¦<EOS>|");
    assertThat(text(Templates.named("llama3"), row))
        .contains("|{\"name\": \"now\", \"parameters\": {\"zone\": \"é\"}}<|eot_id|>|<|start_header_id|>ipython");
  }

  @Test
  void refusesTurnsThatDoNotAlternate() {
    Template template = Templates.named("default");
    assertThatThrownBy(() -> template.render(Conversation.of(Message.assistant("Hi"))))
        .hasMessage("turn 1 is assistant where a question (user or observation) must stand");
    assertThatThrownBy(() -> template.render(Conversation.of(Message.user("Hi"), Message.user("Hi"))))
        .hasMessage("turn 2 is user where an answer (assistant or function) must stand");
    assertThat(Conversation.of(Message.user("Hi")).flaw(true)).isEqualTo("the last turn has no answer");
    assertThat(Conversation.of(Message.user("Hi")).flaw(false)).isNull();
  }

  @Test
  void namesWhatItKnowsForAnUnknownTemplate() {
    assertThatThrownBy(() -> Templates.named("lama3"))
        .isInstanceOf(UserError.class)
        .hasMessage(
            "template lama3 is not known; known are default, empty, vanilla, alpaca, plain_alpaca, llama2, llama3,"
                + " chatml, qwen, qwen3_nothink, smollm, smollm2, mistral, gemma, gemma2, gemma3");
  }

  static List<List<String>> choices() {
    return List.of(
        List.of("<|start_header_id|> <|eot_id|>", "", "llama3"),
        List.of("<|im_start|> <|im_end|>", "", "chatml"),
        List.of("<|im_start|> <|im_end|>", "You are Qwen, created by Alibaba Cloud. You", "qwen"),
        List.of("<|im_start|> <|im_end|>", "assistant named SmolLM", "smollm2"),
        List.of("<start_of_turn> <end_of_turn>", "", "gemma"),
        List.of("[INST] [/INST]", "", "mistral"),
        List.of("<s> </s>", "{{ '<<SYS>>' }}", "llama2"),
        List.of(
            "<s> </s>",
            "",
            "!template is not set and the model's tokenizer does not show which it uses; set template to one of "
                + String.join(", ", Templates.names())
                + " (a base model takes any, such as default)"),
        List.of(
            "<|im_start|> <|im_end|>",
            "<think>",
            "!template is not set and the model's own has a thinking part; set template to one of "
                + String.join(", ", Templates.names())
                + " (qwen3_nothink trains Qwen3 without thinking)"));
  }

  @ParameterizedTest
  @MethodSource("choices")
  void choosesByTheTokenizer(List<String> choice) throws IOException {
    String json = Files.readString(TinyTokenizer.directory().resolve("tokenizer.json"));
    String[] tokens = choice.get(0).split(" ");
    json =
        json.replace("<|im_start|>", "<|0|>")
            .replace("<|im_end|>", "<|1|>")
            .replace("<|eot_id|>", "<|2|>")
            .replace("<|0|>", tokens[0].startsWith("<s>") ? "<|0|>" : tokens[0])
            .replace("<|1|>", tokens[1].startsWith("</s>") ? "<|1|>" : tokens[1]);
    Files.writeString(temp.resolve("tokenizer.json"), json);
    Files.writeString(temp.resolve("chat_template.jinja"), choice.get(1));
    try (Tokenizer tokenizer = Tokenizer.open(temp)) {
      if (choice.get(2).startsWith("!")) {
        assertThatThrownBy(() -> Templates.choose(tokenizer))
            .isInstanceOf(UserError.class)
            .hasMessage(choice.get(2).substring(1));
      } else {
        assertThat(Templates.choose(tokenizer).name()).isEqualTo(choice.get(2));
      }
    }
  }

  @Test
  void endsAnswersWithTheTemplatesToken() {
    try (Tokenizer tokenizer = TinyTokenizer.open()) {
      ChatEncoder chatml = new ChatEncoder(Templates.named("chatml"), tokenizer);
      assertThat(chatml.eosId()).isEqualTo(5);
      assertThat(chatml.stopIds()).containsExactlyInAnyOrder(5, 2, 4);
      int[] answer = chatml.encode(TWO_TURNS).getLast().answer();
      assertThat(answer).hasSize(3).contains(5);
      assertThat(new ChatEncoder(Templates.named("default"), tokenizer).stopIds()).containsExactly(2);
    }
  }

  @Test
  void writesAPromptToAnswer() {
    try (Tokenizer tokenizer = TinyTokenizer.open()) {
      Conversation question = Conversation.of(Message.user("a"), Message.assistant("b"), Message.user("hello"));
      int[] prompt = new ChatEncoder(Templates.named("plain_alpaca"), tokenizer).prompt(question);
      assertThat(tokenizer.decode(prompt, false))
          .isEqualTo("<s>### Instruction:\na\n\n### Response:\nb</s>### Instruction:\nhello\n\n### Response:\n");
    }
  }

  @Test
  void refusesATemplateTheTokenizerCannotWrite() throws IOException {
    try (Tokenizer tokenizer = TinyTokenizer.open()) {
      assertThatThrownBy(() -> new ChatEncoder(Templates.named("gemma"), tokenizer))
          .isInstanceOf(UserError.class)
          .hasMessage(
              "template gemma ends answers with <end_of_turn>, which the model's tokenizer does not have; "
                  + "choose a template of this model's");
    }
    TinyTokenizer.copy(temp, "{}");
    try (Tokenizer tokenizer = Tokenizer.open(temp)) {
      assertThatThrownBy(() -> new ChatEncoder(Templates.named("default"), tokenizer))
          .isInstanceOf(UserError.class)
          .hasMessage(
              "template default needs an EOS token and the model's tokenizer names none; set eos_token in"
                  + " tokenizer_config.json");
      assertThat(new ChatEncoder(Templates.named("empty"), tokenizer).eosId()).isEqualTo(-1);
    }
  }

  private static String text(Template template, Conversation conversation) {
    StringBuilder out = new StringBuilder();
    for (Template.Turn turn : template.render(conversation)) {
      for (List<Segment> part : List.of(turn.prompt(), turn.answer())) {
        out.append(out.isEmpty() ? "" : "|");
        out.append(
            String.join("¦", part.stream().map(s -> s instanceof Segment.Text t ? t.text() : "<" + s + ">").toList()));
      }
    }
    return out.toString();
  }
}
