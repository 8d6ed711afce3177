package dev.hone.kernel.cuda;

import dev.hone.config.UserError;
import dev.hone.kernel.NativeException;
import dev.hone.tensor.MemorySpace;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.Locale;

/**
 * A card's memory. Copies go through one pinned buffer in two halves, one of which the host fills or empties while the
 * other travels; they are ordered with the kernels of the compute stream and complete when they return.
 */
final class CudaMemory implements MemorySpace {
  /** Of each half: long enough that starting a copy (about 10 us) is small beside its 80 us at 25 GB/s. */
  private static final long HALF = 2 << 20;

  private final CudaDevice device;
  private final MemorySegment pinned;
  private final MemorySegment[] halves = new MemorySegment[2];
  private final MemorySegment[] free = new MemorySegment[2];

  CudaMemory(CudaDevice device) {
    this.device = device;
    pinned = device.driver().allocatePinned(2 * HALF);
    for (int i = 0; i < 2; i++) {
      halves[i] = pinned.asSlice(i * HALF, HALF);
      free[i] = device.driver().createEvent();
    }
  }

  /** cuMemAlloc aligns to 256 bytes, more than is ever asked for. */
  @Override
  public MemorySegment allocate(Arena arena, long bytes, long alignment) {
    device.requireNoTape("taking memory");
    Driver driver = device.use();
    long address;
    try {
      address = driver.allocate(bytes);
    } catch (NativeException e) {
      throw e.status() == Driver.OUT_OF_MEMORY ? noRoom(bytes) : e;
    }
    driver.zero(address, bytes, device.stream());
    return MemorySegment.ofAddress(address).reinterpret(bytes, arena, memory -> device.free(memory.address()));
  }

  private UserError noRoom(long bytes) {
    return UserError.of(
        "%s has %s free of %s and the run needs %s more; lower per_device_train_batch_size or cutoff_len, set"
            + " gradient_checkpointing: true or quantization_bit: 4, or use --device cpu",
        device.card().name(), gib(device.driver().freeMemory()), gib(device.card().memory()), gib(bytes));
  }

  private static String gib(long bytes) {
    return String.format(Locale.ROOT, "%.2f GiB", bytes / (double) (1L << 30));
  }

  @Override
  public void write(MemorySegment target, MemorySegment host) {
    long bytes = host.byteSize();
    requireInside(target, bytes);
    device.requireNoTape("a copy from the host");
    Driver driver = device.use();
    int half = 0;
    for (long at = 0; at < bytes; at += HALF) {
      long part = Math.min(HALF, bytes - at);
      if (at >= 2 * HALF) {
        driver.synchronizeEvent(free[half]);
      }
      MemorySegment.copy(host, at, halves[half], 0, part);
      driver.copyIn(target.address() + at, halves[half], part, device.stream());
      driver.record(free[half], device.stream());
      half ^= 1;
    }
    device.synchronize();
  }

  @Override
  public void read(MemorySegment host, MemorySegment source) {
    long bytes = host.byteSize();
    requireInside(source, bytes);
    device.requireNoTape("a copy to the host");
    Driver driver = device.use();
    for (long at = 0; at < bytes; at += 2 * HALF) {
      long part = Math.min(2 * HALF, bytes - at);
      driver.copyOut(pinned, source.address() + at, part, device.stream());
      device.synchronize();
      MemorySegment.copy(pinned, 0, host, at, part);
    }
  }

  @Override
  public double readDouble(MemorySegment source) {
    requireInside(source, Double.BYTES);
    device.requireNoTape("a copy to the host");
    device.use().copyOut(pinned, source.address(), Double.BYTES, device.stream());
    device.synchronize();
    return pinned.get(ValueLayout.JAVA_DOUBLE, 0);
  }

  @Override
  public void zero(MemorySegment target, long bytes) {
    requireInside(target, bytes);
    Tape tape = device.tape();
    boolean begins = tape == null || tape.other(Tape.ZERO, target.address(), bytes, 0);
    if (begins && bytes > 0) {
      device.use().zero(target.address(), bytes, device.stream());
    }
  }

  private void requireInside(MemorySegment segment, long bytes) {
    if (bytes > segment.byteSize()) {
      throw new IllegalArgumentException("a copy of " + bytes + " bytes, " + segment.byteSize() + " there");
    }
  }

  void close() {
    for (MemorySegment event : free) {
      device.driver().destroyEvent(event);
    }
    device.driver().freePinned(pinned);
  }

  @Override
  public String toString() {
    return "the memory of cuda:" + device.card().ordinal();
  }
}
