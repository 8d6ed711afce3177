package dev.hone.format;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.hone.config.UserError;
import dev.hone.tensor.DType;
import dev.hone.tensor.MemorySpace;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.zip.CRC32C;

/**
 * A model's weights as the engine uses them, in one file that is mapped: a blob for each layer, so that a layer travels as one copy.
 *
 * <pre>
 *   0                    "HONELAY1", zeros to {@value #PAGE}
 *   multiples of PAGE    segments, one after the other: embedding, layers.0 .. layers.L-1, final
 *   anywhere             footer: JSON {metadata, segments: [{name, offset, bytes}], tensors: {name: {dtype, shape, segment,
 *                        parts: {data: [offset, bytes], ...}}}}; offsets of parts count from their segment's start
 *   last 24 bytes        footer's offset i64, its length i32, its CRC-32C i32 (little-endian), "HONELAY1"
 * </pre>
 *
 * Parts start on multiples of {@value #ALIGNMENT} bytes. An NF4 tensor has the parts data (codes), code (16 f32), absmax (f32, or u8
 * with nested_code (256 f32), nested_absmax (f32) and the number nested_offset); an I8 tensor data and absmax (scales, f32).
 */
public final class LayerCacheFile {
  /** Segments start on multiples of this: a page of every system that Hone runs on, and what direct I/O and pinning ask for. */
  static final int PAGE = 4096;

  static final int ALIGNMENT = 64;
  static final byte[] MAGIC = "HONELAY1".getBytes(StandardCharsets.US_ASCII);
  static final int TRAILER = 24;

