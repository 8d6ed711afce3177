package dev.hone.kernel.cuda;

import dev.hone.kernel.Uploads;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * Uploads through pinned memory of two sets on the compute stream: a copy comes after the kernels that still read its
 * target and before those that are to read what it brings. {@code left[set]} happens when a set's copies have left it.
 */
final class PinnedUploads implements Uploads {
  private final CudaDevice device;
  private final List<Tensor> targets;
  private final Arena arena = Arena.ofShared();
  private final MemorySegment pinned;
  private final List<List<Tensor>> sets = new ArrayList<>();
  private final MemorySegment[] left = new MemorySegment[2];
  private int set;

  PinnedUploads(CudaDevice device, List<Tensor> targets) {
    this.device = device;
    this.targets = List.copyOf(targets);
    Driver driver = device.use();
    pinned = driver.allocatePinned(
        Uploads.pinnedBytes(targets.stream().mapToLong(target -> target.data().byteSize()).toArray()));
    long at = 0;
    for (int i = 0; i < 2; i++) {
      List<Tensor> hosts = new ArrayList<>();
      for (Tensor target : targets) {
        hosts.add(Tensor.of(
            arena, target.name(), target.dtype(), pinned.asSlice(at, target.data().byteSize()), target.shape()));
        at += room(target);
      }
      sets.add(List.copyOf(hosts));
      left[i] = driver.createEvent();
      driver.record(left[i], device.stream());
    }
  }

  private static long room(Tensor tensor) {
    return Math.ceilDiv(tensor.data().byteSize(), ALIGNMENT) * ALIGNMENT;
  }

  @Override
  public List<Tensor> next() {
    device.requireNoTape("a copy from the host");
    set ^= 1;
    device.use().synchronizeEvent(left[set]);
    return sets.get(set);
  }

  @Override
  public void send() {
    Driver driver = device.use();
    List<Tensor> hosts = sets.get(set);
    for (int i = 0; i < hosts.size(); i++) {
      Tensor host = hosts.get(i);
      long bytes = host.bytes();
      if (bytes > 0) {
        driver.copyIn(targets.get(i).data().address(), host.data(), bytes, device.stream());
      }
    }
    driver.record(left[set], device.stream());
  }

  @Override
  public void close() {
    if (!device.isLost()) {
      device.synchronize();
      for (MemorySegment event : left) {
        device.driver().destroyEvent(event);
      }
      device.driver().freePinned(pinned);
    }
    arena.close();
  }
}
