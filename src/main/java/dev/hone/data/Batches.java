package dev.hone.data;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.function.ToIntFunction;

/**
 * The micro-batches of every optimiser step, by the step's number, so that a resumed run goes on exactly. As in the
 * Hugging Face Trainer an epoch's last micro-batch may have fewer rows and its last step fewer micro-batches. Not safe
 * for use by several threads.
 */
public final class Batches {
  private final List<Example> rows;
  private final int perMicroBatch;
  private final int accumulation;
  private final boolean shuffle;
  private final long seed;
  private long orderedEpoch = -1;
  private int[] order;

  /**
   * Bounds of a micro-batch, for planning its memory.
   *
   * @param tokens M at most
   * @param documents at most
   * @param longestDocument tokens of the longest document
   */
  public record Extent(int tokens, int documents, int longestDocument) {}

  /**
   * @param rows at least one
   * @param perMicroBatch rows of a micro-batch
   * @param accumulation micro-batches of a step
   * @param shuffle each epoch has an order of its own; else that of the rows
   * @param seed of the orders
   */
  public Batches(List<Example> rows, int perMicroBatch, int accumulation, boolean shuffle, long seed) {
    if (rows.isEmpty() || perMicroBatch < 1 || accumulation < 1) {
      throw new IllegalArgumentException(
          "%d rows, %d a micro-batch, %d micro-batches a step: none may be 0"
              .formatted(rows.size(), perMicroBatch, accumulation));
    }
    this.rows = List.copyOf(rows);
    this.perMicroBatch = perMicroBatch;
    this.accumulation = accumulation;
    this.shuffle = shuffle;
    this.seed = seed;
  }

  /** Evaluation's batches: file order, a step for each micro-batch. */
  public static Batches inOrder(List<Example> rows, int perMicroBatch) {
    return new Batches(rows, perMicroBatch, 1, false, 0);
  }

  /** Rows of an epoch. */
  public int rows() {
    return rows.size();
  }

  public int microBatchesPerEpoch() {
    return Math.ceilDiv(rows.size(), perMicroBatch);
  }

  public int stepsPerEpoch() {
    return Math.ceilDiv(microBatchesPerEpoch(), accumulation);
  }

  /** Steps of a number of epochs, which need not be whole. */
  public long stepsFor(double epochs) {
    return (long) Math.ceil(epochs * stepsPerEpoch());
  }

  /** The epoch that has been reached after a number of steps, such as 1.5. */
  public double epochAfter(long steps) {
    return (double) steps / stepsPerEpoch();
  }

  /** The micro-batches of a step, counted from 0 over all epochs. */
  public List<MicroBatch> step(long step) {
    int[] epochOrder = order(step / stepsPerEpoch());
    int first = (int) (step % stepsPerEpoch()) * accumulation;
    int end = Math.min(first + accumulation, microBatchesPerEpoch());
    List<MicroBatch> batches = new ArrayList<>(end - first);
    for (int m = first; m < end; m++) {
      List<Example> chosen = new ArrayList<>(perMicroBatch);
      for (int i = m * perMicroBatch; i < Math.min((m + 1) * perMicroBatch, rows.size()); i++) {
        chosen.add(rows.get(epochOrder[i]));
      }
      batches.add(MicroBatch.of(chosen));
    }
    return batches;
  }

  /** Bounds that hold for every micro-batch of every epoch; with shuffling the longest rows may meet in one. */
  public Extent longest() {
    int longestDocument = rows.stream().mapToInt(Batches::longestDocument).max().orElseThrow();
    return new Extent(most(Example::length), most(Batches::documents), longestDocument);
  }

  private int most(ToIntFunction<Example> size) {
    int[] sizes = rows.stream().mapToInt(size).toArray();
    int n = sizes.length;
    if (shuffle) {
      Arrays.sort(sizes);
      return Arrays.stream(sizes, Math.max(0, n - perMicroBatch), n).reduce(0, Math::addExact);
    }
    int most = 0;
    for (int i = 0; i < n; i += perMicroBatch) {
      most = Math.max(most, Arrays.stream(sizes, i, Math.min(i + perMicroBatch, n)).reduce(0, Math::addExact));
    }
    return most;
  }

  private static int documents(Example example) {
    int documents = 1;
    for (int t = 1; t < example.length(); t++) {
      documents += example.positions()[t] == 0 ? 1 : 0;
    }
    return documents;
  }

  private static int longestDocument(Example example) {
    int longest = 0;
    int start = 0;
    for (int t = 1; t <= example.length(); t++) {
      if (t == example.length() || example.positions()[t] == 0) {
        longest = Math.max(longest, t - start);
        start = t;
      }
    }
    return longest;
  }

  private int[] order(long epoch) {
    if (order == null || shuffle && orderedEpoch != epoch) {
      if (shuffle) {
        order = Shuffle.permutation(rows.size(), seed, epoch);
      } else {
        order = new int[rows.size()];
        Arrays.setAll(order, i -> i);
      }
      orderedEpoch = epoch;
    }
    return order;
  }
}
