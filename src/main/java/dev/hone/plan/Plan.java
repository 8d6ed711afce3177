package dev.hone.plan;

import dev.hone.kernel.Kernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.MemorySpace;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.IntFunction;

/**
 * Every buffer of a run, placed in one arena before the first kernel. The run allocates exactly {@link #arenaBytes} and takes its
 * tensors from there; a step allocates nothing. Buffers that are never alive together share memory.
 */
public final class Plan {
  /** Offsets are multiples of this many bytes: a cache line, what the widest vector loads want, four of a card's 16-byte loads. */
  public static final long ALIGNMENT = 64;

  /**
   * Host memory beside the arena.
   *
   * @param pinned page-locked, so that copies of it run by themselves; else pageable
   */
  public record HostBuffer(String name, Buffer.Kind kind, long bytes, boolean pinned) {}

  /**
   * Buffers of a layer that lie in pinned host memory between forward and backward, each at a multiple of
   * {@link #ALIGNMENT} behind the one before.
   */
  public record Offloaded(int layer, List<String> buffers, long bytes) {}

  private final Map<String, Buffer> buffers;
  private final List<HostBuffer> host;
  private final List<Offloaded> offloaded;
  private final long arenaBytes;
  private final int moments;
  private final IntFunction<String> momentNames;

  private Plan(
      Map<String, Buffer> buffers, List<HostBuffer> host, List<Offloaded> offloaded, long arenaBytes, int moments,
      IntFunction<String> momentNames) {
    this.buffers = buffers;
    this.host = host;
    this.offloaded = offloaded;
    this.arenaBytes = arenaBytes;
    this.moments = moments;
    this.momentNames = momentNames;
  }

  public long arenaBytes() {
    return arenaBytes;
  }

  public List<Buffer> buffers() {
    return List.copyOf(buffers.values());
  }

  public List<HostBuffer> host() {
    return host;
  }

  /** What goes to the host between forward and backward, by layers from the first on. */
  public List<Offloaded> offloaded() {
    return offloaded;
  }

  public long hostBytes(boolean pinned) {
    return host.stream().filter(b -> b.pinned() == pinned).mapToLong(HostBuffer::bytes).sum();
  }

  /** The first moment at which the most bytes are alive. */
  public int peak() {
    int peak = 0;
    long most = -1;
    for (int moment = 0; moment < moments; moment++) {
      long alive = bytesAt(moment);
      if (alive > most) {
        most = alive;
        peak = moment;
      }
    }
    return peak;
  }

  /** Bytes alive at a moment. */
  public long bytesAt(int moment) {
    return buffers.values().stream().filter(b -> b.life().at(moment)).mapToLong(Plan::room).sum();
  }

  /** A moment in words. */
  public String momentName(int moment) {
    return momentNames.apply(moment);
  }

  /** Bytes by kind at the peak; they sum to {@link #arenaBytes} or, where buffers cannot be packed without gaps, to less. */
  public Map<Buffer.Kind, Long> bytesByKind() {
    int peak = peak();
    Map<Buffer.Kind, Long> bytes = new EnumMap<>(Buffer.Kind.class);
    for (Buffer buffer : buffers.values()) {
      bytes.merge(buffer.kind(), buffer.life().at(peak) ? room(buffer) : 0, Long::sum);
    }
    return bytes;
  }

  private static long room(Buffer buffer) {
    return aligned(buffer.bytes());
  }

  private static long aligned(long bytes) {
    return Math.ceilDiv(bytes, ALIGNMENT) * ALIGNMENT;
  }

  /** Takes the arena from a device, for as long as {@code arena} lives, and hands out its tensors. */
  public Memory allocate(Kernels device, Arena arena) {
    return new Memory(device, arena);
  }

  /** The arena of a plan, and its tensors by name. */
  public final class Memory {
    private final Map<String, Tensor> tensors = new LinkedHashMap<>();
    private final Arena arena;

