package dev.hone.kernel;

/**
 * Work that returns in the same shapes, which a device may record once and replay, so that its ops need not be begun one by one. What
 * it computes is the same either way.
 */
public interface Replays extends AutoCloseable {
  /** Begins every op each time. */
  Replays NONE =
      new Replays() {
        @Override
        public void run(int tokens, int documents, Runnable work) {
          work.run();
        }

        @Override
        public void close() {}
      };

  /**
   * Does the work, which begins ops and neither reads nor writes on the host. Of its ops the order and the sizes depend on tokens and
   * documents alone; scalars and addresses may be others each time.
   */
  void run(int tokens, int documents, Runnable work);

  @Override
  void close();
}
