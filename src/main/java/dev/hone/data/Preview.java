package dev.hone.data;

import dev.hone.text.StreamDecoder;
import dev.hone.text.Tokenizer;

/** Shows an example as text, the trained tokens marked. */
public final class Preview {
  private static final String ON = "\u001B[30;42m"; // black on green
  private static final String OFF = "\u001B[0m";

  private Preview() {}

  /**
   * The text of an example with special tokens written out. Trained tokens have a green background, or stand between ⟦
   * and ⟧. In a packed example each document begins on a line of its own.
   *
   * @param tokenizer null: token ids are shown instead
   */
  public static String render(Example example, Tokenizer tokenizer, boolean colour) {
    StringBuilder out = new StringBuilder();
    StreamDecoder decoder = tokenizer == null ? null : tokenizer.stream(false);
    boolean on = false;
    int documents = 1;
    for (int t = 0; t < example.length(); t++) {
      boolean begins = t > 0 && example.positions()[t] == 0;
      boolean trained = example.labels()[t] != Example.IGNORED && example.positions()[t] != 0 && t > 0;
      if (decoder != null && (begins || on != trained)) {
        out.append(visible(decoder.flush(), on, colour));
      }
      if (on && !trained) {
        out.append(colour ? OFF : "⟧");
      }
      if (begins) {
        out.append("\n--- document ").append(++documents).append(" ---\n");
        decoder = tokenizer == null ? null : tokenizer.stream(false);
      }
      if (!on && trained) {
        out.append(colour ? ON : "⟦");
      }
      on = trained;
      String piece = decoder == null ? example.ids()[t] + " " : decoder.push(example.ids()[t]);
      out.append(visible(piece, on, colour));
    }
    if (decoder != null) {
      out.append(visible(decoder.flush(), on, colour));
    }
    return out.append(on ? colour ? OFF : "⟧" : "").toString();
  }

  /** A trained line break is written out as well, and its background ends with the line. */
  private static String visible(String piece, boolean on, boolean colour) {
    if (!on) {
      return piece;
    }
    return colour ? piece.replace("\n", "↵" + OFF + "\n" + ON) : piece.replace("\n", "↵\n");
  }
}
