package dev.hone.train;

import java.nio.file.Path;
import java.util.List;

/**
 * What a run tells while it goes on. All methods are called from the thread that trains, in the order of events; a
 * listener that throws ends the run. The default does nothing.
 */
public interface TrainListener {

  /**
   * What a run will do.
   *
   * @param summary lines for a person: model, data, memory, device
   * @param firstStep optimiser steps already done by the run that is resumed, 0 for a new one
   * @param totalSteps optimiser steps at the end of the run
   */
  record Planned(List<String> summary, int firstStep, int totalSteps) {}

  /**
   * One optimiser step.
   *
   * @param step from 1
   * @param epoch passes over the data so far, with their fraction
   * @param loss of this step: sum over its valid tokens divided by their number
   * @param meanLoss of the steps since the last one that was logged: the value that goes into the log
   * @param learningRate the one used for this step
   * @param gradNorm before clipping
   * @param tokensPerSecond of this step, prompt tokens included
   * @param elapsedSeconds since the run began or was resumed
   * @param remainingSeconds estimated
   * @param logged whether this step gets a line in the log
   */
  record StepReport(
      int step,
      int totalSteps,
      double epoch,
      double loss,
      double meanLoss,
      double learningRate,
      double gradNorm,
      double tokensPerSecond,
      double elapsedSeconds,
      double remainingSeconds,
      boolean logged) {}

  /**
   * One evaluation.
   *
   * @param step optimiser steps done so far
   * @param loss mean over the valid tokens of all rows
   * @param rows rows evaluated
   */
  record EvalReport(int step, double epoch, double loss, int rows, double seconds) {
    public double perplexity() {
      return Math.exp(loss);
    }
  }

  /**
   * The end of a run.
   *
   * @param output folder of the result; of the checkpoint to resume from when interrupted
   * @param steps optimiser steps done in all
   * @param meanLoss of the steps of this run
   * @param interrupted whether {@link #stopRequested} ended it early
   */
  record Finished(Path output, int steps, double meanLoss, double seconds, boolean interrupted) {}

  /**
   * A held-out row, answered.
   *
   * @param prompt the row up to its answer, as text without special tokens
   * @param wanted the row's answer
   * @param got the model's
   */
  record Answer(String prompt, String wanted, String got) {
    public boolean exact() {
      return wanted.equals(got);
    }
  }

  /** The rows of probe_dataset, answered before or after training. */
  record ProbeReport(Moment moment, List<Answer> answers) {
    /** When the rows were answered. */
    public enum Moment {
      BEFORE,
      AFTER
    }

    /** Answers that equal the row's. */
    public long exact() {
      return answers.stream().filter(Answer::exact).count();
    }
  }

  default void planned(Planned plan) {}

  default void step(StepReport step) {}

  default void evaluated(EvalReport evaluation) {}

  default void probed(ProbeReport report) {}

  /** A checkpoint or the result was written; {@code path} is complete. */
  default void saved(Path path) {}

  /** One line about something the user should know; the run goes on. */
  default void warning(String line) {}

  default void finished(Finished end) {}

  /**
   * Polled before each micro-batch; true makes the trainer save a checkpoint of the steps that are complete and return. It must
   * stay true from then on.
   */
  default boolean stopRequested() {
    return false;
  }
}
