package dev.hone.train;

import dev.hone.config.TrainConfig;
import dev.hone.config.TrainConfig.Strategy;
import dev.hone.config.UserError;
import dev.hone.data.Batches;
import dev.hone.data.MicroBatch;
import dev.hone.engine.Model;
import dev.hone.engine.Parameters;
import dev.hone.kernel.Kernels;
import java.nio.file.Path;
import java.time.Duration;
import java.util.List;

/**
 * The training loop. One optimiser step is: forward and backward of its micro-batches, each scaled by 1 / valid targets of the whole
 * step; the norm over all gradients; clipping; AdamW at the schedule's rate. With f16 activations the gradients carry a scale until
 * AdamW takes it out ({@link LossScale}). Data order and dropout are functions of seed and step,
 * so a run that goes on from a checkpoint does what it would have done.
 */
public final class Trainer {
  private final TrainConfig config;
  private final TrainListener listener;

  /** @param listener hears what happens, on the thread that calls {@link #run} */
  public Trainer(TrainConfig config, TrainListener listener) {
    this.config = config;
    this.listener = listener;
  }

  /**
   * Trains to the end, or until the listener asks to stop.
   *
   * @return what the listener heard last
   * @throws UserError for a mistake in the settings or in the files they name; nothing that was there before is lost
   */
  public TrainListener.Finished run() {
    RunOutput.requireFree(config);
    try (RunInputs inputs = RunInputs.open(config);
        RunSetup setup = RunSetup.open(config, inputs, listener::warning)) {
      inputs.data().report().notes().forEach(listener::warning);
      inputs.data().evaluationReport().ifPresent(
          report -> report.notes().forEach(note -> listener.warning("eval_dataset: " + note)));
      RunOutput output = setup.output();
      output.prepare();
      Snapshot.Start start = setup.start();
      listener.planned(new TrainListener.Planned(setup.summary(), start.step(), setup.totalSteps()));
      Probe probe = Probe.of(setup, inputs, listener);
      probe.run(TrainListener.ProbeReport.Moment.BEFORE);
      TrainListener.Finished end = new Loop(setup, output, start).run();
      if (!end.interrupted()) {
        probe.run(TrainListener.ProbeReport.Moment.AFTER);
      }
      listener.finished(end);
      return end;
    }
  }

  /** One run's way through its steps. */
  private final class Loop {
    private final RunSetup setup;
    private final RunOutput output;
    private final Kernels kernels;
    private final Model model;
    private final Parameters parameters;
    private final Batches batches;
    private final int totalSteps;
    private final LearningRate schedule;
    private final RunLog log;
    private final LossScale scale;
    private final int firstStep;
    private final long began = System.nanoTime();
    private double lossSinceLog;
    private long tokensSinceLog;
    private long lastLog = began;
    private int stepsSinceLog;
    private double lossSum;

    Loop(RunSetup setup, RunOutput output, Snapshot.Start start) {
      this.setup = setup;
      this.output = output;
      kernels = setup.kernels();
      model = setup.model();
      parameters = model.parameters();
      batches = setup.batches();
      totalSteps = setup.totalSteps();
      firstStep = start.step();
      scale = new LossScale(setup.computeDtype(), start.scale());
      lossSinceLog = start.unlogged().loss();
      stepsSinceLog = start.unlogged().steps();
      TrainConfig.Schedule s = config.schedule();
      schedule =
          new LearningRate(s.scheduler(), config.optimizer().learningRate(), s.warmup(totalSteps), totalSteps);
      log = new RunLog(config.output().directory(), totalSteps, start.history());
    }

    TrainListener.Finished run() {
      for (int step = firstStep; step < totalSteps; step++) {
        if (!step(step)) {
          Path saved = save(step);
          return finished(saved, step, true);
        }
        afterStep(step + 1);
      }
      log.remarks(kernels.remarks());
      output.result(progress(totalSteps), log);
      listener.saved(config.output().directory());
      return finished(config.output().directory(), totalSteps, false);
    }

    /** Step {@code step}, counted from 0; false when it was given up because the listener asked to stop. */
    private boolean step(int step) {
      long started = System.nanoTime();
      List<MicroBatch> micro = batches.step(step);
      int valid = micro.stream().mapToInt(MicroBatch::validTargets).sum();
      int tokens = micro.stream().mapToInt(MicroBatch::tokens).sum();
      Gradients found;
      do {
        found = gradients(step, micro, valid);
        if (found == null) {
          return false;
        }
        requireFinite(step, found);
      } while (!scale.accepts(found.norm));
      double rate = schedule.at(step);
      double loss = found.loss;
      parameters.step(kernels, adamW(rate), clip(found.norm) / found.scale, step + 1L);
      lossSum += loss;
      lossSinceLog += loss;
      tokensSinceLog += tokens;
      stepsSinceLog++;
      report(step + 1, loss, found.norm, rate, tokens, System.nanoTime() - started);
      return true;
    }

    /** What a step's micro-batches left in the gradients: the loss, the norm once unscaled, the scale still in them. */
    private record Gradients(double loss, double norm, float scale) {}

    /** Forward and backward of a step's micro-batches; null when given up because the listener asked to stop. */
    private Gradients gradients(int step, List<MicroBatch> micro, int valid) {
      float factor = scale.value();
      float inverseCount = 1f / Math.max(1, valid);
      parameters.zeroGradients();
      for (int i = 0; i < micro.size(); i++) {
        if (listener.stopRequested()) {
          return null;
        }
        long dropoutSeed = mix(mix(config.seed()) + (long) step * batches.microBatchesPerEpoch() + i);
        model.begin(micro.get(i), inverseCount * factor, dropoutSeed, (float) config.optimizer().labelSmoothing());
      }
      double sum = model.loss();
      return new Gradients(sum / Math.max(1, valid), parameters.gradientNorm(kernels) / factor, factor);
    }

