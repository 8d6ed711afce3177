package dev.hone.kernel;

import dev.hone.tensor.Tensor;
import java.util.ArrayList;
import java.util.List;

/**
 * Parts of a device's f32 tensors that come to the host, change there and go back, in two halves of host memory that take turns: while
 * the host works in one, what it changed before leaves the other and what comes next arrives there.
 *
 * <pre>
 *   to the host    0   1   .   2   .   3        part 2 comes into the half that part 0 has left
 *   host               0   1       2       3
 *   back                   0   1       2       3
 * </pre>
 */
public interface RoundTrips extends AutoCloseable {
  int HALVES = 2;

  /** Where a tensor begins in its half: at a multiple of this many bytes. */
  long ALIGNMENT = 64;

  /** Pinned bytes of both halves, of so many tensors with so many elements each. */
  static long pinnedBytes(int tensors, long elements) {
    return HALVES * tensors * room(elements);
  }

  /** Bytes of one tensor in a half. */
  static long room(long elements) {
    return Math.ceilDiv(Float.BYTES * elements, ALIGNMENT) * ALIGNMENT;
  }

  /** Begins to bring tensors of the device into a half, behind the ops begun so far and when what was there has left. */
  void bring(int half, List<Tensor> tensors);

  /** The tensors of a half on the host; waits until they are there. */
  List<Tensor> arrived(int half);

  /** Begins to send back what the host made of a half's tensor. */
  void send(int half, int tensor);

  /** Ops begun from now on see all that was sent. */
  void finish();

  @Override
  void close();

  /** Where the device's memory is the host's, nothing travels. */
  final class InPlace implements RoundTrips {
    private final List<List<Tensor>> there = new ArrayList<>(List.of(List.of(), List.of()));

    @Override
    public void bring(int half, List<Tensor> tensors) {
      there.set(half, tensors);
    }

    @Override
    public List<Tensor> arrived(int half) {
      return there.get(half);
    }

    @Override
    public void send(int half, int tensor) {}

    @Override
    public void finish() {}

    @Override
    public void close() {}
  }
}
