package dev.hone.kernel.cuda;

import dev.hone.kernel.RoundTrips;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.List;

/**
 * Round trips through pinned memory, on one stream for each direction, so that both use the link at once.
 *
 * <pre>
 *   began           compute stream -> down: what made the tensors
 *   arrived[half]   down -> host: the half may be read
 *   left[half]      up -> down, compute stream: the half may be overwritten, the device has what was sent
 * </pre>
 */
final class PinnedRoundTrips implements RoundTrips {
  private final CudaDevice device;
  private final Arena arena = Arena.ofShared();
  private final MemorySegment pinned;
  private final MemorySegment down;
  private final MemorySegment up;
  private final MemorySegment began;
  private final List<List<Tensor>> hosts = new ArrayList<>();
  private final List<List<Tensor>> brought = new ArrayList<>();
  private final MemorySegment[] arrived = new MemorySegment[HALVES];
  private final MemorySegment[] left = new MemorySegment[HALVES];

  PinnedRoundTrips(CudaDevice device, int tensors, long elements) {
    this.device = device;
    Driver driver = device.use();
    pinned = driver.allocatePinned(RoundTrips.pinnedBytes(tensors, elements));
    down = driver.createStream();
    up = driver.createStream();
    began = driver.createEvent();
    long at = 0;
    for (int half = 0; half < HALVES; half++) {
      List<Tensor> here = new ArrayList<>();
      for (int i = 0; i < tensors; i++) {
        MemorySegment data = pinned.asSlice(at, Float.BYTES * elements);
        here.add(Tensor.of(arena, "half " + half, DType.F32, data, elements));
        at += RoundTrips.room(elements);
      }
      hosts.add(List.copyOf(here));
      brought.add(List.of());
      arrived[half] = driver.createEvent();
      left[half] = driver.createEvent();
      driver.record(left[half], up);
    }
  }

  @Override
  public void bring(int half, List<Tensor> tensors) {
    device.requireNoTape("a copy to the host");
    Driver driver = device.use();
    driver.record(began, device.stream());
    driver.waitFor(down, began);
    driver.waitFor(down, left[half]);
    for (int i = 0; i < tensors.size(); i++) {
      Tensor source = tensors.get(i);
      Tensor host = hosts.get(half).get(i).rows(source.elements());
      driver.copyOut(host.data(), source.data().address(), source.bytes(), down);
    }
    driver.record(arrived[half], down);
    brought.set(half, tensors);
  }

  @Override
  public List<Tensor> arrived(int half) {
    device.use().synchronizeEvent(arrived[half]);
    return hosts.get(half);
  }

  @Override
  public void send(int half, int tensor) {
    Driver driver = device.use();
    Tensor host = hosts.get(half).get(tensor);
    driver.copyIn(brought.get(half).get(tensor).data().address(), host.data(), host.bytes(), up);
    driver.record(left[half], up);
  }

  @Override
  public void finish() {
    for (MemorySegment sent : left) {
      device.use().waitFor(device.stream(), sent);
    }
  }

  @Override
  public void close() {
    if (!device.isLost()) {
      Driver driver = device.use();
      driver.synchronize(down);
      driver.synchronize(up);
      for (int half = 0; half < HALVES; half++) {
        driver.destroyEvent(arrived[half]);
        driver.destroyEvent(left[half]);
      }
      driver.destroyEvent(began);
      driver.destroyStream(down);
      driver.destroyStream(up);
      driver.freePinned(pinned);
    }
    arena.close();
  }
}
