package dev.hone.data;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.testing.LaidOut;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.stream.IntStream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class BatchesTest {
  /**
   * As the Hugging Face Trainer counts: rows of the last micro-batch and micro-batches of the last step may be fewer.
   */
  @ParameterizedTest
  @CsvSource({"48,4,2,12,6", "10,4,1,3,3", "10,4,2,3,2", "1,8,8,1,1", "17,2,4,9,3"})
  void countsAsTheTrainer(int rows, int batch, int accumulation, int microBatches, int steps) {
    Batches batches = new Batches(rows(rows), batch, accumulation, true, 1);
    assertThat(batches.microBatchesPerEpoch()).isEqualTo(microBatches);
    assertThat(batches.stepsPerEpoch()).isEqualTo(steps);
    assertThat(batches.stepsFor(3)).isEqualTo(3L * steps);
    assertThat(batches.stepsFor(0.5)).isEqualTo((long) Math.ceil(0.5 * steps));
    assertThat(batches.epochAfter(2L * steps)).isEqualTo(2.0);
    assertThat(batches.step(steps - 1)).hasSize(microBatches - (steps - 1) * accumulation);
  }

  @ParameterizedTest
  @ValueSource(longs = {1, 2, 3, 4, 5})
  void givesEveryRowOnceAnEpoch(long seed) {
    Random random = new Random(seed);
    int n = 1 + random.nextInt(100);
    Batches batches = new Batches(rows(n), 1 + random.nextInt(5), 1 + random.nextInt(4), true, seed);
    List<List<Integer>> epochs = new ArrayList<>();
    for (int epoch = 0; epoch < 3; epoch++) {
      List<Integer> seen = new ArrayList<>();
      for (int s = 0; s < batches.stepsPerEpoch(); s++) {
        batches.step((long) epoch * batches.stepsPerEpoch() + s).forEach(m -> seen.addAll(rowsOf(m)));
      }
      assertThat(seen).containsExactlyInAnyOrderElementsOf(IntStream.range(0, n).boxed().toList());
      epochs.add(seen);
    }
    assertThat(n < 5 || !epochs.get(0).equals(epochs.get(1)) && !epochs.get(1).equals(epochs.get(2))).isTrue();
  }

  @Test
  void aStepDoesNotDependOnThoseBefore() {
    Batches all = new Batches(rows(37), 2, 3, true, 42);
    List<List<List<Integer>>> steps = new ArrayList<>();
    for (long s = 0; s < 20; s++) {
      steps.add(all.step(s).stream().map(BatchesTest::rowsOf).toList());
    }
    for (long s : new long[] {19, 3, 11, 0}) {
      assertThat(new Batches(rows(37), 2, 3, true, 42).step(s).stream().map(BatchesTest::rowsOf).toList())
          .isEqualTo(steps.get((int) s));
    }
    assertThat(new Batches(rows(37), 2, 3, true, 43).step(0).stream().map(BatchesTest::rowsOf).toList())
        .isNotEqualTo(steps.getFirst());
  }

  /** The order of a seed is part of what a checkpoint means: it must not change between versions. */
  @Test
  void theOrderOfASeedStaysTheSame() {
    assertThat(Shuffle.permutation(10, 42, 0)).containsExactly(0, 4, 6, 5, 7, 1, 3, 9, 8, 2);
    assertThat(Shuffle.permutation(0, 42, 0)).isEmpty();
  }

  @Test
  void shufflesEvenly() {
    int[][] counts = new int[6][6];
    for (int stream = 0; stream < 6000; stream++) {
      int[] order = Shuffle.permutation(6, 7, stream);
      for (int i = 0; i < 6; i++) {
        counts[i][order[i]]++;
      }
    }
    // each of 1000 expected; 5 standard deviations of a binomial (n 6000, p 1/6) are 144
    for (int[] row : counts) {
      assertThat(IntStream.of(row)).allMatch(c -> Math.abs(c - 1000) < 144);
    }
  }

  @Test
  void keepsFileOrderWhenAsked() {
    Batches batches = new Batches(rows(5), 2, 1, false, 42);
    for (int epoch = 0; epoch < 2; epoch++) {
      assertThat(rowsOf(batches.step(3L * epoch).getFirst())).containsExactly(0, 1);
      assertThat(rowsOf(batches.step(3L * epoch + 2).getFirst())).containsExactly(4);
    }
    assertThat(Batches.inOrder(rows(5), 4).step(1).getFirst().tokens()).isEqualTo(5);
  }

  @ParameterizedTest
  @ValueSource(booleans = {true, false})
  void boundsEveryMicroBatch(boolean shuffle) {
    Random random = new Random(9);
    List<Example> rows = new ArrayList<>();
    for (int i = 0; i < 40; i++) {
      List<Example> documents = new ArrayList<>();
      for (int d = 0; d <= random.nextInt(3); d++) {
        documents.add(masked(1 + random.nextInt(20)));
      }
      rows.add(Packing.pack(documents, 64).getFirst());
    }
    Batches batches = new Batches(rows, 3, 2, shuffle, 5);
    Batches.Extent bound = batches.longest();
    int tokens = 0;
    int documents = 0;
    int longest = 0;
    for (long s = 0; s < batches.stepsFor(20); s++) {
      for (MicroBatch m : batches.step(s)) {
        tokens = Math.max(tokens, m.tokens());
        documents = Math.max(documents, m.documents());
        for (int d = 0; d < m.documents(); d++) {
          longest = Math.max(longest, LaidOut.of(m).docs()[d + 1] - LaidOut.of(m).docs()[d]);
        }
      }
    }
    assertThat(longest).isEqualTo(bound.longestDocument());
    if (shuffle) {
      assertThat(tokens).isLessThanOrEqualTo(bound.tokens());
      assertThat(documents).isLessThanOrEqualTo(bound.documents());
    } else {
      assertThat(tokens).isEqualTo(bound.tokens());
      assertThat(documents).isEqualTo(bound.documents());
    }
  }

  @Test
  void refusesNothing() {
    assertThatThrownBy(() -> new Batches(List.of(), 1, 1, true, 1)).isInstanceOf(IllegalArgumentException.class);
  }

  private static Example masked(int n) {
    int[] labels = new int[n];
    Arrays.fill(labels, Example.IGNORED);
    return Example.of(new int[n], labels);
  }

  /** Row i is i+1 tokens, all of them i. */
  private static List<Example> rows(int n) {
    return IntStream.range(0, n)
        .mapToObj(
            i -> {
              int[] ids = new int[i + 1];
              Arrays.fill(ids, i);
              return Example.of(ids, ids.clone());
            })
        .toList();
  }

  private static List<Integer> rowsOf(MicroBatch batch) {
    LaidOut laid = LaidOut.of(batch);
    return IntStream.range(0, batch.documents()).mapToObj(d -> laid.ids()[laid.docs()[d]]).toList();
  }
}
