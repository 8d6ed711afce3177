package dev.hone.data;

import java.util.ArrayDeque;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.Deque;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * Puts several rows into one example. Positions restart with each document and its first label is ignored, so that no
 * document sees or predicts another.
 */
final class Packing {
  private Packing() {}

  /**
   * Best fit: an example takes the longest row left that still fits, until none does. Rows keep their order inside an
   * example, and examples that of their first rows. Rows longer than the capacity stand alone.
   */
  static List<Example> pack(List<Example> rows, int capacity) {
    TreeMap<Integer, Deque<Integer>> byLength = new TreeMap<>();
    for (int i = 0; i < rows.size(); i++) {
      byLength.computeIfAbsent(rows.get(i).length(), n -> new ArrayDeque<>()).add(i);
    }
    List<List<Integer>> bins = new ArrayList<>();
    while (!byLength.isEmpty()) {
      List<Integer> bin = new ArrayList<>();
      int left = Math.max(capacity, byLength.lastKey());
      for (var fit = byLength.floorEntry(left); fit != null; fit = byLength.floorEntry(left)) {
        bin.add(take(byLength, fit));
        left -= fit.getKey();
      }
      bin.sort(Comparator.naturalOrder());
      bins.add(bin);
    }
    bins.sort(Comparator.comparing(List::getFirst));
    return bins.stream().map(bin -> join(bin.stream().map(rows::get).toList())).toList();
  }

  private static int take(TreeMap<Integer, Deque<Integer>> byLength, Map.Entry<Integer, Deque<Integer>> fit) {
    int row = fit.getValue().removeFirst();
    if (fit.getValue().isEmpty()) {
      byLength.remove(fit.getKey());
    }
    return row;
  }

  /**
   * Lays texts end to end and splits them into blocks of {@code capacity} tokens, the last one shorter. A text that
   * crosses the end of a block goes on as a document of its own.
   *
   * @param apart the texts of a block do not see each other
   * @param bosId put in place of each block's first token unless the texts are apart, -1 nothing
   */
  static List<Example> blocks(List<Example> texts, int capacity, boolean apart, int bosId) {
    int total = texts.stream().mapToInt(Example::length).reduce(0, Math::addExact);
    List<Example> blocks = new ArrayList<>();
    int text = 0;
    int at = 0;
    for (int left = total; left > 0; ) {
      int n = Math.min(capacity, left);
      int[] ids = new int[n];
      int[] labels = new int[n];
      int[] positions = new int[n];
      for (int i = 0; i < n; i++, at++) {
        for (; at == texts.get(text).length(); at = 0) {
          text++;
        }
        Example from = texts.get(text);
        ids[i] = from.ids()[at];
        labels[i] = from.labels()[at];
        positions[i] = i == 0 || apart && from.positions()[at] == 0 ? 0 : positions[i - 1] + 1;
      }
      if (!apart && bosId >= 0) {
        ids[0] = bosId;
      }
      blocks.add(join(List.of(new Example(ids, labels, positions))));
      left -= n;
    }
    return blocks;
  }

  private static Example join(List<Example> rows) {
    int n = rows.stream().mapToInt(Example::length).sum();
    int[] ids = new int[n];
    int[] labels = new int[n];
    int[] positions = new int[n];
    int at = 0;
    for (Example row : rows) {
      System.arraycopy(row.ids(), 0, ids, at, row.length());
      System.arraycopy(row.labels(), 0, labels, at, row.length());
      System.arraycopy(row.positions(), 0, positions, at, row.length());
      positions[at] = 0;
      at += row.length();
    }
    for (int t = 0; t < n; t++) {
      if (positions[t] == 0) {
        labels[t] = Example.IGNORED;
      }
    }
    return new Example(ids, labels, positions);
  }
}
