package dev.hone.kernel.cuda;

import dev.hone.config.UserError;
import dev.hone.kernel.NativeException;
import dev.hone.tensor.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * What a machine offers of cards: for {@code hone doctor}.
 *
 * @param library the driver library that was tried
 * @param problem why there is no driver to use; null when there is one
 * @param cards that it has
 */
public record CudaProbe(String library, String problem, List<Found> cards) {
  private static final long LINK_BYTES = 64 << 20;

  /**
   * One card.
   *
   * @param compute dtype of its activations; null when it is too old
   * @param free bytes of its memory
   * @param toCard bytes a second from pinned host memory
   * @param fromCard bytes a second to pinned host memory
   * @param problem why Hone cannot use it; null when it can
   */
  public record Found(Card card, DType compute, long free, double toCard, double fromCard, String problem) {}

  /** @param library of the driver, by path or name; null: the system's own */
  public static CudaProbe of(String library) {
    String name = library == null ? CudaDevice.defaultLibrary() : library;
    try {
      Driver driver = Driver.open(name);
      List<Found> found = new ArrayList<>();
      for (Card card : CudaDevice.cards(driver)) {
        found.add(look(driver, card));
      }
      return new CudaProbe(name, found.isEmpty() ? "the driver has no card" : null, found);
    } catch (UserError | NativeException e) {
      return new CudaProbe(name, e.getMessage(), List.of());
    }
  }

  private static Found look(Driver driver, Card card) {
    try (CudaDevice device = new CudaDevice(driver, card, Manifest.ofBuild())) {
      long free = driver.freeMemory();
      DType compute = card.tier().dtype();
      try (Arena arena = Arena.ofShared()) {
        MemorySegment there = device.memory().allocate(arena, LINK_BYTES, 64);
        return new Found(card, compute, free, link(device, there, true), link(device, there, false), null);
      }
    } catch (UserError | NativeException e) {
      return new Found(card, null, 0, 0, 0, e.getMessage());
    }
  }

  /** Bytes a second of one long copy, after one that warms up. */
  private static double link(CudaDevice device, MemorySegment there, boolean in) {
    Driver driver = device.use();
    MemorySegment pinned = driver.allocatePinned(LINK_BYTES);
    MemorySegment begin = driver.createEvent();
    MemorySegment end = driver.createEvent();
    try {
      for (int i = 0; i < 2; i++) {
        driver.record(begin, device.stream());
        if (in) {
          driver.copyIn(there.address(), pinned, LINK_BYTES, device.stream());
        } else {
          driver.copyOut(pinned, there.address(), LINK_BYTES, device.stream());
        }
        driver.record(end, device.stream());
        device.synchronize();
      }
      return LINK_BYTES / (driver.elapsed(begin, end) / 1e3);
    } finally {
      driver.destroyEvent(begin);
      driver.destroyEvent(end);
      driver.freePinned(pinned);
    }
  }
}
