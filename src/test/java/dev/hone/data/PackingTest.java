package dev.hone.data;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.testing.LaidOut;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

class PackingTest {
  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5, 6, 7, 8})
  void keepsEveryRowWholeAndApart(long seed) {
    Random random = new Random(seed);
    int capacity = 2 + random.nextInt(40);
    List<Example> rows = rows(random, 1 + random.nextInt(200), capacity);
    List<Example> packed = Packing.pack(rows, capacity);

    List<Example> unpacked = new ArrayList<>();
    for (Example example : packed) {
      assertThat(example.length()).isLessThanOrEqualTo(capacity);
      unpacked.addAll(documents(example));
    }
    // every row once, in the order of its packed example; ids are unique, so the first one tells the row
    assertThat(unpacked).hasSameSizeAs(rows);
    for (Example document : unpacked) {
      Example row = rows.stream().filter(r -> r.ids()[0] == document.ids()[0]).findFirst().orElseThrow();
      assertThat(document.ids()).isEqualTo(row.ids());
      assertThat(document.positions()).isEqualTo(row.positions());
      assertThat(document.labels()[0]).isEqualTo(Example.IGNORED);
      assertThat(Arrays.copyOfRange(document.labels(), 1, row.length()))
          .isEqualTo(Arrays.copyOfRange(row.labels(), 1, row.length()));
    }
    // what is learnt does not change
    assertThat(packed.stream().mapToInt(e -> MicroBatch.of(List.of(e)).validTargets()).sum())
        .isEqualTo(MicroBatch.of(rows).validTargets());
    // no two examples would fit into one
    int[] lengths = packed.stream().mapToInt(Example::length).sorted().toArray();
    assertThat(lengths.length < 2 || lengths[0] + lengths[1] > capacity).isTrue();
    // repeatable
    assertThat(Packing.pack(rows, capacity).stream().map(e -> Arrays.toString(e.ids())).toList())
        .isEqualTo(packed.stream().map(e -> Arrays.toString(e.ids())).toList());
  }

  @Test
  void takesTheLongestRowThatFits() {
    List<Example> packed = Packing.pack(List.of(row(0, 3), row(10, 6), row(20, 4), row(30, 7), row(40, 10)), 10);
    assertThat(packed)
        .extracting(e -> documents(e).stream().map(d -> d.ids()[0]).toList())
        .containsExactly(List.of(0, 30), List.of(10, 20), List.of(40));
    assertThat(packed.get(1).positions()).containsExactly(0, 1, 2, 3, 4, 5, 0, 1, 2, 3);
    assertThat(packed.get(1).labels()).containsExactly(-100, 11, 12, 13, 14, 15, -100, 21, 22, 23);
  }

  @Test
  void keepsDocumentsOfARowPackedBefore() {
    Example before = new Example(new int[] {1, 2, 3, 4}, new int[] {1, 2, 3, 4}, new int[] {0, 1, 0, 1});
    Example packed = Packing.pack(List.of(before, row(10, 2)), 8).getFirst();
    assertThat(packed.positions()).containsExactly(0, 1, 0, 1, 0, 1);
    assertThat(packed.labels()).containsExactly(-100, 2, -100, 4, -100, 11);
  }

  @Test
  void aloneARowLongerThanTheCapacity() {
    assertThat(Packing.pack(List.of(row(0, 9), row(20, 2)), 4)).extracting(Example::length).containsExactly(9, 2);
  }

  @ParameterizedTest
  @ValueSource(longs = {11, 12, 13, 14, 15, 16})
  void splitsTextsWithoutLosingATokenOrMixingTexts(long seed) {
    Random random = new Random(seed);
    int capacity = 2 + random.nextInt(30);
    List<Example> texts =
        rows(random, 1 + random.nextInt(60), 3 * capacity).stream()
            .map(e -> Example.of(e.ids(), e.ids().clone()))
            .toList();
    for (boolean apart : new boolean[] {true, false}) {
      List<Example> blocks = Packing.blocks(texts, capacity, apart, -1);
      assertThat(blocks.stream().flatMapToInt(b -> IntStream.of(b.ids())).toArray())
          .isEqualTo(texts.stream().flatMapToInt(t -> IntStream.of(t.ids())).toArray());
      assertThat(blocks.subList(0, blocks.size() - 1)).allMatch(b -> b.length() == capacity);
      for (Example block : blocks) {
        List<Example> documents = documents(block);
        assertThat(documents.size() == 1 || apart).isTrue();
        for (Example document : documents) {
          assertThat(document.positions()).isEqualTo(IntStream.range(0, document.length()).toArray());
          assertThat(document.labels()[0]).isEqualTo(Example.IGNORED);
          if (apart) { // consecutive ids are of one text
            assertThat(document.ids()[document.length() - 1] - document.ids()[0]).isEqualTo(document.length() - 1);
          }
        }
      }
    }
    assertThat(Packing.blocks(texts, capacity, false, 7)).allMatch(b -> b.ids()[0] == 7);
  }

  /** Rows with ids that are consecutive inside a row and appear in one row only. */
  private static List<Example> rows(Random random, int n, int longest) {
    List<Example> rows = new ArrayList<>();
    for (int i = 0; i < n; i++) {
      Example row = row(1000 * (i + 1), 1 + random.nextInt(longest));
      for (int t = 0; t < row.length(); t++) {
        if (random.nextInt(3) == 0) {
          row.labels()[t] = Example.IGNORED;
        }
      }
      rows.add(row);
    }
    return rows;
  }

  private static Example row(int first, int n) {
    return Example.of(IntStream.range(first, first + n).toArray(), IntStream.range(first, first + n).toArray());
  }

  private static List<Example> documents(Example example) {
    List<Example> documents = new ArrayList<>();
    int[] docs = LaidOut.of(MicroBatch.of(List.of(example))).docs();
    for (int d = 0; d + 1 < docs.length; d++) {
      documents.add(
          new Example(
              Arrays.copyOfRange(example.ids(), docs[d], docs[d + 1]),
              Arrays.copyOfRange(example.labels(), docs[d], docs[d + 1]),
              Arrays.copyOfRange(example.positions(), docs[d], docs[d + 1])));
    }
    return documents;
  }
}
