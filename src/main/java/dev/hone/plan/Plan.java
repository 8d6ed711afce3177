package dev.hone.plan;

import dev.hone.tensor.DType;
import dev.hone.tensor.MemorySpace;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Every buffer of a run, placed in one arena before the first kernel. The run allocates exactly {@link #arenaBytes} and takes its
 * tensors from there; a step allocates nothing.
 */
public final class Plan {
  /** Offsets are multiples of this many bytes: a cache line, what the widest vector loads want, four of a card's 16-byte loads. */
  public static final long ALIGNMENT = 64;

  private final Map<String, Buffer> buffers;
  private final long arenaBytes;

  private Plan(Map<String, Buffer> buffers, long arenaBytes) {
    this.buffers = buffers;
    this.arenaBytes = arenaBytes;
  }

  public long arenaBytes() {
    return arenaBytes;
  }

  public List<Buffer> buffers() {
    return List.copyOf(buffers.values());
  }

  /** Bytes of the arena by kind; memory that buffers share is counted once, for the first of them. */
  public Map<Buffer.Kind, Long> bytesByKind() {
    Map<Buffer.Kind, Long> bytes = new EnumMap<>(Buffer.Kind.class);
    long covered = 0;
    for (Buffer buffer : buffers.values()) {
      long fresh = Math.max(0, buffer.end() - Math.max(covered, buffer.offset()));
      covered = Math.max(covered, buffer.end());
      bytes.merge(buffer.kind(), fresh, Long::sum);
    }
    return bytes;
  }

  /** Takes the arena from {@code space}, for as long as {@code arena} lives, and hands out its tensors. */
  public Memory allocate(MemorySpace space, Arena arena) {
    return new Memory(space, arena);
  }

  /** The arena of a plan, and its tensors by name. */
  public final class Memory {
    private final Map<String, Tensor> tensors = new LinkedHashMap<>();

    private Memory(MemorySpace space, Arena arena) {
      MemorySegment memory = space.allocate(arena, Math.max(ALIGNMENT, arenaBytes), ALIGNMENT);
      for (Buffer buffer : buffers.values()) {
        long[] shape = buffer.shape().stream().mapToLong(Long::longValue).toArray();
        MemorySegment data = memory.asSlice(buffer.offset(), Math.max(buffer.bytes(), 0));
        tensors.put(buffer.name(), Tensor.of(space, arena, buffer.name(), buffer.dtype(), data, shape));
      }
    }

    /** The planned tensor. */
    public Tensor tensor(String name) {
      Tensor tensor = tensors.get(name);
      if (tensor == null) {
        throw new IllegalArgumentException("the plan has no buffer " + name);
      }
      return tensor;
    }

    public boolean has(String name) {
      return tensors.containsKey(name);
    }
  }

  /** Places buffers one after the other, or at the place of an earlier one. */
  public static final class Builder {
    private final Map<String, Buffer> buffers = new LinkedHashMap<>();
    private long end;

    /** A buffer with memory of its own. */
    public Builder add(Buffer.Kind kind, String name, DType dtype, long... shape) {
      end = Math.ceilDiv(end, ALIGNMENT) * ALIGNMENT;
      Buffer buffer = put(kind, name, dtype, end, shape);
      end = buffer.end();
      return this;
    }

    /** A buffer in the memory of {@code owner}, because the two are never alive together. */
    public Builder share(String owner, String name) {
      Buffer other = buffers.get(owner);
      put(other.kind(), name, other.dtype(), other.offset(), other.shape().stream().mapToLong(Long::longValue).toArray());
      return this;
    }

    private Buffer put(Buffer.Kind kind, String name, DType dtype, long offset, long... shape) {
      List<Long> extents = new ArrayList<>();
      for (long extent : shape) {
        extents.add(extent);
      }
      Buffer buffer = new Buffer(name, kind, dtype, List.copyOf(extents), offset);
      if (buffers.put(name, buffer) != null) {
        throw new IllegalStateException("two buffers are called " + name);
      }
      return buffer;
    }

    public Plan build() {
      return new Plan(new LinkedHashMap<>(buffers), end);
    }
  }
}
