package dev.hone.plan;

import dev.hone.tensor.DType;
import java.util.List;

/**
 * One planned piece of the arena.
 *
 * @param name unique in its plan, such as {@code layers.3.q}
 * @param kind what it is counted as in the plan's table
 * @param offset bytes from the arena's start, a multiple of {@link Plan#ALIGNMENT}; buffers that are never alive together may share
 *     bytes
 * @param life when it is alive
 */
public record Buffer(String name, Kind kind, DType dtype, List<Long> shape, long offset, Life life) {

  /** Rows of the plan's table. */
  public enum Kind {
    WEIGHTS("base weights"),
    PARAMETERS("trainable parameters"),
    GRADIENTS("gradients"),
    OPTIMIZER("optimizer states"),
    ACTIVATIONS("saved activations"),
    SCRATCH("scratch"),
    BATCH("batch and tables"),
    CACHE("key-value cache");

    private final String title;

    Kind(String title) {
      this.title = title;
    }

    public String title() {
      return title;
    }
  }

  public long bytes() {
    long elements = 1;
    for (long extent : shape) {
      elements = Math.multiplyExact(elements, extent);
    }
    return dtype.bytes(elements);
  }

  /** The same at an offset. */
  Buffer at(long place) {
    return new Buffer(name, kind, dtype, shape, place, life);
  }

  public long end() {
    return offset + bytes();
  }
}
