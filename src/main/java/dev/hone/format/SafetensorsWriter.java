package dev.hone.format;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;

/**
 * Collects tensors and metadata, then writes them as one safetensors file. Tensors are referred to, not copied, and
 * streamed when {@link #write} runs.
 *
 * <p>They lie in the file in the order given, except that larger elements come before smaller ones, so that each tensor
 * starts on a multiple of its element size: other readers rely on it.
 */
public final class SafetensorsWriter {
  private static final long CHUNK = 16 << 20;

  /** Makes a tensor's content when its turn to be written comes; the arena ends after it. */
  @FunctionalInterface
  public interface Filling {
    Tensor make(Arena passing);
  }

  private record Item(String name, StoredType type, long[] shape, long bytes, MemorySegment data, Filling filling) {}

  private final Map<String, String> metadata = new LinkedHashMap<>();
  private final List<Item> items = new ArrayList<>();
  private final Set<String> names = new HashSet<>();

  /** Adds a pair to {@code __metadata__}. */
  public SafetensorsWriter metadata(String key, String value) {
    metadata.put(key, value);
    return this;
  }

  /** Adds a tensor under {@code name}, as it is stored in memory. NF4 goes in as its parts. */
  public SafetensorsWriter add(String name, Tensor tensor) {
    if (tensor.dtype() == DType.NF4) {
      throw new IllegalArgumentException(tensor + ": add codes and side data one by one");
    }
    return add(name, StoredType.of(tensor.dtype()), tensor.shape(), tensor.hostBytes());
  }

  /** Adds raw bytes of the given type and shape. */
  public SafetensorsWriter add(String name, StoredType type, long[] shape, MemorySegment data) {
    requireBytes(name, data.byteSize(), bytes(type, shape));
    return add(new Item(name, type, shape.clone(), data.byteSize(), data, null));
  }

  /** Adds a tensor that is made while the file is written, so that a model larger than memory can be. */
  public SafetensorsWriter add(String name, StoredType type, long[] shape, Filling filling) {
    return add(new Item(name, type, shape.clone(), bytes(type, shape), null, filling));
  }

  private SafetensorsWriter add(Item item) {
    if (!names.add(item.name)) {
      throw new IllegalArgumentException(item.name + " was added already");
    }
    items.add(item);
    return this;
  }

  private static long bytes(StoredType type, long[] shape) {
    long bytes = type.bytes();
    for (long extent : shape) {
      bytes = Math.multiplyExact(bytes, extent);
    }
    return bytes;
  }

  private static void requireBytes(String name, long got, long want) {
    if (got != want) {
      throw new IllegalArgumentException(name + ": " + got + " bytes, the shape wants " + want);
    }
  }

  /** Adds f32 values from the heap. */
  public SafetensorsWriter add(String name, float[] values, long... shape) {
    MemorySegment copy = Arena.ofAuto().allocateFrom(ValueLayout.JAVA_FLOAT, values);
    return add(name, StoredType.F32, shape, copy);
  }

  /** Adds i64 values from the heap. */
  public SafetensorsWriter add(String name, long[] values, long... shape) {
    MemorySegment copy = Arena.ofAuto().allocateFrom(ValueLayout.JAVA_LONG, values);
    return add(name, StoredType.I64, shape, copy);
  }

  /**
   * Writes the file atomically.
   *
   * @throws dev.hone.config.UserError when the disk is full or the folder cannot be written; an old file stays
   */
  public void write(Path file) {
    List<Item> ordered = new ArrayList<>(items);
    ordered.sort(Comparator.comparingInt((Item item) -> item.type.bytes()).reversed());
    var entries = new LinkedHashMap<String, SafetensorsHeader.Entry>();
    long at = 0;
    for (Item item : ordered) {
      long bytes = item.bytes;
      entries.put(item.name, new SafetensorsHeader.Entry(item.name, item.type, item.shape, at, bytes));
      at += bytes;
    }
    byte[] header = new SafetensorsHeader(metadata, entries, at).encode();
    AtomicFiles.write(file, header.length + at, channel -> writeTo(channel, header, ordered));
  }

  private static void writeTo(WritableByteChannel channel, byte[] header, List<Item> ordered) throws IOException {
    AtomicFiles.writeFully(channel, ByteBuffer.wrap(header));
    for (Item item : ordered) {
      if (item.filling == null) {
        write(channel, item.data);
        continue;
      }
      try (Arena passing = Arena.ofShared()) {
        Tensor made = item.filling.make(passing);
        requireBytes(item.name, made.bytes(), item.bytes);
        write(channel, made.data().asSlice(0, made.bytes()));
      }
    }
  }

  private static void write(WritableByteChannel channel, MemorySegment data) throws IOException {
    for (long from = 0; from < data.byteSize(); from += CHUNK) {
      long n = Math.min(CHUNK, data.byteSize() - from);
      AtomicFiles.writeFully(channel, data.asSlice(from, n).asByteBuffer());
    }
  }
}
