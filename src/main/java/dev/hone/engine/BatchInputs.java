package dev.hone.engine;

import dev.hone.data.MicroBatch;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.Uploads;
import dev.hone.plan.Plan;
import dev.hone.tensor.Tensor;
import java.util.List;

/**
 * The token stream's inputs of a step: ids, positions and targets (M), the rows that have a target (N) and the
 * documents' bounds (n+1), i32. A micro-batch is written on the host while the kernels of the one before it run, and
 * travels behind them.
 */
final class BatchInputs implements AutoCloseable {
  private final Tensor ids;
  private final Tensor positions;
  private final Tensor targets;
  private final Tensor rows;
  private final Tensor docs;
  private final Uploads uploads;
  private Tensor hostIds;

  BatchInputs(Kernels kernels, Plan.Memory memory) {
    ids = memory.tensor("batch.ids");
    positions = memory.tensor("batch.positions");
    targets = memory.tensor("batch.targets");
    rows = memory.tensor("batch.rows");
    docs = memory.tensor("batch.docs");
    uploads = kernels.uploads(List.of(ids, positions, targets, rows, docs));
    hostIds = ids;
  }

  void load(MicroBatch batch) {
    List<Tensor> host = uploads.next();
    hostIds = rows(ids, host.get(0), batch.tokens());
    Tensor hostPositions = rows(positions, host.get(1), batch.tokens());
    Tensor hostTargets = rows(targets, host.get(2), batch.tokens());
    Tensor hostRows = rows(rows, host.get(3), batch.validTargets());
    Tensor hostDocs = rows(docs, host.get(4), batch.documents() + 1L);
    batch.writeTo(hostIds, hostPositions, hostTargets, hostRows, hostDocs);
    uploads.send();
  }

  private static Tensor rows(Tensor target, Tensor host, long rows) {
    target.rows(rows);
    return host.rows(rows);
  }

  /** The ids (M) of the batch loaded last, on the host. */
  Tensor hostIds() {
    return hostIds;
  }

  Tensor targets() {
    return targets;
  }

  /** Numbers of the rows whose target counts. */
  Tensor rows() {
    return rows;
  }

  Tensor docs() {
    return docs;
  }

  @Override
  public void close() {
    uploads.close();
  }
}
