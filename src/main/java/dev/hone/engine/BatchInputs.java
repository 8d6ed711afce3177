package dev.hone.engine;

import dev.hone.data.MicroBatch;
import dev.hone.plan.Plan;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;

/**
 * The token stream's inputs of a step: ids, positions and targets (M) and the documents' bounds (n+1), i32. A micro-batch is written
 * on the host and copied from there, in one piece each, to where the kernels read.
 */
final class BatchInputs {
  private final Input ids;
  private final Input positions;
  private final Input targets;
  private final Input docs;

  /** A tensor of the plan and the host's copy of it. */
  private record Input(Tensor tensor, Tensor host) {
    static Input of(Plan.Memory memory, Arena arena, String name) {
      Tensor tensor = memory.tensor(name);
      return new Input(tensor, Tensor.allocate(arena, name, tensor.dtype(), tensor.shape()));
    }

    void rows(long rows) {
      tensor.rows(rows);
      host.rows(rows);
    }

    void copy() {
      tensor.copyFrom(host);
    }
  }

  BatchInputs(Plan.Memory memory, Arena arena) {
    ids = Input.of(memory, arena, "batch.ids");
    positions = Input.of(memory, arena, "batch.positions");
    targets = Input.of(memory, arena, "batch.targets");
    docs = Input.of(memory, arena, "batch.docs");
  }

  void load(MicroBatch batch) {
    ids.rows(batch.tokens());
    positions.rows(batch.tokens());
    targets.rows(batch.tokens());
    docs.rows(batch.documents() + 1L);
    batch.writeTo(ids.host, positions.host, targets.host, docs.host);
    ids.copy();
    positions.copy();
    targets.copy();
    docs.copy();
  }

  Tensor targets() {
    return targets.tensor;
  }

  Tensor docs() {
    return docs.tensor;
  }
}