  private static final ValueLayout.OfLong LONG = ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);
  private static final ValueLayout.OfInt INT = ValueLayout.JAVA_INT_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  /** A contiguous blob of the file. */
  public record Segment(String name, long offset, long bytes) {}

  /** Where bytes of a tensor lie inside its segment. */
  record Part(long offset, long bytes) {}

  /** A tensor of the file. */
  record Entry(
      String name, DType dtype, long[] shape, int segment, Map<String, Part> parts, int block, int nestedBlock,
      float nestedOffset) {}

  private final Path path;
  private final Arena arena;
  private final MemorySegment file;
  private final Map<String, String> metadata = new LinkedHashMap<>();
  private final List<Segment> segments = new ArrayList<>();
  private final Map<String, Integer> segmentIndex = new LinkedHashMap<>();
  private final Map<String, Entry> entries = new LinkedHashMap<>();

  private LayerCacheFile(Path path, Arena arena, MemorySegment file) {
    this.path = path;
    this.arena = arena;
    this.file = file;
    readFooter();
  }

  /**
   * Maps the file read-only; the mapping and all tensors live as long as {@code arena}.
   *
   * @throws UserError when it is no layer cache or damaged; it says to remove the file
   */
  public static LayerCacheFile open(Path path, Arena arena) {
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      return new LayerCacheFile(path, arena, channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena));
    } catch (IOException e) {
      throw new UserError(path + ": cannot be read: " + JsonFile.reason(e), e);
    }
  }

  private void readFooter() {
    long size = file.byteSize();
    if (size < PAGE + TRAILER || !isMagic(0) || !isMagic(size - MAGIC.length)) {
      throw damaged("it is no whole layer cache");
    }
    long at = file.get(LONG, size - TRAILER);
    int length = file.get(INT, size - TRAILER + 8);
    if (at < PAGE || length < 2 || at + length + TRAILER != size) {
      throw damaged("its footer is not where it should be");
    }
    byte[] text = file.asSlice(at, length).toArray(ValueLayout.JAVA_BYTE);
    CRC32C crc = new CRC32C();
    crc.update(text);
    if ((int) crc.getValue() != file.get(INT, size - TRAILER + 12)) {
      throw damaged("its footer is garbled");
    }
    ObjectNode root = JsonFile.parse(new String(text, StandardCharsets.UTF_8), path.toString());
    root.path("metadata").properties().forEach(e -> metadata.put(e.getKey(), e.getValue().asText()));
    for (JsonNode s : root.path("segments")) {
      segmentIndex.put(s.path("name").asText(), segments.size());
      segments.add(new Segment(s.path("name").asText(), s.path("offset").asLong(), s.path("bytes").asLong()));
    }
    root.path("tensors").properties().forEach(e -> entries.put(e.getKey(), entry(e.getKey(), e.getValue())));
  }

  private boolean isMagic(long at) {
    return file.asSlice(at, MAGIC.length).mismatch(MemorySegment.ofArray(MAGIC)) < 0;
  }

  private static Entry entry(String name, JsonNode node) {
    long[] shape = new long[node.path("shape").size()];
    for (int i = 0; i < shape.length; i++) {
      shape[i] = node.path("shape").get(i).asLong();
    }
    Map<String, Part> parts = new LinkedHashMap<>();
    node.path("parts").properties()
        .forEach(p -> parts.put(p.getKey(), new Part(p.getValue().get(0).asLong(), p.getValue().get(1).asLong())));
    return new Entry(
        name, DType.valueOf(node.path("dtype").asText()), shape, node.path("segment").asInt(), parts,
        node.path("block").asInt(), node.path("nested_block").asInt(), (float) node.path("nested_offset").asDouble());
  }

  private UserError damaged(String what) {
    return new UserError(path + ": " + what + "; remove the file, it is made anew when it is needed");
  }

  public Path path() {
    return path;
  }

  public long bytes() {
    return file.byteSize();
  }

  /** What the writer noted about source and form. */
  public Map<String, String> metadata() {
    return java.util.Collections.unmodifiableMap(metadata);
  }

  /** The segments in the file's order. */
  public List<Segment> segments() {
    return List.copyOf(segments);
  }

  public boolean has(String name) {
    return entries.containsKey(name);
  }

  /** The dtype of a tensor. */
  public DType dtype(String name) {
    return entry(name).dtype();
  }

  /** The blob of a segment, u8, read-only, page-aligned. */
  public Tensor blob(String segment) {
    return Tensor.of(arena, segment, DType.U8, bytes(segment), blobBytes(segment));
  }

  private MemorySegment bytes(String segment) {
    Segment s = segments.get(index(segment));
    return file.asSlice(s.offset(), s.bytes());
  }

  /** Bytes of a segment's blob. */
  public long blobBytes(String segment) {
    return segments.get(index(segment)).bytes();
  }

  private int index(String segment) {
    Integer index = segmentIndex.get(segment);
    if (index == null) {
      throw new IllegalArgumentException(path + ": has no segment " + segment);
    }
    return index;
  }

  /** A tensor inside the mapping. */
  public Tensor tensor(String name) {
    Entry e = entry(name);
    Segment s = segments.get(e.segment());
    return tensorIn(MemorySpace.HOST, arena, name, file.asSlice(s.offset(), s.bytes()));
  }

  /** The tensor {@code name} inside a copy of its segment's blob, u8 in any memory; {@code holder} has its descriptor. */
  public Tensor tensorIn(Arena holder, String name, Tensor blob) {
    return tensorIn(blob.memory(), holder, name, blob.data());
  }

  private Tensor tensorIn(MemorySpace space, Arena holder, String name, MemorySegment blob) {
    Entry e = entry(name);
    MemorySegment data = slice(blob, e, "data");
    return switch (e.dtype()) {
      case NF4 -> {
        Tensor code = floats(space, holder, e, blob, "code");
        boolean nested = e.parts().containsKey("nested_absmax");
        Part absmax = e.parts().get("absmax");
        Quant quant =
            nested
                ? new Quant(
                    code,
                    Tensor.of(space, holder, name + ".absmax", DType.U8, slice(blob, e, "absmax"), absmax.bytes()),
                    floats(space, holder, e, blob, "nested_code"), floats(space, holder, e, blob, "nested_absmax"), e.nestedOffset(),
                    e.block(), e.nestedBlock())
                : new Quant(code, floats(space, holder, e, blob, "absmax"), null, null, 0, e.block(), e.nestedBlock());
        yield Tensor.ofNf4(space, holder, name, data, quant, e.shape());
      }
      case I8 -> Tensor.ofInt8(space, holder, name, data, floats(space, holder, e, blob, "absmax"), e.shape()[0], e.shape()[1]);
      default -> Tensor.of(space, holder, name, e.dtype(), data, e.shape());
    };
  }

  private static Tensor floats(MemorySpace space, Arena holder, Entry e, MemorySegment blob, String part) {
    return Tensor.of(space, holder, e.name() + "." + part, DType.F32, slice(blob, e, part), e.parts().get(part).bytes() / 4);
  }

  private static MemorySegment slice(MemorySegment blob, Entry e, String part) {
    Part p = e.parts().get(part);
    return blob.asSlice(p.offset(), p.bytes());
  }

  private Entry entry(String name) {
    Entry e = entries.get(name);
    if (e == null) {
      throw damaged("it has no tensor " + name);
    }
    return e;
  }

  /** Brings a segment's pages into memory; returns when they are there. */
  public void load(String segment) {
    bytes(segment).load();
  }

  /** Gives a segment's pages back to the system; they come again from the file when they are touched. */
  public void unload(String segment) {
    bytes(segment).unload();
  }
}
