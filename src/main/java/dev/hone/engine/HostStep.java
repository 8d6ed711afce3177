package dev.hone.engine;

import dev.hone.engine.Parameters.AdamW;
import dev.hone.engine.Parameters.Moment;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.plan.ParameterGroup;
import dev.hone.plan.Plan;
import dev.hone.plan.TrainingPlan;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;

/**
 * AdamW where the moments lie on the host and values and gradients on a device. A chunk's gradients and values come here, the CPU's op
 * steps them, the values go back: 12 bytes an element over the link at the end of an optimiser step, and no second copy of what trains
 * that could grow stale. Chunks are whole blocks of 8-bit moments, so the result is the CPU op's on the whole buffers, bit for bit.
 */
final class HostStep implements AutoCloseable {
  /** Of a group, so many elements as fit the host's buffers. */
  private record Chunk(Tensor value, Tensor gradient, Moment m, Moment v, boolean decay) {}

  private final CpuKernels host = new CpuKernels();
  private final List<Chunk> chunks = new ArrayList<>();
  private final Tensor values;
  private final Tensor gradients;

  /** @param largest elements of the largest group */
  HostStep(Plan.Memory memory, long largest) {
    long chunk = Math.min(TrainingPlan.HOST_CHUNK, largest);
    values = memory.host("host.values", DType.F32, chunk);
    gradients = memory.host("host.gradients", DType.F32, chunk);
  }

  /** Adds a group: values and gradients of the device, moments of the host. */
  void add(Tensor value, Tensor gradient, Moment m, Moment v, boolean decay, Arena arena) {
    long elements = value.elements();
    for (long at = 0; at < elements; at += TrainingPlan.HOST_CHUNK) {
      long n = Math.min(TrainingPlan.HOST_CHUNK, elements - at);
      chunks.add(
          new Chunk(
              value.view(arena, value.name(), at, n), gradient.view(arena, gradient.name(), at, n), part(m, at, n, arena),
              part(v, at, n, arena), decay));
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
    for (Chunk c : chunks) {
      long n = c.value.elements();
      gradients.rows(n).copyFromDevice(c.gradient);
      values.rows(n).copyFromDevice(c.value);
      adam.apply(host, values, c.m, c.v, gradients, c.decay, gradientScale, step);
      c.value.copyFrom(values);
    }
  }

  @Override
  public void close() {
    host.close();
  }
}
