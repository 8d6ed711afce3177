package dev.hone.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.testing.LaidOut;
import dev.hone.config.UserError;
import dev.hone.data.DataOptions.Overlong;
import dev.hone.data.DataOptions.Stage;
import dev.hone.testing.TinyTokenizer;
import dev.hone.text.Tokenizer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.stream.Collectors;
import java.util.stream.IntStream;
import org.junit.jupiter.api.AfterAll;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class TrainingDataTest {
  private static final DataOptions SFT = DataOptions.of(Stage.SFT).withTemplate("vanilla");
  private static final DataOptions PT = DataOptions.of(Stage.PT);
  private static Tokenizer tokenizer;
  @TempDir Path temp;

  @BeforeAll
  static void open() {
    tokenizer = TinyTokenizer.open();
  }

  @AfterAll
  static void close() {
    tokenizer.close();
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '~',
      quoteCharacter = '`',
      value = {
        "{'instruction': 'Q', 'input': '', 'output': 'A'} ~ Q[A</s>]",
        "{'instruction': 'Q', 'output': 'A', 'system': 'S'} ~ SQ[A</s>]",
        "{'instruction': 'Q', 'input': 'I', 'output': 'A', 'history': [['q', 'a']]} ~ q[a</s>]Q.I[A</s>]",
        "{'instruction': 'Q', 'input': null, 'output': '', 'history': null} ~ Q[</s>]",
        "{'messages': [{'role': 'user', 'content': 'Q'}, {'role': 'assistant', 'content': 'A'}]} ~ Q[A</s>]",
        "{'messages': [{'role': 'system', 'content': 'S'}, {'role': 'user', 'content': 'Q'}, {'role': 'assistant',"
            + " 'content': 'A'}]} ~ SQ[A</s>]",
        "{'messages': [{'role': 'user', 'content': [{'type': 'text', 'text': 'Q'}]}, {'role': 'assistant', 'content':"
            + " 'A', 'weight': 0}, {'role': 'user', 'content': 'q'}, {'role': 'assistant', 'content': 'a'}]} ~"
            + " QA</s>q[a</s>]",
        "{'messages': [{'role': 'user', 'content': 'Q'}, {'role': 'assistant', 'content': null,"
            + " 'tool_calls': [{'function': {'name': 'f', 'arguments': '{}'}}]}, {'role': 'tool', 'content': 'O'},"
            + " {'role': 'assistant', 'content': 'A'}]} ~ Q[Action: f.Action Input: {}</s>]O[A</s>]",
        "{'conversations': [{'from': 'human', 'value': 'Q'}, {'from': 'gpt', 'value': 'A'}], 'system': 'S'} ~"
            + " SQ[A</s>]",
        "{'conversations': [{'role': 'user', 'content': 'Q'}, {'role': 'assistant', 'content': 'A'}]} ~ Q[A</s>]",
        "{'conversations': [{'from': 'human', 'value': 'Q'}, {'from': 'function_call', 'value': '{\"name\": \"f\","
            + " \"arguments\": {}}'}, {'from': 'observation', 'value': 'O'}, {'from': 'gpt', 'value': 'A'}]} ~"
            + " Q[Action: f.Action Input: {}</s>]O[A</s>]",
        "{'input_ids': [10, 11, 12]} ~ ![-100->10 11 12]",
        "{'input_ids': [10, 11, 12, 3], 'labels': [-100, -100, 12, -100], 'attention_mask': [1, 1, 1, 0]} ~ ![10 11"
            + " -100->12]",
      })
  void readsEveryForm(String row, String expected) {
    Example example = load(SFT, row).train().getFirst();
    if (!expected.startsWith("!")) {
      String shown = Preview.render(example, tokenizer, false).replace("↵\n", ".").replace("\n", ".");
      assertThat(shown.replace('⟦', '[').replace('⟧', ']')).isEqualTo(expected);
    } else if (expected.contains("11 12")) {
      assertThat(example.ids()).containsExactly(10, 11, 12);
      assertThat(example.labels()).containsExactly(10, 11, 12);
    } else {
      assertThat(example.ids()).containsExactly(10, 11, 12);
      assertThat(example.labels()).containsExactly(-100, -100, 12);
      assertThat(example.positions()).containsExactly(0, 1, 2);
    }
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '~',
      quoteCharacter = '`',
      value = {
        "{'instruction': 'Q'} ~ there is no field output",
        "{'instruction': 7, 'output': 'A'} ~ instruction must be a string, not number",
        "{'instruction': 'Q', 'output': null} ~ output must be a string, not null",
        "{'instruction': 'Q', 'output': 'A', 'history': [['q']]} ~ history must be a list of [question, answer]",
        "{'instruction': 'Q', 'output': 'A', 'history': 'q'} ~ history must be a list of [question, answer]",
        "{'messages': 'x'} ~ messages must be a list of messages",
        "{'messages': ['x']} ~ messages[0] must be an object",
        "{'messages': [{'content': 'x'}]} ~ messages[0] has no field from or role",
        "{'messages': [{'role': 'user'}]} ~ messages[0] has no field value or content",
        "{'messages': [{'role': 'bot', 'content': 'x'}]} ~ messages[0]: the speaker bot is not known; known are"
            + " assistant, function_call, gpt, human, model, observation, tool, user",
        "{'messages': [{'role': 'user', 'content': 'x'}, {'role': 'system', 'content': 'x'}]} ~ messages[1]: the"
            + " speaker system is not known; known are assistant, function_call, gpt, human, model, observation, tool,"
            + " user (a system message must be the first)",
        "{'messages': [{'role': 'user', 'content': 7}]} ~ messages[0]: the content must be a string",
        "{'messages': [{'role': 'user', 'content': [{'type': 'image_url', 'image_url': {}}]}]} ~ messages[0]: content"
            + " of type image_url is not supported, only text is",
        "{'messages': [{'role': 'user', 'content': 'x'}, {'role': 'assistant', 'content': 'x', 'loss_weight': 0.5}]} ~"
            + " messages[1]: loss_weight is 0.5; only 0 (not learnt) and 1 are supported",
        "{'conversations': [{'from': 'human', 'value': 'Q'}, {'from': 'function_call', 'value': 'f()'}]} ~ the function"
            + " call is not valid JSON: Unrecognized token 'f'",
        "{'text': 'x'} ~ stage sft learns from questions and answers, and these rows are plain text; use stage: pt",
        "{'prompt': 'x', 'answer': 'y'} ~ the fields (prompt, answer) are those of no known form; known are"
            + " instruction/output (alpaca), messages, conversations (sharegpt), text and input_ids (tokenized); other"
            + " names can be mapped in dataset_info.json",
        "{'prompt': 'x', 'chosen': 'y', 'rejected': 'z'} ~ this is a preference dataset (chosen, rejected), which"
            + " stages pt and sft cannot learn from",
        "{'messages': [], 'label': false} ~ this is a KTO dataset (answers labelled true and false); set"
            + " dataset_format: messages to learn every answer all the same",
        "{'input_ids': 'x'} ~ input_ids must be a list of whole numbers",
        "{'input_ids': [1, 2.5]} ~ input_ids[1] is 2.5, not a whole number",
        "{'input_ids': [1, 2], 'labels': [1]} ~ input_ids has 2 entries, but labels, position_ids or attention_mask has"
            + " 1",
        "{'input_ids': [1, 2], 'labels': [1, -5]} ~ position_ids must not be negative, labels must be token ids or"
            + " -100",
        "{'input_ids': []} ~ the row has no tokens",
        "{'input_ids': [1, 285]} ~ token id 285 is outside the model's vocabulary of 285",
        "{'input_ids': [1, 2], 'labels': [1, 300]} ~ label 300 is outside the model's vocabulary of 285",
      })
  void saysWhatIsWrongWithARow(String row, String message) {
    Path file = write("rows.jsonl", "\n\n" + row);
    assertThatThrownBy(() -> load(SFT, file)).isInstanceOf(UserError.class).hasMessage(file + ":3: " + message);
  }

  @Test
  void skipsRowsWhoseTurnsDoNotAlternateAndSaysSo() {
    TrainingData data =
        load(
            SFT,
            """
            {'messages': [{'role': 'user', 'content': 'Q'}, {'role': 'assistant', 'content': 'A'}]}
            {'messages': [{'role': 'assistant', 'content': 'A'}]}
            {'messages': [{'role': 'user', 'content': 'Q'}]}\
            """);
    assertThat(data.train()).hasSize(1);
    assertThat(data.report().skipped()).isEqualTo(2);
    assertThat(data.report().lines())
        .containsExactly(
            "1 rows, 3 tokens, 2 of them trained; the longest row has 3",
            "2 rows were skipped, the first: "
                + temp.resolve("rows.jsonl")
                + ":2: turn 1 is assistant where a question (user or observation) must stand");
  }

  @Test
  void refusesDatasetsWithNothingToLearn() {
    Path empty = write("empty.jsonl", "\n");
    assertThatThrownBy(() -> load(SFT, empty))
        .isInstanceOf(UserError.class)
        .hasMessage("dataset " + empty + " is empty: there is no row in it");
    Path masked =
        write(
            "masked.jsonl",
            "{'input_ids': [1, 2], 'labels': [-100, -100]}\n{'input_ids': [1, 2], 'labels': [1, -100]}");
    assertThatThrownBy(() -> load(SFT, masked))
        .isInstanceOf(UserError.class)
        .hasMessage(
            "dataset "
                + masked
                + " has no token to learn: all labels are masked; check the answers, labels and weights of the rows");
    Path skipped = write("skipped.jsonl", "{'messages': []}");
    assertThatThrownBy(() -> load(SFT, skipped))
        .isInstanceOf(UserError.class)
        .hasMessage(
            "dataset "
                + skipped
                + " has no usable row: all were skipped, the first: "
                + skipped
                + ":1: there are no messages");
    Path lengthy = write("long.jsonl", "{'input_ids': [1, 2, 3]}");
    assertThatThrownBy(() -> load(SFT.withCutoff(2, Overlong.DROP), lengthy))
        .isInstanceOf(UserError.class)
        .hasMessage("dataset " + lengthy + " has no usable row: all are longer than cutoff_len 2");
  }

  @Test
  void trainsOnPromptsOrOnTheLastAnswerWhenAsked() {
    String row = "{'instruction': 'Q', 'output': 'A', 'history': [['q', 'a']]}";
    assertThat(load(SFT.withMasking(true, false), row).train().getFirst().labels())
        .doesNotContain(Example.IGNORED)
        .hasSize(6);
    assertThat(load(SFT.withMasking(false, true), row).train().getFirst().labels())
        .containsExactly(-100, -100, -100, -100, tokenizer.encode("A", false)[0], 2);
    assertThatThrownBy(() -> load(SFT.withMasking(true, true), row))
        .isInstanceOf(UserError.class)
        .hasMessage("mask_history and train_on_prompt exclude each other; keep one");
  }

  @Test
  void cutsDropsOrRefusesLongRows() {
    String rows =
        "{'instruction': '"
            + "q".repeat(30)
            + "', 'output': '"
            + "a".repeat(30)
            + "'}\n{'instruction': 'Q', 'output': 'A'}";
    TrainingData cut = load(SFT.withCutoff(20, Overlong.CUT), rows);
    assertThat(text(cut.train().getFirst())).isEqualTo("q".repeat(10) + "a".repeat(10));
    assertThat(cut.report().cut()).isEqualTo(1);
    assertThat(cut.report().longest()).isEqualTo(61);
    assertThat(cut.report().lines()).contains("1 rows were longer than cutoff_len 20 and were cut");
    TrainingData end = load(SFT.withCutoff(20, Overlong.CUT_END), rows);
    assertThat(text(end.train().getFirst())).isEqualTo("q".repeat(20));
    assertThat(end.report().untrained()).isEqualTo(1);
    TrainingData dropped = load(SFT.withCutoff(20, Overlong.DROP), rows);
    assertThat(dropped.train()).hasSize(1);
    assertThat(dropped.report().lines()).contains("1 rows were longer than cutoff_len 20 and were dropped");
    assertThatThrownBy(() -> load(SFT.withCutoff(20, Overlong.ERROR), rows))
        .isInstanceOf(UserError.class)
        .hasMessage(
            temp.resolve("rows.jsonl")
                + ":1: the row has 61 tokens, more than cutoff_len 20; raise cutoff_len or shorten the row");
  }

  @Test
  void cutsAsLlamaFactory() {
    String row = "{'instruction': '" + "q".repeat(40) + "', 'output': '" + "a".repeat(5) + "'}";
    assertThat(text(load(SFT.withCutoff(20, Overlong.CUT), row).train().getFirst()))
        .isEqualTo("q".repeat(14) + "aaaaa</s>");
    String other = "{'instruction': '" + "q".repeat(5) + "', 'output': '" + "a".repeat(40) + "'}";
    assertThat(text(load(SFT.withCutoff(20, Overlong.CUT), other).train().getFirst()))
        .isEqualTo("qqqqq" + "a".repeat(15));
  }

  @Test
  void readsTextsWhole() {
    TrainingData data = load(PT.withPacking(false, false), "{'text': 'ab'}\n{'text': 'c'}");
    assertThat(data.train()).extracting(TrainingDataTest::text).containsExactly("<s>ab</s>", "<s>c</s>");
    assertThat(data.train().getFirst().labels()).isEqualTo(data.train().getFirst().ids());
    assertThat(data.template()).isEmpty();
    assertThat(data.report().trainedTokens()).isEqualTo(3 + 2);
  }

  @Test
  void packsTextsApartOrJoined() {
    String rows = "{'text': 'abc'}\n{'text': 'd'}\n{'text': 'ef'}";
    List<Example> apart = load(PT.withCutoff(4, Overlong.CUT), rows).train();
    assertThat(apart).extracting(TrainingDataTest::text).containsExactly("<s>abc", "</s><s>d</s>", "<s>ef</s>");
    assertThat(apart.get(1).positions()).containsExactly(0, 0, 1, 2);
    assertThat(apart.get(1).labels()).startsWith(-100, -100);
    assertThat(LaidOut.of(MicroBatch.of(apart.subList(1, 2))).docs()).containsExactly(0, 1, 4);
    List<Example> joined = load(PT.withCutoff(4, Overlong.CUT).withPacking(true, true), rows).train();
    assertThat(joined)
        .extracting(TrainingDataTest::text)
        .containsExactly("<s>bc</s>", "<s></s>ef", "<s>"); // as LLaMA-Factory: BOS in place
    assertThat(joined.get(1).positions()).containsExactly(0, 1, 2, 3);
  }

  @Test
  void readsANamedColumnAsTextAtStagePt() throws IOException {
    write("body.jsonl", "{'body': 'ab'}");
    Files.writeString(
        temp.resolve("dataset_info.json"),
        "{\"b\": {\"file_name\": \"body.jsonl\", \"columns\": {\"prompt\": \"body\"}}}");
    List<DatasetSource> sources = DatasetSource.resolve(List.of("b"), temp, temp::resolve);
    assertThat(TrainingData.load(sources, List.of(), PT, tokenizer, 285).train())
        .extracting(TrainingDataTest::text)
        .containsExactly("<s>ab</s>");
    assertThatThrownBy(() -> TrainingData.load(sources, List.of(), SFT, tokenizer, 285))
        .isInstanceOf(UserError.class)
        .hasMessageEndingWith(
            "the dataset has no response column, so there is nothing to learn at stage sft; use stage: pt");
  }

  @Test
  void refusesConversationsAtStagePt() {
    Path file = write("rows.jsonl", "{'messages': []}");
    assertThatThrownBy(() -> load(PT, file))
        .isInstanceOf(UserError.class)
        .hasMessage(file + ":1: stage pt learns from text or tokenized rows, and these are messages; use stage: sft");
  }

  @Test
  void readsTokenizedRowsWithoutATokenizer() {
    Path file = write("rows.jsonl", "{'input_ids': [4, 5, 6, 7], 'position_ids': [0, 1, 0, 1]}");
    TrainingData data = TrainingData.load(List.of(DatasetSource.of(file)), List.of(), SFT, null, 10);
    assertThat(data.train().getFirst().positions()).containsExactly(0, 1, 0, 1);
    assertThat(data.report().trainedTokens()).isEqualTo(2);
    Path chat = write("chat.jsonl", "{'instruction': 'Q', 'output': 'A'}");
    assertThatThrownBy(() -> TrainingData.load(List.of(DatasetSource.of(chat)), List.of(), SFT, null, 10))
        .isInstanceOf(UserError.class)
        .hasMessage(
            "the model has no tokenizer.json, so it can learn from tokenized rows (input_ids) only; add the file");
  }

  @Test
  void setsRowsApartForEvaluationRepeatably() {
    String rows = numbered(20);
    TrainingData share = load(SFT.withEvaluation(0.13, 0, 1), rows);
    assertThat(share.evaluation()).hasSize(3); // ceil(2.6)
    assertThat(share.train()).hasSize(17);
    assertThat(firsts(share.train())).isSorted().doesNotContainAnyElementsOf(firsts(share.evaluation()));
    assertThat(firsts(load(SFT.withEvaluation(0.13, 0, 1), rows).evaluation())).isEqualTo(firsts(share.evaluation()));
    assertThat(firsts(load(SFT.withEvaluation(0, 8, 2), rows).evaluation()))
        .hasSize(8)
        .isNotEqualTo(firsts(load(SFT.withEvaluation(0, 8, 3), rows).evaluation()));
    assertThatThrownBy(() -> load(SFT.withEvaluation(0, 20, 1), rows))
        .isInstanceOf(UserError.class)
        .hasMessage("val_size keeps 20 of 20 rows for evaluation, which leaves none to train on; lower val_size");
  }

  @Test
  void readsSeveralFilesAndAnEvaluationSet() {
    DatasetSource first = DatasetSource.of(write("one.jsonl", numbered(5)));
    DatasetSource second = DatasetSource.of(write("two.jsonl", numbered(3)));
    TrainingData data =
        TrainingData.load(List.of(first, second), List.of(second), SFT.withMaxSamples(4), tokenizer, 285);
    assertThat(firsts(data.train())).containsExactly(10, 11, 12, 13, 10, 11, 12);
    assertThat(data.evaluation()).hasSize(3);
    assertThat(data.evaluationReport().orElseThrow().rows()).isEqualTo(3);
  }

  @Test
  void takesTheFormItIsTold() {
    Path file =
        write(
            "rows.jsonl",
            "{'messages': [{'role': 'user', 'content': 'Q'}, {'role': 'assistant', 'content': 'A'}], 'label': true}");
    assertThat(load(SFT.withForm(Form.MESSAGES), file).train()).hasSize(1);
    assertThatThrownBy(() -> load(SFT.withForm(Form.ALPACA), file))
        .hasMessage(file + ":1: there is no field instruction");
    assertThat(Form.named("sharegpt")).contains(Form.SHAREGPT);
    assertThat(Form.named("csv")).isEmpty();
  }

  @Test
  void efficientEosLabelsTheTokenAfterAnAnswer() throws IOException {
    String json = Files.readString(TinyTokenizer.directory().resolve("tokenizer.json"));
    Files.writeString(
        temp.resolve("tokenizer.json"),
        json.replace("<|im_start|>", "<start_of_turn>").replace("<|im_end|>", "<end_of_turn>"));
    Files.writeString(temp.resolve("tokenizer_config.json"), "{\"bos_token\": \"<s>\", \"eos_token\": \"</s>\"}");
    Path file = write("rows.jsonl", "{'instruction': 'Q', 'output': 'A', 'history': [['q', 'a']]}");
    try (Tokenizer gemma = Tokenizer.open(temp)) {
      DataOptions options = DataOptions.of(Stage.SFT).withTemplate("gemma2");
      Example example =
          TrainingData.load(List.of(DatasetSource.of(file)), List.of(), options, gemma, 285).train().getFirst();
      int second =
          IntStream.range(2, example.length())
              .filter(i -> example.ids()[i] == 4 && example.ids()[i - 2] == 5)
              .skip(1)
              .findFirst()
              .orElseThrow(); // <start_of_turn> after "<end_of_turn>\n" of the first answer
      assertThat(example.labels()[second]).isEqualTo(2);
      assertThat(example.ids()[example.length() - 1]).isEqualTo(2);
      assertThat(example.labels()[example.length() - 1]).isEqualTo(2);
      assertThatThrownBy(
              () ->
                  TrainingData.load(
                      List.of(DatasetSource.of(file)), List.of(), options.withMasking(true, false), gemma, 285))
          .hasMessage("template gemma2 does not allow train_on_prompt: true; remove that setting");
    }
  }

  private static String numbered(int n) {
    return IntStream.range(0, n)
        .mapToObj(i -> "{'input_ids': [" + (10 + i) + ", 1]}")
        .collect(Collectors.joining("\n"));
  }

  private static List<Integer> firsts(List<Example> examples) {
    return examples.stream().map(e -> e.ids()[0]).toList();
  }

  private static String text(Example example) {
    return tokenizer.decode(example.ids(), false);
  }

  private TrainingData load(DataOptions options, String rows) {
    return load(options, write("rows.jsonl", rows));
  }

  private static TrainingData load(DataOptions options, Path file) {
    return TrainingData.load(List.of(DatasetSource.of(file)), List.of(), options, tokenizer, 285);
  }

  /** Rows are written with ' for "; a " stays, escaped. */
  private Path write(String name, String rows) {
    try {
      return Files.writeString(temp.resolve(name), rows.replace("\"", "\\\"").replace('\'', '"'));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
