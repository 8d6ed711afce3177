package dev.hone.kernel.cuda;

import dev.hone.kernel.BlobStream;
import dev.hone.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * Slots filled on a stream of its own.
 *
 * <pre>
 *   host file -- memcpy --> half of the pinned ring -- copy stream --> slot       one half is filled while the other travels
 *   released[slot]  compute stream -> copy stream: the slot may be overwritten
 *   ready[slot]     copy stream -> compute stream: the slot may be read
 * </pre>
 *
 * The host waits for halves of the ring only; the card does the rest of the waiting.
 */
final class CopyStream implements BlobStream {
  private final CudaDevice device;
  private final List<Tensor> slots;
  private final MemorySegment stream;
  private final MemorySegment ring;
  private final MemorySegment[] halves;
  private final long half;
  private final MemorySegment[] travelled = new MemorySegment[2];
  private final List<MemorySegment> ready = new ArrayList<>();
  private final List<MemorySegment> released = new ArrayList<>();
  private int next;

  CopyStream(CudaDevice device, List<Tensor> slots, long ringBytes) {
    this.device = device;
    this.slots = List.copyOf(slots);
    Driver driver = device.use();
    half = ringBytes / 2;
    ring = driver.allocatePinned(2 * half);
    halves = new MemorySegment[] {ring.asSlice(0, half), ring.asSlice(half, half)};
    stream = driver.createStream();
    for (int i = 0; i < 2; i++) {
      travelled[i] = recorded(driver);
    }
    for (int slot = 0; slot < slots.size(); slot++) {
      ready.add(recorded(driver));
      released.add(recorded(driver));
    }
  }

  /** An event that has happened, so that the first wait for it ends at once. */
  private MemorySegment recorded(Driver driver) {
    MemorySegment event = driver.createEvent();
    driver.record(event, stream);
    return event;
  }

  @Override
  public void fetch(int slot, Tensor blob) {
    device.requireNoTape("a copy from the host");
    Driver driver = device.use();
    long bytes = blob.bytes();
    Tensor target = slots.get(slot);
    if (bytes > target.bytes()) {
      throw new IllegalArgumentException(blob + " does not fit into " + target);
    }
    driver.waitFor(stream, released.get(slot));
    for (long at = 0; at < bytes; at += half) {
      long part = Math.min(half, bytes - at);
      MemorySegment here = halves[next];
      driver.synchronizeEvent(travelled[next]);
      MemorySegment.copy(blob.data(), at, here, 0, part);
      driver.copyIn(target.data().address() + at, here, part, stream);
      driver.record(travelled[next], stream);
      next ^= 1;
    }
    driver.record(ready.get(slot), stream);
  }

  @Override
  public void await(int slot) {
    device.use().waitFor(device.stream(), ready.get(slot));
  }

  @Override
  public void release(int slot) {
    device.use().record(released.get(slot), device.stream());
  }

  @Override
  public void close() {
    Driver driver = device.use();
    driver.synchronize(stream);
    for (MemorySegment event : travelled) {
      driver.destroyEvent(event);
    }
    ready.forEach(driver::destroyEvent);
    released.forEach(driver::destroyEvent);
    driver.destroyStream(stream);
    driver.freePinned(ring);
  }
}
