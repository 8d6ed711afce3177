package dev.hone.data;

import dev.hone.tensor.Tensor;
import java.util.List;

/**
 * What one forward and backward pass sees: documents laid end to end without padding. It refers to its examples and is written
 * straight into the tensors of the step ({@link #writeTo}); nothing on the heap grows with the tokens.
 */
public final class MicroBatch {
  private final List<Example> examples;
  private final int tokens;
  private final int documents;
  private final int longestDocument;
  private final int validTargets;

  private MicroBatch(List<Example> examples) {
    this.examples = List.copyOf(examples);
    int counted = 0;
    int begun = 0;
    int longest = 0;
    int valid = 0;
    for (Example example : examples) {
      int start = 0;
      for (int t = 0; t < example.length(); t++) {
        if (begins(example, t)) {
          begun++;
          start = t;
        }
        longest = Math.max(longest, t - start + 1);
        valid += target(example, t) != Example.IGNORED ? 1 : 0;
      }
      counted += example.length();
    }
    tokens = counted;
    documents = begun;
    longestDocument = longest;
    validTargets = valid;
  }

  /** Lays examples end to end; a row whose positions restart becomes several documents. */
  public static MicroBatch of(List<Example> examples) {
    return new MicroBatch(examples);
  }

  private static boolean begins(Example example, int t) {
    return t == 0 || example.positions()[t] == 0;
  }

  /** The label of the next token of the same document, {@link Example#IGNORED} at the document's end. */
  private static int target(Example example, int t) {
    boolean last = t + 1 == example.length() || begins(example, t + 1);
    return last ? Example.IGNORED : example.labels()[t + 1];
  }

  /** M. */
  public int tokens() {
    return tokens;
  }

  public int documents() {
    return documents;
  }

  /** Tokens of the longest document. */
  public int longestDocument() {
    return longestDocument;
  }

  /** How many targets are not ignored. */
  public int validTargets() {
    return validTargets;
  }

  /**
   * Writes the batch, all I32 and of exactly these shapes.
   *
   * @param ids (M)
   * @param positions (M), restarting in each document
   * @param targets (M), shifted: the label of the next token of the same document, {@link Example#IGNORED} at its end
   * @param rows (N), rising: the tokens whose target is not ignored
   * @param docs (n+1), rising from 0 to M: document j is tokens docs[j] .. docs[j+1]-1
   */
  public void writeTo(Tensor ids, Tensor positions, Tensor targets, Tensor rows, Tensor docs) {
    int at = 0;
    int document = 0;
    int labelled = 0;
    for (Example example : examples) {
      ids.put(at, example.ids());
      positions.put(at, example.positions());
      for (int t = 0; t < example.length(); t++) {
        if (begins(example, t)) {
          docs.put(document++, at + t);
        }
        int target = target(example, t);
        targets.put(at + t, target);
        if (target != Example.IGNORED) {
          rows.put(labelled++, at + t);
        }
      }
      at += example.length();
    }
    docs.put(document, tokens);
  }
}
