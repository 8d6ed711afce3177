package dev.hone.kernel.cuda;

import dev.hone.kernel.HostStash;
import dev.hone.kernel.NativeException;
import dev.hone.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * Sets of tensors in page-locked memory, copied on a stream of its own.
 *
 * <pre>
 *   began          compute stream -> copy stream: the kernels begun before a copy; recorded anew for each
 *   copied[set]    copy stream -> compute stream: the set's copy has ended
 * </pre>
 *
 * The host waits for nothing. Each set has an allocation of its own, so that a host which refuses one still serves
 * those before it.
 */
final class PinnedStash implements HostStash {
  /** Where a tensor begins in its set: at a multiple of this many bytes. */
  private static final long ALIGNMENT = 64;

  /** A tensor and its place on the host, which holds its largest shape. */
  private record Place(Tensor tensor, MemorySegment host) {}

  /** One allocation and what lies in it. */
  private record Set(MemorySegment memory, MemorySegment copied, List<Place> places) {}

  private final CudaDevice device;
  private final MemorySegment stream;
  private final MemorySegment began;
  private final List<Set> sets = new ArrayList<>();
  private Optional<String> refusal = Optional.empty();

  PinnedStash(CudaDevice device, List<Long> setBytes, long spareBytes) {
    this.device = device;
    Driver driver = device.use();
    stream = driver.createStream();
    began = driver.createEvent();
    // Held while the sets are taken, so that it is there for others afterwards.
    MemorySegment spare = spareBytes > 0 ? driver.allocatePinned(spareBytes) : null;
    try {
      for (long bytes : setBytes) {
        sets.add(new Set(driver.allocatePinned(bytes), driver.createEvent(), new ArrayList<>()));
      }
    } catch (NativeException e) {
      if (e.status() != Driver.OUT_OF_MEMORY && e.status() != Driver.OPERATING_SYSTEM) {
        throw e;
      }
      refusal = Optional.of(e.getMessage());
    }
    if (spare != null) {
      driver.freePinned(spare);
    }
  }

  @Override
  public int sets() {
    return sets.size();
  }

  @Override
  public Optional<String> refusal() {
    return refusal;
  }

  @Override
  public void bind(int set, List<Tensor> tensors) {
    Set target = sets.get(set);
    long at = 0;
    for (Tensor tensor : tensors) {
      long bytes = tensor.data().byteSize();
      target.places.add(new Place(tensor, target.memory.asSlice(at, bytes)));
      at += Math.ceilDiv(bytes, ALIGNMENT) * ALIGNMENT;
    }
  }

  @Override
  public void store(int set) {
    Driver driver = begin();
    Set source = sets.get(set);
    for (Place place : source.places) {
      driver.copyOut(place.host, place.tensor.data().address(), place.tensor.bytes(), stream);
    }
    driver.record(source.copied, stream);
  }

  @Override
  public void fetch(int set) {
    Driver driver = begin();
    Set source = sets.get(set);
    for (Place place : source.places) {
      driver.copyIn(place.tensor.data().address(), place.host, place.tensor.bytes(), stream);
    }
    driver.record(source.copied, stream);
  }

  /** Lets the coming copies wait for the kernels begun so far. */
  private Driver begin() {
    Driver driver = device.use();
    driver.record(began, device.stream());
    driver.waitFor(stream, began);
    return driver;
  }

  @Override
  public void await(int set) {
    device.use().waitFor(device.stream(), sets.get(set).copied);
  }

  @Override
  public void close() {
    if (device.isLost()) {
      return;
    }
    Driver driver = device.use();
    driver.synchronize(stream);
    for (Set set : sets) {
      driver.destroyEvent(set.copied);
      driver.freePinned(set.memory);
    }
    driver.destroyEvent(began);
    driver.destroyStream(stream);
  }
}
