package dev.hone.bench;

import dev.hone.kernel.cuda.CudaKernels;
import java.util.Arrays;

/**
 * How long an op takes on a card, by events around runs of calls long enough to hide what a single launch costs.
 *
 * @param card whose stream is timed
 * @param samples runs that are timed, an odd number
 * @param least microseconds of a run
 */
record Timing(CudaKernels card, int samples, double least) {
  private static final int MOST_CALLS = 200;

  /**
   * Of one call.
   *
   * @param micros the median
   * @param spread slowest minus fastest over the median: above 0.1 the card was not idle
   */
  record Result(double micros, double spread) {}

  /** For figures worth keeping. */
  static Timing thorough(CudaKernels card) {
    return new Timing(card, 11, 2000);
  }

  /** One run of one call: proves that the bench works. */
  static Timing once(CudaKernels card) {
    return new Timing(card, 1, 0);
  }

  Result of(Runnable call) {
    double first = card.microseconds(call);
    if (samples > 1) {
      first = card.microseconds(call); // the one before loaded modules and chose among rivals
    }
    int calls = (int) Math.clamp(Math.ceil(least / Math.max(first, 1)), 1, MOST_CALLS);
    double[] times = new double[samples];
    for (int i = 0; i < samples; i++) {
      times[i] = card.microseconds(() -> {
        for (int c = 0; c < calls; c++) {
          call.run();
        }
      }) / calls;
    }
    Arrays.sort(times);
    double median = times[samples / 2];
    return new Result(median, (times[samples - 1] - times[0]) / median);
  }
}
