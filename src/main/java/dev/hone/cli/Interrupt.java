package dev.hone.cli;

import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;

/**
 * Ctrl-C or a terminate signal during a run: the run is asked to stop and the process lives until it has saved. The
 * JVM then exits with 130 (143 for a terminate signal) by itself.
 */
final class Interrupt implements AutoCloseable {
  /** Saving a checkpoint is a few hundred megabytes at most; a disk that takes longer is stuck. */
  private static final long PATIENCE_SECONDS = 300;

  private final CountDownLatch done = new CountDownLatch(1);
  private final Thread hook = new Thread(this::stop, "interrupt");
  private volatile boolean requested;

  Interrupt() {
    Runtime.getRuntime().addShutdownHook(hook);
  }

  boolean requested() {
    return requested;
  }

  private void stop() {
    requested = true;
    System.err.println();
    System.err.println("hone: stopping after this micro-batch and saving ...");
    try {
      if (!done.await(PATIENCE_SECONDS, TimeUnit.SECONDS)) {
        System.err.println("hone: the run did not stop in time; nothing was saved since the last checkpoint");
      }
    } catch (InterruptedException e) {
      Thread.currentThread().interrupt();
    }
  }

  /** The run is over, one way or the other. */
  @Override
  public void close() {
    done.countDown();
    if (!requested) {
      try {
        Runtime.getRuntime().removeShutdownHook(hook);
      } catch (IllegalStateException e) {
        // The signal came this very moment: the hook finds `done` open and ends.
        requested = true;
      }
    }
  }
}
