package dev.hone.kernel.cuda;

import dev.hone.kernel.cuda.Program.Op;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;

/**
 * Where ops run: an opened card, the plan's workspace on it, and a little scratch and the code books that every op
 * shares.
 *
 * @param workspace of the plan, null before one is given
 * @param fixed what lives as long as the card
 */
record Stage(CudaDevice device, Tensor workspace, Fixed fixed) {

  /**
   * Small tensors of the card's own.
   *
   * @param partials f64, one for each block of a sum
   * @param signed the map of NF4's second level and of 8-bit first moments, f32 (256)
   * @param unsigned that of 8-bit second moments, f32 (256)
   */
  record Fixed(Arena arena, Tensor partials, Tensor signed, Tensor unsigned) {
    private static final int PARTIALS = 4096;

    static Fixed on(CudaDevice device) {
      Arena arena = Arena.ofShared();
      return new Fixed(
          arena,
          Tensor.allocate(device.memory(), arena, "partials", DType.F64, PARTIALS),
          Tensor.allocate(device.memory(), arena, "signed_map", DType.F32, 256).set(CodeBooks.signed()),
          Tensor.allocate(device.memory(), arena, "unsigned_map", DType.F32, 256).set(CodeBooks.unsigned()));
    }
  }

  /** The dtype of activations. */
  DType compute() {
    return device.tier().dtype();
  }

  /** Begins an op over activations. */
  Launcher begin(String op) {
    return device.program().launcher().begin(device.program().op(op));
  }

  Launcher begin(String op, DType dtype) {
    return device.program().launcher().begin(device.program().op(op, dtype));
  }

  /** Begins a copy inside the card. */
  void copy(long target, long source, long bytes) {
    Tape tape = device.tape();
    if (tape == null || tape.other(Tape.COPY, target, source, bytes)) {
      device.use().copy(target, source, bytes, device.stream());
    }
  }

  Op op(String name) {
    return device.program().op(name);
  }

  /**
   * The workspace, which has at least {@code bytes}.
   *
   * @throws IllegalStateException when none was given, or one for a smaller run
   */
  Tensor workspace(String op, long bytes) {
    if (workspace == null || workspace.bytes() < bytes) {
      throw new IllegalStateException(
          op + " wants " + bytes + " bytes of workspace, there are " + (workspace == null ? 0 : workspace.bytes()));
    }
    return workspace;
  }
}
