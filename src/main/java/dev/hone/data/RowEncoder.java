package dev.hone.data;

import dev.hone.config.UserError;
import dev.hone.data.DataOptions.Overlong;
import dev.hone.data.DataOptions.Stage;
import dev.hone.text.ChatEncoder;
import dev.hone.text.ChatEncoder.EncodedTurn;
import dev.hone.text.Conversation;
import dev.hone.text.Template;
import dev.hone.text.Templates;
import dev.hone.text.Tokenizer;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;

/** Turns rows into token ids and labels, and cuts them to the longest length. */
final class RowEncoder {
  private final DataOptions options;
  private final Tokenizer tokenizer;
  private final int vocab;
  private ChatEncoder chat;

  /**
   * A row in tokens.
   *
   * @param example null: dropped for its length
   * @param length tokens before cutting
   */
  record Encoded(Example example, int length) {
    boolean cut() {
      return example != null && example.length() < length;
    }
  }

  /**
   * @param tokenizer null where the model has none
   * @param vocab the model's number of tokens
   */
  RowEncoder(DataOptions options, Tokenizer tokenizer, int vocab) {
    this.options = options;
    this.tokenizer = tokenizer;
    this.vocab = vocab;
  }

  /** The template, once a conversation has been encoded. */
  Optional<Template> template() {
    return chat == null ? Optional.empty() : Optional.of(chat.template());
  }

  /** Throws {@link RowError} for a row that cannot be used, {@link UserError} when the model cannot take such rows. */
  Encoded encode(Row row) {
    Encoded encoded =
        switch (row) {
          case Row.Tokens tokens -> packsTexts() ? whole(tokens.example()) : cutEnd(tokens.example());
          case Row.Plain plain -> text(plain.text());
          case Row.Chat c -> conversation(c.conversation());
        };
    if (encoded.example() != null) {
      for (int id : encoded.example().ids()) {
        if (id < 0 || id >= vocab) {
          throw new RowError("token id " + id + " is outside the model's vocabulary of " + vocab);
        }
      }
      for (int label : encoded.example().labels()) {
        if (label >= vocab) {
          throw new RowError("label " + label + " is outside the model's vocabulary of " + vocab);
        }
      }
    }
    return encoded;
  }

  private Tokenizer tokenizer() {
    if (tokenizer == null) {
      throw UserError.of(
          "the model has no tokenizer.json, so it can learn from tokenized rows (input_ids) only; add the file");
    }
    return tokenizer;
  }

  private ChatEncoder chat() {
    if (chat == null) {
      Template template = options.template().map(Templates::named).orElseGet(() -> Templates.choose(tokenizer()));
      if (template.efficientEos() && options.trainOnPrompt()) {
        throw UserError.of("template %s does not allow train_on_prompt: true; remove that setting", template.name());
      }
      if (options.maskHistory() && options.trainOnPrompt()) {
        throw UserError.of("mask_history and train_on_prompt exclude each other; keep one");
      }
      chat = new ChatEncoder(template, tokenizer());
    }
    return chat;
  }

  /** Every token is learnt; an EOS closes the text, BOS opens it where add_bos_token says so. */
  private Encoded text(String text) {
    int eos = endOfText();
    int[] body = tokenizer().encode(text, false);
    boolean bos = tokenizer().addsBos() && tokenizer().bosId() >= 0 && !(options.packing() && options.joined());
    int start = bos ? 1 : 0;
    int[] ids = new int[start + body.length + 1];
    if (bos) {
      ids[0] = tokenizer().bosId();
    }
    System.arraycopy(body, 0, ids, start, body.length);
    ids[ids.length - 1] = eos;
    Example example = Example.of(ids, ids.clone());
    return packsTexts() ? whole(example) : cutEnd(example);
  }

  /** EOS, but where the template is llama3 its own end of text, as LLaMA-Factory has it. */
  private int endOfText() {
    int eos = tokenizer().eosId();
    if (options.template().equals(Optional.of("llama3"))) {
      eos = tokenizer().id("<|end_of_text|>").orElse(eos);
    }
    if (eos < 0) {
      throw UserError.of(
          "the model's tokenizer names no EOS token to end a text; set eos_token in tokenizer_config.json");
    }
    return eos;
  }

  private Encoded conversation(Conversation conversation) {
    ChatEncoder encoder = chat();
    List<EncodedTurn> turns;
    try {
      turns = encoder.encode(conversation);
    } catch (IllegalArgumentException e) {
      throw new RowError(e.getMessage());
    }
    int closing = encoder.template().efficientEos() ? 1 : 0;
    int length = closing;
    for (EncodedTurn turn : turns) {
      length += turn.prompt().length + turn.answer().length;
    }
    boolean cutTurns = options.overlong() == Overlong.CUT;
    Example example = join(turns, encoder, closing, cutTurns ? options.cutoffLength() : length);
    return cutTurns ? new Encoded(example, length) : cutEnd(example);
  }

  private Example join(List<EncodedTurn> turns, ChatEncoder encoder, int closing, int capacity) {
    boolean history = options.maskHistory();
    int[][] kept = TurnCut.lengths(turns, capacity - closing, history);
    int n = closing;
    for (int[] pair : kept) {
      n += pair[0] + pair[1];
    }
    int[] ids = new int[n];
    int[] labels = new int[n];
    Arrays.fill(labels, Example.IGNORED);
    int at = 0;
    for (int i = 0; i < turns.size(); i++) {
      EncodedTurn turn = turns.get(i);
      int prompt = kept[i][0];
      int answer = kept[i][1];
      System.arraycopy(turn.prompt(), 0, ids, at, prompt);
      if (options.trainOnPrompt()) {
        System.arraycopy(turn.prompt(), 0, labels, at, prompt);
      } else if (closing > 0 && at > 0 && prompt > 0 && !history && turns.get(i - 1).trained()) {
        labels[at] = encoder.eosId(); // the answer before learns to end here
      }
      at += prompt;
      System.arraycopy(turn.answer(), 0, ids, at, answer);
      if (turn.trained() && (!history || i == turns.size() - 1)) {
        System.arraycopy(turn.answer(), 0, labels, at, answer);
      }
      at += answer;
    }
    if (closing > 0) {
      ids[at] = encoder.eosId();
      labels[at] = turns.getLast().trained() ? encoder.eosId() : Example.IGNORED;
    }
    return Example.of(ids, labels);
  }

  /** Rows without turns, and all rows unless the setting is to cut turn by turn. */
  private Encoded cutEnd(Example whole) {
    int cutoff = options.cutoffLength();
    int length = whole.length();
    if (length <= cutoff) {
      return new Encoded(whole, length);
    }
    return switch (options.overlong()) {
      case CUT, CUT_END ->
          new Encoded(
              new Example(
                  Arrays.copyOf(whole.ids(), cutoff),
                  Arrays.copyOf(whole.labels(), cutoff),
                  Arrays.copyOf(whole.positions(), cutoff)),
              length);
      case DROP -> new Encoded(null, length);
      case ERROR ->
          throw new RowError(
              "the row has "
                  + length
                  + " tokens, more than cutoff_len "
                  + cutoff
                  + "; raise cutoff_len or shorten the row");
    };
  }

  private static Encoded whole(Example example) {
    return new Encoded(example, example.length());
  }

  /** Texts are laid end to end and split, so that no text is too long. */
  boolean packsTexts() {
    return options.stage() == Stage.PT && options.packing();
  }
}
