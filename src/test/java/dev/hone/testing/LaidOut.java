package dev.hone.testing;

import dev.hone.data.MicroBatch;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;

/** A micro-batch as arrays, for looking at. */
public record LaidOut(int[] ids, int[] positions, int[] targets, int[] rows, int[] docs) {

  public static LaidOut of(MicroBatch batch) {
    try (Arena arena = Arena.ofConfined()) {
      int[] sizes = {batch.tokens(), batch.tokens(), batch.tokens(), batch.validTargets(), batch.documents() + 1};
      Tensor[] tensors = new Tensor[sizes.length];
      for (int i = 0; i < sizes.length; i++) {
        tensors[i] = Tensor.allocate(arena, "batch", DType.I32, sizes[i]);
      }
      batch.writeTo(tensors[0], tensors[1], tensors[2], tensors[3], tensors[4]);
      return new LaidOut(ints(tensors[0]), ints(tensors[1]), ints(tensors[2]), ints(tensors[3]), ints(tensors[4]));
    }
  }

  private static int[] ints(Tensor tensor) {
    return tensor.data().asSlice(0, tensor.bytes()).toArray(ValueLayout.JAVA_INT);
  }
}
