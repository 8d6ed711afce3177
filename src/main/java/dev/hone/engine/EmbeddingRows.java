package dev.hone.engine;

import dev.hone.kernel.Kernels;
import dev.hone.kernel.Uploads;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.List;

/**
 * The first layer's input: rows of the embedding's table, gathered where the table lies. A table on the host of a device is read by the
 * CPU, scaled and rounded as the device would, and the rows alone travel, behind the kernels begun so far.
 */
final class EmbeddingRows implements AutoCloseable {
  private final Kernels kernels;
  private final Tensor table;
  private final float scale;
  private final CpuKernels host;
  private final Uploads uploads;
  private final Tensor wide;

  EmbeddingRows(Kernels kernels, Tensor table, float scale, Tensor deviceRows, Arena arena) {
    this.kernels = kernels;
    this.table = table;
    this.scale = scale;
    boolean here = table.memory() == deviceRows.memory();
    host = here ? null : new CpuKernels();
    uploads = here ? null : kernels.uploads(List.of(deviceRows));
    // The CPU's ops have no f16 activations.
    wide = here || deviceRows.dtype() != DType.F16 ? null : Tensor.allocate(arena, "embedding.rows", DType.F32, deviceRows.shape());
  }

  /**
   * out (M,C) = scale table[ids].
   *
   * @param ids (M) where the device reads them
   * @param hostIds the same on the host
   */
  void gather(Tensor out, Tensor ids, Tensor hostIds) {
    if (host == null) {
      kernels.embeddingForward(out, ids, table, scale);
      return;
    }
    long m = out.shape(0);
    Tensor rows = uploads.next().getFirst().rows(m);
    host.embeddingForward(wide == null ? rows : wide.rows(m), hostIds, table, scale);
    if (wide != null) {
      host.cast(rows, wide);
    }
    uploads.send();
  }

  @Override
  public void close() {
    if (host != null) {
      uploads.close();
      host.close();
    }
  }
}
