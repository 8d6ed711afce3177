package dev.hone.data;

import java.util.List;

/**
 * What one forward and backward pass sees: documents laid end to end without padding.
 *
 * @param ids (M)
 * @param positions (M), restarting in each document
 * @param targets (M), shifted: the label of the next token of the same document, {@link Example#IGNORED} at its end
 * @param docs (n+1), rising from 0 to M: document j is tokens docs[j] .. docs[j+1]-1
 * @param validTargets how many targets are not ignored
 */
public record MicroBatch(int[] ids, int[] positions, int[] targets, int[] docs, int validTargets) {

  /** Lays examples end to end; a row whose positions restart becomes several documents. */
  public static MicroBatch of(List<Example> examples) {
    int tokens = examples.stream().mapToInt(Example::length).sum();
    int[] ids = new int[tokens];
    int[] positions = new int[tokens];
    int[] targets = new int[tokens];
    int[] starts = new int[tokens + 1];
    int documents = 0;
    int valid = 0;
    int at = 0;
    for (Example example : examples) {
      int n = example.length();
      System.arraycopy(example.ids(), 0, ids, at, n);
      System.arraycopy(example.positions(), 0, positions, at, n);
      for (int t = 0; t < n; t++) {
        if (t == 0 || example.positions()[t] == 0) {
          starts[documents++] = at + t;
        }
        boolean lastOfDocument = t + 1 == n || example.positions()[t + 1] == 0;
        targets[at + t] = lastOfDocument ? Example.IGNORED : example.labels()[t + 1];
        if (targets[at + t] != Example.IGNORED) {
          valid++;
        }
      }
      at += n;
    }
    int[] docs = java.util.Arrays.copyOf(starts, documents + 1);
    docs[documents] = tokens;
    return new MicroBatch(ids, positions, targets, docs, valid);
  }

  public int tokens() {
    return ids.length;
  }

  public int documents() {
    return docs.length - 1;
  }
}
