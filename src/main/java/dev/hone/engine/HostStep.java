package dev.hone.engine;

import dev.hone.engine.Parameters.AdamW;
import dev.hone.engine.Parameters.Moment;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.RoundTrips;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.plan.ParameterGroup;
import dev.hone.plan.TrainingPlan;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;

/**
 * AdamW where the moments lie on the host and values and gradients on a device. A chunk's gradients and values come here, the CPU's op
 * steps them, the values go back: 12 bytes an element over the link at the end of an optimiser step, and no second copy of what trains
 * that could grow stale. While the host steps one chunk, of whichever group, the next one comes and the one before goes back
 * ({@link RoundTrips}). Chunks are whole blocks of 8-bit moments, so the result is the CPU op's on the whole buffers, bit for bit.
 */
final class HostStep implements AutoCloseable {
  private static final int VALUES = 0;
  private static final int GRADIENTS = 1;

  /**
   * Of a group, so many elements as fit a half.
   *
   * @param tensors of the device: values, gradients
   */
  private record Chunk(List<Tensor> tensors, Moment m, Moment v, boolean decay) {}

  private final CpuKernels host = new CpuKernels();
  private final List<Chunk> chunks = new ArrayList<>();
  private final RoundTrips trips;
  private final long chunk;

  /** @param chunk elements of values and gradients that are on the host at a time, twice */
  HostStep(Kernels device, long chunk) {
    this.chunk = chunk;
    trips = device.roundTrips(TrainingPlan.HOST_TENSORS, chunk);
  }

  /** Adds a group: values and gradients of the device, moments of the host. */
  void add(Tensor value, Tensor gradient, Moment m, Moment v, boolean decay, Arena arena) {
    long elements = value.elements();
    for (long at = 0; at < elements; at += chunk) {
      long n = Math.min(chunk, elements - at);
      List<Tensor> tensors = List.of(value.view(arena, value.name(), at, n), gradient.view(arena, gradient.name(), at, n));
      chunks.add(new Chunk(tensors, part(m, at, n, arena), part(v, at, n, arena), decay));
    }
  }

  private static Moment part(Moment whole, long at, long n, Arena arena) {
    Tensor stored = whole.stored().view(arena, whole.stored().name(), at, n);
    Tensor absmax = whole.absmax();
    return new Moment(
        stored,
        absmax == null ? null : absmax.view(arena, absmax.name(), at / ParameterGroup.BLOCK, ParameterGroup.blocks(n)));
  }

  void run(AdamW adam, float gradientScale, long step) {
    bring(0);
    for (int i = 0; i < chunks.size(); i++) {
      bring(i + 1);
      Chunk c = chunks.get(i);
      int half = i % RoundTrips.HALVES;
      List<Tensor> here = trips.arrived(half);
      adam.apply(host, here.get(VALUES), c.m, c.v, here.get(GRADIENTS), c.decay, gradientScale, step);
      trips.send(half, VALUES);
    }
    trips.finish();
  }

  private void bring(int chunk) {
    if (chunk < chunks.size()) {
      trips.bring(chunk % RoundTrips.HALVES, chunks.get(chunk).tensors);
    }
  }

  @Override
  public void close() {
    trips.close();
    host.close();
  }
}
