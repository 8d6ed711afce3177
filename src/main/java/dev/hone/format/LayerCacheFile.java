package dev.hone.format;

import dev.hone.config.UserError;
import dev.hone.tensor.DType;
import dev.hone.tensor.MemorySpace;
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

  /** What to do about a damaged file. */
  static final String REMEDY = "; remove the file, it is made anew when it is needed";

  private final Path path;
  private final Arena arena;
  private final MemorySegment file;
  private final LayerCacheIndex index;

  private LayerCacheFile(Path path, Arena arena, MemorySegment file) {
    this.path = path;
    this.arena = arena;
    this.file = file;
    index = readFooter();
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

  private LayerCacheIndex readFooter() {
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
    return new LayerCacheIndex(JsonFile.parse(new String(text, StandardCharsets.UTF_8), path.toString()), path.toString());
  }

  private boolean isMagic(long at) {
    return file.asSlice(at, MAGIC.length).mismatch(MemorySegment.ofArray(MAGIC)) < 0;
  }

  private UserError damaged(String what) {
    return new UserError(path + ": " + what + REMEDY);
  }

  public Path path() {
    return path;
  }

  public long bytes() {
    return file.byteSize();
  }

  /** Where its tensors lie. */
  public LayerCacheIndex index() {
    return index;
  }

  /** The blob of a segment, u8, read-only, page-aligned. */
  public Tensor blob(String segment) {
    return Tensor.of(arena, segment, DType.U8, bytes(segment), index.blobBytes(segment));
  }

  private MemorySegment bytes(String segment) {
    LayerCacheIndex.Segment s = index.segment(segment);
    return file.asSlice(s.offset(), s.bytes());
  }

  /** A tensor inside the mapping. */
  public Tensor tensor(String name) {
    LayerCacheIndex.Segment s = index.segmentOf(name);
    return index.tensorIn(MemorySpace.HOST, arena, name, file.asSlice(s.offset(), s.bytes()));
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
