package dev.hone.kernel.cuda;

import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;

/** The way between a card and pinned host memory, measured. */
final class Link {
  private static final long BYTES = 64 << 20;

  private Link() {}

  /** Bytes a second of one long copy to or from the card, after one that warms up; of what fits, where little is free. */
  static double rate(CudaDevice device, boolean toCard) {
    Driver driver = device.use();
    long bytes = Math.max(64, Math.min(BYTES, driver.freeMemory() / 4));
    MemorySegment pinned = driver.allocatePinned(bytes);
    MemorySegment begin = driver.createEvent();
    MemorySegment end = driver.createEvent();
    try (Arena arena = Arena.ofShared()) {
      MemorySegment there = device.memory().allocate(arena, bytes, 64);
      for (int i = 0; i < 2; i++) {
        driver.record(begin, device.stream());
        if (toCard) {
          driver.copyIn(there.address(), pinned, bytes, device.stream());
        } else {
          driver.copyOut(pinned, there.address(), bytes, device.stream());
        }
        driver.record(end, device.stream());
        device.synchronize();
      }
      return bytes / (driver.elapsed(begin, end) / 1e3);
    } finally {
      driver.destroyEvent(begin);
      driver.destroyEvent(end);
      driver.freePinned(pinned);
    }
  }
}
