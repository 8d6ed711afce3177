package dev.hone.text;

/** A piece of a rendered conversation. Pieces are tokenised one by one, as LLaMA-Factory does. */
public sealed interface Segment {
  /** Text; special tokens written out in it are recognised as such. */
  record Text(String text) implements Segment {}

  /** A token known by its part, whatever the tokenizer calls it. */
  enum Special implements Segment {
    /** Nothing where the tokenizer has none. */
    BOS,
    EOS
  }
}
