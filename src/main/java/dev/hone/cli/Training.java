package dev.hone.cli;

import dev.hone.config.TrainConfig;
import dev.hone.train.TrainListener;
import java.io.PrintStream;

/** What the train command does once its configuration is good. */
interface Training {
  /** Trains, telling the listener; returns when the result or, after a stop, a checkpoint is written. */
  void run(TrainConfig config, TrainListener listener);

  /** Prints the first {@code rows} rows as the model will see them, trained tokens marked. */
  void preview(TrainConfig config, int rows, PrintStream out);
}
