package dev.hone.text;

import dev.hone.config.UserError;
import java.util.ArrayList;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.OptionalInt;
import java.util.Set;
import java.util.stream.IntStream;

/** A template in the words of one model's tokenizer: conversations become token ids. */
public final class ChatEncoder {
  private static final int[] NONE = {};
  private final Template template;
  private final Tokenizer tokenizer;
  private final int eosId;
  private final Set<Integer> stopIds = new LinkedHashSet<>();

  /** A question and its answer as token ids; {@code trained}: the answer is learnt. */
  public record EncodedTurn(int[] prompt, int[] answer, boolean trained) {}

  /**
   * @throws UserError when the template's end token is not in the tokenizer's vocabulary, or it needs EOS and the
   *     tokenizer names none
   */
  public ChatEncoder(Template template, Tokenizer tokenizer) {
    this.template = template;
    this.tokenizer = tokenizer;
    if (template.replaceEos()) {
      String end = template.stopWords().getFirst();
      eosId =
          tokenizer
              .id(end)
              .orElseThrow(
                  () ->
                      UserError.of(
                          "template %s ends answers with %s, which the model's tokenizer does not have; choose a"
                              + " template of this model's",
                          template.name(), end));
    } else {
      eosId = tokenizer.eosId();
      boolean needed =
          template.efficientEos()
              || template.assistant().contains(Segment.Special.EOS)
              || template.user().contains(Segment.Special.EOS);
      if (needed && eosId < 0) {
        throw UserError.of(
            "template %s needs an EOS token and the model's tokenizer names none; set eos_token in"
                + " tokenizer_config.json",
            template.name());
      }
    }
    if (eosId >= 0) {
      stopIds.add(eosId);
    }
    if (tokenizer.eosId() >= 0) {
      stopIds.add(tokenizer.eosId());
    }
    for (String word : template.stopWords()) {
      OptionalInt id = tokenizer.id(word);
      id.ifPresent(stopIds::add);
    }
  }

  public Template template() {
    return template;
  }

  public Tokenizer tokenizer() {
    return tokenizer;
  }

  /** The token that ends an answer, -1 none (template {@code empty}). */
  public int eosId() {
    return eosId;
  }

  /** Tokens at which generation stops. */
  public Set<Integer> stopIds() {
    return Set.copyOf(stopIds);
  }

  /** The turns of a conversation that ends with an answer. */
  public List<EncodedTurn> encode(Conversation conversation) {
    return template.render(conversation).stream()
        .map(turn -> new EncodedTurn(ids(turn.prompt()), ids(turn.answer()), turn.trained()))
        .toList();
  }

  /** All tokens of a conversation that ends with a question, ready for the model to answer. */
  public int[] prompt(Conversation conversation) {
    return encode(conversation).stream()
        .flatMapToInt(turn -> IntStream.concat(IntStream.of(turn.prompt()), IntStream.of(turn.answer())))
        .toArray();
  }

  private int[] ids(List<Segment> segments) {
    List<int[]> pieces = new ArrayList<>(segments.size());
    for (Segment segment : segments) {
      switch (segment) {
        case Segment.Text text -> pieces.add(text.text().isEmpty() ? NONE : tokenizer.encode(text.text(), false));
        case Segment.Special.BOS -> pieces.add(tokenizer.bosId() < 0 ? NONE : new int[] {tokenizer.bosId()});
        case Segment.Special.EOS -> pieces.add(new int[] {eosId});
      }
    }
    return pieces.stream().flatMapToInt(IntStream::of).toArray();
  }
}
