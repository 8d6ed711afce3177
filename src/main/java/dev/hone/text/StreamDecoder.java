package dev.hone.text;

import java.util.Arrays;

/**
 * Turns tokens into text as they come. A token may end in the middle of a character or change the spacing of its
 * neighbours, so text is given out once the decoding of a short window of tokens has settled. Where no character is
 * broken, all pieces together are the decoding of the whole.
 */
public final class StreamDecoder {
  private static final char INCOMPLETE = '\uFFFD';

  /** A character has at most 4 bytes, so that what more tokens leave unfinished never will be finished. */
  private static final int MOST_PENDING = 8;

  private final Tokenizer tokenizer;
  private final boolean skipSpecial;
  private int[] ids = new int[64];
  private int size;

  /** Tokens before this one no longer influence what follows. */
  private int windowStart;

  /** Tokens before this one have been given out. */
  private int given;

  StreamDecoder(Tokenizer tokenizer, boolean skipSpecial) {
    this.tokenizer = tokenizer;
    this.skipSpecial = skipSpecial;
  }

  /** The text that this token completes; empty while a character is unfinished. */
  public String push(int id) {
    if (size == ids.length) {
      ids = Arrays.copyOf(ids, 2 * size);
    }
    ids[size++] = id;
    return advance(false);
  }

  /** What is left over, such as bytes of a character that never came to its end. */
  public String flush() {
    return advance(true);
  }

  private String advance(boolean end) {
    String before = tokenizer.decode(Arrays.copyOfRange(ids, windowStart, given), skipSpecial);
    String now = tokenizer.decode(Arrays.copyOfRange(ids, windowStart, size), skipSpecial);
    boolean open = size - given < MOST_PENDING && !now.isEmpty() && now.charAt(now.length() - 1) == INCOMPLETE;
    if (!end && (open || now.length() <= before.length() || !now.startsWith(before))) {
      return "";
    }
    windowStart = given;
    given = size;
    return now.startsWith(before) ? now.substring(before.length()) : "";
  }
}
