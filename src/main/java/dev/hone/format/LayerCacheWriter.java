package dev.hone.format;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.hone.tensor.DType;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.Map;
import java.util.zip.CRC32C;

/**
 * Writes a {@link LayerCacheFile} from front to back, tensor by tensor: nothing is kept but where things lie. The file appears whole
 * or not at all. Where no file is wanted, the same blobs pass through memory one by one.
 */
public final class LayerCacheWriter {
  private static final long CHUNK = 16 << 20;

  /** Fills the file. */
  @FunctionalInterface
  public interface Content {
    void writeTo(LayerCacheWriter writer) throws IOException;
  }

  /** Takes a finished blob; its memory is used again when this returns. */
  @FunctionalInterface
  public interface BlobTaker {
    void take(String segment, MemorySegment blob);
  }

  /** Where bytes go. */
  private interface Sink {
    void write(ByteBuffer buffer) throws IOException;

    /** What is written from now on belongs to a segment. */
    default void segmentBegins() {}

    /** What was written since the segment began is its blob. */
    default void segmentEnds(String name) {}
  }

  private final Sink sink;
  private final ObjectNode root = JsonNodeFactory.instance.objectNode();
  private final ObjectNode metadata = root.putObject("metadata");
  private long at;
  private long segmentStart;
  private ObjectNode segment;

  private LayerCacheWriter(Sink sink) throws IOException {
    this.sink = sink;
    root.putArray("segments");
    root.putObject("tensors");
    write(ByteBuffer.wrap(LayerCacheFile.MAGIC));
    pad(LayerCacheFile.PAGE);
  }

  /**
   * Writes {@code target} atomically; missing folders are made.
   *
   * @param bytes that the file will have at least, as far as is known
   * @throws dev.hone.config.UserError when the disk is full or the folder cannot be written
   */
  public static void write(Path target, long bytes, Map<String, String> metadata, Content content) {
    AtomicFiles.write(
        target,
        bytes,
        channel -> {
          LayerCacheWriter writer = new LayerCacheWriter(buffer -> AtomicFiles.writeFully(channel, buffer));
          metadata.forEach(writer.metadata::put);
          content.writeTo(writer);
          writer.finish();
        });
  }

  /**
   * Makes the blobs one by one in memory and keeps none of them.
   *
   * @param largest bytes of the largest blob
   * @return where the tensors lie in the blobs
   */
  public static LayerCacheIndex pass(long largest, Content content, BlobTaker taker) {
    try (Arena passing = Arena.ofConfined()) {
      LayerCacheWriter writer = new LayerCacheWriter(new OneBlob(passing.allocate(largest, LayerCacheFile.ALIGNMENT), taker));
      content.writeTo(writer);
      writer.endSegment();
      return new LayerCacheIndex(writer.root, "the base");
    } catch (IOException e) {
      throw new IllegalStateException("no file is written here", e);
    }
  }

  /** A blob's memory, used again and again. */
  private static final class OneBlob implements Sink {
    private final MemorySegment memory;
    private final BlobTaker taker;
    private boolean inSegment;
    private long filled;

    OneBlob(MemorySegment memory, BlobTaker taker) {
      this.memory = memory;
      this.taker = taker;
    }

    @Override
    public void write(ByteBuffer buffer) {
      if (inSegment) {
        MemorySegment bytes = MemorySegment.ofBuffer(buffer);
        MemorySegment.copy(bytes, 0, memory, filled, bytes.byteSize());
        filled += bytes.byteSize();
      }
    }

    @Override
    public void segmentBegins() {
      inSegment = true;
      filled = 0;
    }

    @Override
    public void segmentEnds(String name) {
      inSegment = false;
      taker.take(name, memory.asSlice(0, filled));
    }
  }

  /** Begins the next segment; what is added goes into it. */
  public void segment(String name) throws IOException {
    endSegment();
    pad(LayerCacheFile.PAGE);
    sink.segmentBegins();
    segmentStart = at;
    segment = root.withArray("segments").addObject().put("name", name).put("offset", at);
  }

  /** Adds a tensor of any dtype, side data included. */
  public void add(Tensor tensor) throws IOException {
    ObjectNode node = root.withObject("/tensors").putObject(tensor.name());
    node.put("dtype", tensor.dtype().name());
    for (long extent : tensor.shape()) {
      node.withArray("shape").add(extent);
    }
    node.put("segment", root.withArray("segments").size() - 1);
    ObjectNode parts = node.putObject("parts");
    part(parts, "data", tensor.data().asSlice(0, tensor.bytes()));
    Quant quant = tensor.quant();
    if (quant == null) {
      return;
    }
    node.put("block", quant.block()).put("nested_block", quant.nestedBlock());
    part(parts, "absmax", bytes(quant.absmax()));
    if (tensor.dtype() == DType.NF4) {
      part(parts, "code", bytes(quant.code()));
    }
    if (quant.isDouble()) {
      part(parts, "nested_code", bytes(quant.nestedCode()));
      part(parts, "nested_absmax", bytes(quant.nestedAbsmax()));
      node.put("nested_offset", quant.nestedOffset());
    }
  }

  private static MemorySegment bytes(Tensor tensor) {
    return tensor.data().asSlice(0, tensor.bytes());
  }

  private void part(ObjectNode parts, String name, MemorySegment data) throws IOException {
    pad(LayerCacheFile.ALIGNMENT);
    parts.putArray(name).add(at - segmentStart).add(data.byteSize());
    for (long from = 0; from < data.byteSize(); from += CHUNK) {
      write(data.asSlice(from, Math.min(CHUNK, data.byteSize() - from)).asByteBuffer());
    }
  }

  /** A segment ends on a whole vector, so that copies of it may be rounded up. */
  private void endSegment() throws IOException {
    if (segment != null) {
      pad(LayerCacheFile.ALIGNMENT);
      segment.put("bytes", at - segmentStart);
      sink.segmentEnds(segment.path("name").asText());
    }
  }

  private void finish() throws IOException {
    endSegment();
    byte[] text = root.toString().getBytes(StandardCharsets.UTF_8);
    CRC32C crc = new CRC32C();
    crc.update(text);
    ByteBuffer trailer = ByteBuffer.allocate(LayerCacheFile.TRAILER).order(ByteOrder.LITTLE_ENDIAN);
    trailer.putLong(at).putInt(text.length).putInt((int) crc.getValue()).put(LayerCacheFile.MAGIC).flip();
    write(ByteBuffer.wrap(text));
    write(trailer);
  }

  private void pad(int multiple) throws IOException {
    long wanted = Math.ceilDiv(at, multiple) * multiple - at;
    write(ByteBuffer.allocate(Math.toIntExact(wanted)));
  }

  private void write(ByteBuffer buffer) throws IOException {
    at += buffer.remaining();
    sink.write(buffer);
  }
}