    private Memory(Kernels device, Arena arena) {
      this.arena = arena;
      MemorySpace space = device.memory();
      MemorySegment memory = device.allocate(arena, Math.max(ALIGNMENT, arenaBytes), ALIGNMENT);
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

    /** Whether the plan has host memory of that name. */
    public boolean hasHost(String name) {
      return host.stream().anyMatch(b -> b.name().equals(name));
    }

    /**
     * Takes pageable host memory of the plan, as long as the arena lives.
     *
     * @throws IllegalArgumentException when the plan has none of that name and as many bytes
     */
    public Tensor host(String name, DType dtype, long... shape) {
      Tensor tensor = Tensor.allocate(arena, name, dtype, shape);
      if (!host.contains(new HostBuffer(name, Buffer.Kind.OPTIMIZER, tensor.bytes(), false))) {
        throw new IllegalArgumentException("the plan has no pageable " + name + " of " + tensor.bytes() + " bytes");
      }
      return tensor;
    }
  }

  /** Collects buffers and places them. */
  public static final class Builder {
    private final Map<String, Buffer> buffers = new LinkedHashMap<>();
    private final List<HostBuffer> host = new ArrayList<>();
    private final List<Offloaded> offloaded = new ArrayList<>();
    private final StepClock clock;
    private final Life always;

    /** @param clock whose moments the lives count */
    Builder(StepClock clock) {
      this.clock = clock;
      always = clock.always();
    }

    /** A buffer that is alive all the time. */
    public Builder add(Buffer.Kind kind, String name, DType dtype, long... shape) {
      return add(kind, always, name, dtype, shape);
    }

    /** A buffer that holds something during {@code life} only. */
    Builder add(Buffer.Kind kind, Life life, String name, DType dtype, long... shape) {
      List<Long> extents = new ArrayList<>();
      for (long extent : shape) {
        extents.add(extent);
      }
      if (buffers.put(name, new Buffer(name, kind, dtype, List.copyOf(extents), 0, life)) != null) {
        throw new IllegalStateException("two buffers are called " + name);
      }
      return this;
    }

    /** Host memory beside the arena; none when there are no bytes. */
    Builder host(Buffer.Kind kind, String name, long bytes, boolean pinned) {
      if (bytes > 0) {
        host.add(new HostBuffer(name, kind, bytes, pinned));
      }
      return this;
    }

    /** Buffers of a layer that wait in pinned host memory from its forward to its backward; none: nothing. */
    Builder offload(int layer, List<String> names) {
      if (!names.isEmpty()) {
        long bytes = names.stream().mapToLong(name -> room(buffers.get(name))).sum();
        offloaded.add(new Offloaded(layer, List.copyOf(names), bytes));
        host(Buffer.Kind.ACTIVATIONS, "layers." + layer + " activations", bytes, true);
      }
      return this;
    }

    StepClock clock() {
      return clock;
    }

    /** Places the buffers: the largest first, each at the lowest offset where it meets no other that is alive with it. */
    public Plan build() {
      List<Buffer> order = new ArrayList<>(buffers.values());
      order.sort(Comparator.comparingLong(Buffer::bytes).reversed());
      List<Buffer> placed = new ArrayList<>();
      long end = 0;
      for (Buffer buffer : order) {
        long bytes = buffer.bytes();
        long at = 0;
        for (Buffer other : placed) { // by offset
          if (other.offset() >= at + bytes && other.life().meets(buffer.life())) {
            break;
          }
          if (other.life().meets(buffer.life())) {
            at = Math.max(at, aligned(other.end()));
          }
        }
        Buffer here = new Buffer(buffer.name(), buffer.kind(), buffer.dtype(), buffer.shape(), at, buffer.life());
        buffers.put(here.name(), here);
        insert(placed, here);
        end = Math.max(end, aligned(here.end()));
      }
      return new Plan(
          new LinkedHashMap<>(buffers), List.copyOf(host), List.copyOf(offloaded), end, clock.moments(), clock::name);
    }

    private static void insert(List<Buffer> placed, Buffer buffer) {
      int low = 0;
      int high = placed.size();
      while (low < high) {
        int middle = (low + high) / 2;
        if (placed.get(middle).offset() <= buffer.offset()) {
          low = middle + 1;
        } else {
          high = middle;
        }
      }
      placed.add(low, buffer);
    }
  }
}
