package dev.hone.engine;

import dev.hone.kernel.Kernels;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;

/**
 * The first layer's input: rows of the embedding's table, gathered where the table lies. A table on the host of a device is read by the
 * CPU, scaled and rounded as the device would, and the rows alone travel.
 */
final class EmbeddingRows implements AutoCloseable {
  private final Kernels kernels;
  private final Tensor table;
  private final float scale;
  private final CpuKernels host;
  private final Tensor ids;
  private final Tensor wide;
  private final Tensor rows;

  EmbeddingRows(Kernels kernels, Tensor table, float scale, Tensor deviceIds, Tensor deviceRows, Arena arena) {
    this.kernels = kernels;
    this.table = table;
    this.scale = scale;
    boolean here = table.memory() == deviceRows.memory();
    host = here ? null : new CpuKernels();
    ids = here ? null : Tensor.allocate(arena, "batch.ids", DType.I32, deviceIds.shape());
    rows = here ? null : Tensor.allocate(arena, "embedding.rows", deviceRows.dtype(), deviceRows.shape());
    // The CPU's ops have no f16 activations.
    wide = here || deviceRows.dtype() != DType.F16 ? rows : Tensor.allocate(arena, "embedding.rows", DType.F32, deviceRows.shape());
  }

  /** out (M,C) = scale table[ids]. */
  void gather(Tensor out, Tensor deviceIds) {
    if (host == null) {
      kernels.embeddingForward(out, deviceIds, table, scale);
      return;
    }
    long m = out.shape(0);
    ids.rows(m).copyFromDevice(deviceIds);
    host.embeddingForward(wide.rows(m), ids, table, scale);
    if (wide != rows) {
      host.cast(rows.rows(m), wide);
    }
    out.copyFrom(rows.rows(m));
  }

  @Override
  public void close() {
    if (host != null) {
      host.close();
    }
  }
}
