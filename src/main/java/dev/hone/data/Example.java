package dev.hone.data;

import java.util.Arrays;

/**
 * One row of a dataset as tokens.
 *
 * @param ids token ids
 * @param labels same length; {@link #IGNORED} where nothing is learnt. Not shifted: labels[t] is the token at t itself
 * @param positions same length; restarts at 0 begin a new document inside the row (a row packed beforehand)
 */
public record Example(int[] ids, int[] labels, int[] positions) {
  /** The label that adds nothing to loss or gradient, as in transformers. */
  public static final int IGNORED = -100;

  public Example {
    if (ids.length != labels.length || ids.length != positions.length) {
      throw new IllegalArgumentException(
          "ids, labels and positions have lengths " + ids.length + ", " + labels.length + ", " + positions.length);
    }
  }

  /** A row that is one document, positions 0, 1, 2 ... */
  public static Example of(int[] ids, int[] labels) {
    int[] positions = new int[ids.length];
    Arrays.setAll(positions, i -> i);
    return new Example(ids, labels, positions);
  }

  public int length() {
    return ids.length;
  }
}
