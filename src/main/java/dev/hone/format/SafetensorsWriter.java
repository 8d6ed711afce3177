package dev.hone.format;

import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * Collects tensors and metadata, then writes them as one safetensors file. Tensors are referred to, not copied, and
 * streamed when {@link #write} runs.
 *
 * <p>They lie in the file in the order given, except that larger elements come before smaller ones, so that each tensor
 * starts on a multiple of its element size: other readers rely on it.
 */
public final class SafetensorsWriter {
  private static final long CHUNK = 16 << 20;

  private record Item(String name, StoredType type, long[] shape, MemorySegment data) {}

  private final Map<String, String> metadata = new LinkedHashMap<>();
  private final List<Item> items = new ArrayList<>();

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
    long want = type.bytes();
    for (long extent : shape) {
      want = Math.multiplyExact(want, extent);
    }
    if (data.byteSize() != want) {
      throw new IllegalArgumentException(name + ": " + data.byteSize() + " bytes, the shape wants " + want);
    }
    if (items.stream().anyMatch(item -> item.name.equals(name))) {
      throw new IllegalArgumentException(name + " was added already");
    }
    items.add(new Item(name, type, shape.clone(), data));
    return this;
  }

  /** Adds f32 values from the heap. */
  public SafetensorsWriter add(String name, float[] values, long... shape) {
    MemorySegment copy = java.lang.foreign.Arena.ofAuto().allocateFrom(ValueLayout.JAVA_FLOAT, values);
    return add(name, StoredType.F32, shape, copy);
  }

  /** Adds i64 values from the heap. */
  public SafetensorsWriter add(String name, long[] values, long... shape) {
    MemorySegment copy = java.lang.foreign.Arena.ofAuto().allocateFrom(ValueLayout.JAVA_LONG, values);
    return add(name, StoredType.I64, shape, copy);
  }

  /**
   * Writes the file atomically.
   *
   * @throws dev.hone.config.UserError when the disk is full or the folder cannot be written; an old file stays
   */
  public void write(Path file) {
    AtomicFiles.write(file, this::writeTo);
  }

  private void writeTo(WritableByteChannel channel) throws IOException {
    List<Item> ordered = new ArrayList<>(items);
    ordered.sort(Comparator.comparingInt((Item item) -> item.type.bytes()).reversed());
    var entries = new LinkedHashMap<String, SafetensorsHeader.Entry>();
    long at = 0;
    for (Item item : ordered) {
      long bytes = item.data.byteSize();
      entries.put(item.name, new SafetensorsHeader.Entry(item.name, item.type, item.shape, at, bytes));
      at += bytes;
    }
    AtomicFiles.writeFully(channel, ByteBuffer.wrap(new SafetensorsHeader(metadata, entries, at).encode()));
    for (Item item : ordered) {
      for (long from = 0; from < item.data.byteSize(); from += CHUNK) {
        long n = Math.min(CHUNK, item.data.byteSize() - from);
        AtomicFiles.writeFully(channel, item.data.asSlice(from, n).asByteBuffer());
      }
    }
  }
}
