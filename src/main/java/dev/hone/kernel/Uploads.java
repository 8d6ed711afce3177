package dev.hone.kernel;

import dev.hone.tensor.Tensor;
import java.util.List;

/**
 * Tensors that the host writes anew for each micro-batch, on their way to a device beside its kernels: what {@link #next} gives is
 * written, then {@link #send} lets it travel. Two sets take turns, so that one is written while the other travels.
 */
public interface Uploads extends AutoCloseable {
  /** Where a tensor begins in the host's memory: at a multiple of this many bytes. */
  long ALIGNMENT = 64;

  /** Bytes of pinned host memory for targets of these sizes: both sets. */
  static long pinnedBytes(long... targets) {
    long bytes = 0;
    for (long target : targets) {
      bytes += 2 * Math.ceilDiv(target, ALIGNMENT) * ALIGNMENT;
    }
    return bytes;
  }

  /**
   * The tensors to write, one for each target and as large. Waits until what was sent from them, the time before last, has left.
   */
  List<Tensor> next();

  /** What was written last, the first {@link Tensor#bytes} of each, is there for kernels begun from now on. */
  void send();

  @Override
  void close();

  /** For a device that reads the host's memory: the targets themselves are written. */
  record InPlace(List<Tensor> targets) implements Uploads {
    @Override
    public List<Tensor> next() {
      return targets;
    }

    @Override
    public void send() {}

    @Override
    public void close() {}
  }
}
