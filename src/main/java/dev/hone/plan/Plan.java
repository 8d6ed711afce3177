package dev.hone.plan;

import dev.hone.kernel.Kernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.MemorySpace;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Arrays;
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
   *
   * @param bytes that they take
   * @param copied bytes that cross the link each way
   */
  public record Offloaded(int layer, List<String> buffers, long bytes, long copied) {}

  private final Map<String, Buffer> buffers;
  private final List<HostBuffer> host;
  private final List<Offloaded> offloaded;
  private final long arenaBytes;
  private final long[] alive;
  private final IntFunction<String> momentNames;

  private Plan(
      Map<String, Buffer> buffers, List<HostBuffer> host, List<Offloaded> offloaded, long arenaBytes, long[] alive,
      IntFunction<String> momentNames) {
    this.buffers = buffers;
    this.host = host;
    this.offloaded = offloaded;
    this.arenaBytes = arenaBytes;
    this.alive = alive;
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
    return sum(host, pinned);
  }

  private static long sum(List<HostBuffer> host, boolean pinned) {
    return host.stream().filter(b -> b.pinned() == pinned).mapToLong(HostBuffer::bytes).sum();
  }

  /** The first moment at which the most bytes are alive. */
  public int peak() {
    int peak = 0;
    for (int moment = 1; moment < alive.length; moment++) {
      peak = alive[moment] > alive[peak] ? moment : peak;
    }
    return peak;
  }

  /** Bytes alive at a moment. */
  public long bytesAt(int moment) {
    return alive[moment];
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

  static long aligned(long bytes) {
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

  /** Collects buffers, counts them, and places them. */
  public static final class Builder {
    private final Map<String, Buffer> buffers = new LinkedHashMap<>();
    private final List<HostBuffer> host = new ArrayList<>();
    private final List<Offloaded> offloaded = new ArrayList<>();
    private final StepClock clock;
    private final Life always;
    private final long[] changes; // of the bytes alive, from one moment to the next

    private record Sized(Buffer buffer, long bytes) {}

    /** @param clock whose moments the lives count */
    Builder(StepClock clock) {
      this.clock = clock;
      always = clock.always();
      changes = new long[clock.moments() + 1];
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
      Buffer buffer = new Buffer(name, kind, dtype, List.copyOf(extents), 0, life);
      add(buffer);
      life.count(room(buffer), changes);
      return this;
    }

    private void add(Buffer buffer) {
      if (buffers.put(buffer.name(), buffer) != null) {
        throw new IllegalStateException("two buffers are called " + buffer.name());
      }
    }

    /** All that {@code part} has collected, by the same moments; the part may be of several plans. */
    Builder add(Builder part) {
      part.buffers.values().forEach(this::add);
      host.addAll(part.host);
      offloaded.addAll(part.offloaded);
      for (int moment = 0; moment < changes.length; moment++) {
        changes[moment] += part.changes[moment];
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
        long copied = names.stream().mapToLong(name -> buffers.get(name).bytes()).sum();
        offloaded.add(new Offloaded(layer, List.copyOf(names), bytes, copied));
        host(Buffer.Kind.ACTIVATIONS, "layers." + layer + " activations", bytes, true);
      }
      return this;
    }

    StepClock clock() {
      return clock;
    }

    List<Offloaded> offloaded() {
      return List.copyOf(offloaded);
    }

    long hostBytes(boolean pinned) {
      return sum(host, pinned);
    }

    /** What the arena takes at least: what is alive when most is. */
    long leastBytes() {
      return Arrays.stream(alive()).max().orElseThrow();
    }

    private long[] alive() {
      long[] alive = Arrays.copyOf(changes, clock.moments());
      for (int moment = 1; moment < alive.length; moment++) {
        alive[moment] += alive[moment - 1];
      }
      return alive;
    }

    /** Places the buffers: the largest first, each at the lowest offset where it meets no other that is alive with it. */
    public Plan build() {
      List<Sized> order = new ArrayList<>(buffers.size());
      buffers.values().forEach(buffer -> order.add(new Sized(buffer, buffer.bytes())));
      order.sort(Comparator.comparingLong(Sized::bytes).reversed());
      Packing packing = new Packing();
      Map<String, Buffer> placed = new LinkedHashMap<>(buffers);
      for (Sized next : order) {
        Buffer buffer = next.buffer;
        placed.put(buffer.name(), buffer.at(packing.place(next.bytes, buffer.life())));
      }
      return new Plan(placed, List.copyOf(host), List.copyOf(offloaded), packing.bytes(), alive(), clock::name);
    }
  }
}
