package dev.hone.train;

import dev.hone.config.TrainConfig.Scheduler;

/**
 * The learning rate of each step, as transformers' get_scheduler: after a linear rise from 0 over {@code warmup} steps it stays, falls
 * linearly to 0, or falls along half a cosine.
 *
 * @param peak learning_rate
 * @param warmup steps of the rise
 * @param total optimiser steps of the run
 */
record LearningRate(Scheduler scheduler, double peak, int warmup, int total) {

  /** The rate that step {@code step}, counted from 0, uses: 0 in the first step when there is a warm-up. */
  double at(int step) {
    if (step < warmup) {
      return peak * step / warmup;
    }
    double progress = (double) (step - warmup) / Math.max(1, total - warmup);
    return switch (scheduler) {
      case CONSTANT, CONSTANT_WITH_WARMUP -> peak;
      case LINEAR -> peak * Math.max(0, 1 - progress);
      case COSINE -> peak * Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress)));
    };
  }
}