    private Parameters.AdamW adamW(double rate) {
      TrainConfig.Optimizer o = config.optimizer();
      return new Parameters.AdamW(
          (float) rate, (float) o.beta1(), (float) o.beta2(), (float) o.epsilon(), (float) o.weightDecay());
    }

    /** torch's clip_grad_norm_: the factor that brings a norm above the maximum down to it. */
    private float clip(double norm) {
      double max = config.optimizer().maxGradNorm();
      return max > 0 ? (float) Math.min(1, max / (norm + 1e-6)) : 1f;
    }

    private void requireFinite(int step, Gradients found) {
      double loss = found.loss;
      double norm = found.norm;
      if (Double.isFinite(loss) && (Double.isFinite(norm) || scale.canFall())) {
        return;
      }
      if (step == firstStep) {
        throw UserError.of(
            "the very first loss is %s and its gradient norm %s, before anything was trained: the weights of %s%s hold NaN or"
                + " infinite numbers%s; fetch them again",
            loss, norm, config.model().directory(),
            config.model().adapter().map(folder -> " or of the adapter " + folder).orElse(""),
            config.model().computeDtype() == TrainConfig.ComputeDtype.BF16 ? ", or need compute_dtype: fp32" : "");
      }
      throw UserError.of(
          "the loss of step %d is %s and its gradient norm %s; no result was written, checkpoints of earlier steps are kept."
              + " A lower learning_rate (now %s) or a lower max_grad_norm (now %s) is the usual remedy",
          step + 1, loss, norm, config.optimizer().learningRate(), config.optimizer().maxGradNorm());
    }

    private void report(int step, double loss, double norm, double rate, int tokens, long nanos) {
      long now = System.nanoTime();
      Duration elapsed = Duration.ofNanos(now - began);
      Duration left = elapsed.multipliedBy(totalSteps - step).dividedBy(Math.max(1, step - firstStep));
      boolean logged = config.output().logs(step, totalSteps);
      double mean = lossSinceLog / stepsSinceLog;
      double epoch = batches.epochAfter(step);
      if (logged) {
        double speed = tokensSinceLog / ((now - lastLog) / 1e9);
        log.step(step, epoch, mean, norm, rate, elapsed, left, speed);
        lossSinceLog = 0;
        tokensSinceLog = 0;
        stepsSinceLog = 0;
        lastLog = now;
      }
      listener.step(
          new TrainListener.StepReport(
              step, totalSteps, epoch, loss, mean, rate, norm, tokens / (nanos / 1e9), elapsed.toNanos() / 1e9,
              left.toNanos() / 1e9, logged));
    }

    private void afterStep(int done) {
      boolean epochEnds = done % batches.stepsPerEpoch() == 0 || done == totalSteps;
      TrainConfig.Evaluation evaluation = config.evaluation();
      if (due(evaluation.strategy(), evaluation.steps(), done, epochEnds)) {
        evaluate(done);
      }
      if (due(config.output().saveStrategy(), config.output().saveSteps(), done, epochEnds)) {
        listener.saved(save(done));
      }
    }

    private boolean due(Strategy strategy, int every, int done, boolean epochEnds) {
      return switch (strategy) {
        case NO -> false;
        case STEPS -> done % every == 0;
        case EPOCH -> epochEnds;
      };
    }

    private void evaluate(int done) {
      Batches rows = setup.evaluationBatches();
      long started = System.nanoTime();
      long valid = 0;
      for (int i = 0; i < rows.stepsPerEpoch(); i++) {
        if (listener.stopRequested()) {
          return; // the next step sees it too, and saves
        }
        for (MicroBatch batch : rows.step(i)) {
          model.beginEvaluation(batch);
          valid += batch.validTargets();
        }
      }
      double sum = model.loss();
      Duration took = Duration.ofNanos(System.nanoTime() - started);
      Duration elapsed = Duration.ofNanos(System.nanoTime() - began);
      double loss = sum / Math.max(1, valid);
      double epoch = batches.epochAfter(done);
      Duration left = elapsed.multipliedBy(totalSteps - done).dividedBy(Math.max(1, done - firstStep));
      log.evaluation(done, epoch, loss, took, rows.rows(), elapsed, left);
      listener.evaluated(new TrainListener.EvalReport(done, epoch, loss, rows.rows(), took.toNanos() / 1e9));
    }

    private Path save(int done) {
      return output.checkpoint(progress(done));
    }

    private Snapshot.Progress progress(int done) {
      return new Snapshot.Progress(
          done, totalSteps, batches.epochAfter(done), config.schedule().epochs(), setup.batching().rows(),
          config.output().loggingSteps(), log.history(), new Snapshot.Unlogged(stepsSinceLog, lossSinceLog),
          scale.state());
    }

    private TrainListener.Finished finished(Path result, int steps, boolean interrupted) {
      return new TrainListener.Finished(
          result, steps, lossSum / Math.max(1, steps - firstStep), (System.nanoTime() - began) / 1e9, interrupted);
    }
  }

  /** The finaliser of splitmix64: neighbouring numbers become unrelated ones. */
  private static long mix(long z) {
    z = (z ^ (z >>> 30)) * 0xbf58476d1ce4e5b9L;
    z = (z ^ (z >>> 27)) * 0x94d049bb133111ebL;
    return z ^ (z >>> 31);
  }
}
