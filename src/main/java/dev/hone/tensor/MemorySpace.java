package dev.hone.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/**
 * Where the elements of tensors lie: the machine's own memory, or a card's. Segments of a space other than {@link
 * #HOST} are addresses for that device's kernels; the host reaches them only through these copies, which are complete
 * when they return.
 */
public interface MemorySpace {
  /** The machine's own memory. */
  MemorySpace HOST = new HostMemory();

  /** Zeroed memory that lives as long as {@code arena}. */
  MemorySegment allocate(Arena arena, long bytes, long alignment);

  /** Copies host memory, on the heap or off it, to the start of {@code target}. */
  void write(MemorySegment target, MemorySegment host);

  /** Copies the start of {@code source} to host memory, on the heap or off it, as much as that takes. */
  void read(MemorySegment host, MemorySegment source);

  /** The f64 at the start of {@code source}; takes no memory. */
  double readDouble(MemorySegment source);

  /** Sets the first {@code bytes} of {@code target} to 0. */
  void zero(MemorySegment target, long bytes);
}
