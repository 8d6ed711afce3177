package dev.hone.train;

import dev.hone.config.TrainConfig;
import java.util.Comparator;
import java.util.List;
import java.util.stream.IntStream;

/**
 * How the rows of an optimiser step are dealt to micro-batches. The loss is divided by the valid tokens of the whole step, so every way
 * of dealing them trains the same, but for dropout masks and rounding.
 *
 * @param rows of a micro-batch
 * @param accumulation micro-batches of a step
 * @param evaluationRows rows of an evaluation's micro-batch
 */
record Batching(int rows, int accumulation, int evaluationRows) {

  /**
   * What a run may choose from, the preferred first: what its settings say; with auto_find_batch_size also every other way to deal the
   * rows of a step evenly, the nearest first.
   */
  static List<Batching> of(TrainConfig config) {
    TrainConfig.Schedule s = config.schedule();
    int evaluation = config.evaluation().batch();
    if (!s.autoBatch()) {
      return List.of(new Batching(s.batch(), s.accumulation(), evaluation));
    }
    int all = Math.multiplyExact(s.batch(), s.accumulation());
    return IntStream.rangeClosed(1, all).filter(rows -> all % rows == 0)
        .mapToObj(rows -> new Batching(rows, all / rows, Math.min(rows, evaluation)))
        .sorted(Comparator.comparingDouble(b -> Math.abs(Math.log((double) b.rows / s.batch())))).toList();
  }
}
