package dev.hone.kernel;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;

/**
 * A frozen matrix (V,C) on the host whose rows pass through slots of a device in slabs. A walk takes every slab in order, once or more:
 *
 * <pre>
 *   begin(passes)    what lay in the slots' memory may go when the kernels begun so far have ended
 *   next() done()    passes x {@link #count} times: the slab is there for the kernels begun in between; the one after the next sets out
 * </pre>
 *
 * Between walks the slots' memory is free for other things.
 */
public final class Slabs {
  /** Bytes of a slab at most: small beside a card, long beside the start of a copy. */
  private static final long MOST_BYTES = 16 << 20;
  /** A head that is small comes in so many parts, else its slots would take what the whole does. */
  private static final long LEAST_SLABS = 4;
  /** Rows of a slab are a multiple of the first where there are as many, else of the second: whole tiles, whole packs. */
  private static final long TILE = 128;
  private static final long PACK = 8;

  private final BlobStream stream;
  private final int firstSlot;
  private final List<Tensor> slots;
  private final List<Tensor> blobs = new ArrayList<>();
  private final long rows;
  private final long columns;
  private final long slabRows;
  private final int[] holds;
  private int left;
  private int at;

  /**
   * A matrix and the slots for it.
   *
   * @param stream whose slots from {@code firstSlot} on are {@code slots}
   * @param slots u8, each with room for {@link #rows(long, long)} rows
   * @param matrix 16-bit, on the host
   */
  public Slabs(BlobStream stream, int firstSlot, List<Tensor> slots, Tensor matrix, Arena arena) {
    this.stream = stream;
    this.firstSlot = firstSlot;
    rows = matrix.shape(0);
    columns = matrix.shape(1);
    long rowBytes = matrix.dtype().bytes(columns);
    slabRows = Math.min(rows(rows, rowBytes), slots.getFirst().bytes() / rowBytes);
    List<Tensor> views = new ArrayList<>();
    for (Tensor slot : slots) {
      views.add(Tensor.of(slot.memory(), arena, matrix.name(), matrix.dtype(), slot.data(), slabRows, columns));
    }
    this.slots = List.copyOf(views);
    for (long first = 0; first < rows; first += slabRows) {
      long bytes = Math.min(slabRows, rows - first) * rowBytes;
      blobs.add(Tensor.of(arena, matrix.name(), DType.U8, matrix.data().asSlice(first * rowBytes, bytes), bytes));
    }
    holds = new int[slots.size()];
  }

  /** Rows of a slab of a matrix (V,C). */
  public static long rows(long vocab, long rowBytes) {
    long wanted = Math.min(Math.ceilDiv(vocab, LEAST_SLABS), Math.max(PACK, MOST_BYTES / rowBytes));
    return wanted >= TILE ? wanted / TILE * TILE : Math.ceilDiv(wanted, PACK) * PACK;
  }

  public int count() {
    return blobs.size();
  }

  /** V. */
  public long rows() {
    return rows;
  }

  /** C. */
  public long columns() {
    return columns;
  }

  /** Rows of every slab but the last, which may have fewer. */
  public long slabRows() {
    return slabRows;
  }

  /** The first row of a slab. */
  public long first(int slab) {
    return slab * slabRows;
  }

  /** Begins a walk over all slabs, so many times. */
  public void begin(int passes) {
    left = passes * count();
    at = 0;
    Arrays.fill(holds, -1);
    for (int slot = 0; slot < slots.size(); slot++) {
      stream.release(firstSlot + slot);
    }
    for (int step = 0; step < Math.min(slots.size(), left); step++) {
      bring(step);
    }
  }

  /** The slot of a step: where all slabs fit, each stays in its own. */
  private int slot(int step) {
    return (count() <= slots.size() ? step % count() : step) % slots.size();
  }

  private void bring(int step) {
    int slot = slot(step);
    int slab = step % count();
    if (holds[slot] != slab) {
      stream.fetch(firstSlot + slot, blobs.get(slab));
      holds[slot] = slab;
    }
  }

  /** The walk's next slab (rows,C), for kernels begun before {@link #done}. */
  public Tensor next() {
    if (at >= left) {
      throw new IllegalStateException("the walk over " + count() + " slabs has ended");
    }
    int slot = slot(at);
    stream.await(firstSlot + slot);
    return slots.get(slot).rows(Math.min(slabRows, rows - first(at % count())));
  }

  /** The kernels that read {@link #next}'s slab have begun. */
  public void done() {
    stream.release(firstSlot + slot(at));
    at++;
    int after = at + slots.size() - 1;
    if (after < left) {
      bring(after);
    }
  }

  @Override
  public String toString() {
    return slots.getFirst().name() + " (" + rows + "," + columns + ") in " + count() + " slabs";
  }
}
