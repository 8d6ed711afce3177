package dev.hone.tensor;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;

/** The machine's own memory. */
final class HostMemory implements MemorySpace {
  @Override
  public MemorySegment allocate(Arena arena, long bytes, long alignment) {
    return arena.allocate(bytes, alignment);
  }

  @Override
  public void write(MemorySegment target, MemorySegment host) {
    MemorySegment.copy(host, 0, target, 0, host.byteSize());
  }

  @Override
  public void read(MemorySegment host, MemorySegment source) {
    MemorySegment.copy(source, 0, host, 0, host.byteSize());
  }

  @Override
  public double readDouble(MemorySegment source) {
    return source.get(ValueLayout.JAVA_DOUBLE, 0);
  }

  @Override
  public void zero(MemorySegment target, long bytes) {
    target.asSlice(0, bytes).fill((byte) 0);
  }

  @Override
  public String toString() {
    return "host memory";
  }
}
