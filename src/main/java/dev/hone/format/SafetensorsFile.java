package dev.hone.format;

import dev.hone.config.UserError;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteOrder;
import java.nio.channels.FileChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.NoSuchFileException;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.security.MessageDigest;
import java.util.Map;
import java.util.Set;

/**
 * A safetensors file mapped into memory. The header is checked whole before anything is used; tensors are slices of the
 * mapping and live as long as the arena.
 */
public final class SafetensorsFile {
  private static final ValueLayout.OfLong LE_LONG =
      ValueLayout.JAVA_LONG_UNALIGNED.withOrder(ByteOrder.LITTLE_ENDIAN);

  private final Path path;
  private final SafetensorsHeader header;
  private final MemorySegment head;
  private final MemorySegment data;

  private SafetensorsFile(Path path, SafetensorsHeader header, MemorySegment head, MemorySegment data) {
    this.head = head;
    this.path = path;
    this.header = header;
    this.data = data;
  }

  /**
   * Maps the file read-only.
   *
   * @throws UserError when it is missing, truncated or garbled; the message names the file and what is wrong
   */
  public static SafetensorsFile open(Path path, Arena arena) {
    MemorySegment file;
    try (FileChannel channel = FileChannel.open(path, StandardOpenOption.READ)) {
      file = channel.map(FileChannel.MapMode.READ_ONLY, 0, channel.size(), arena);
    } catch (NoSuchFileException e) {
      throw new UserError(path + ": no such file", e);
    } catch (IOException e) {
      throw new UserError(path + ": cannot be read: " + JsonFile.reason(e), e);
    }
    String where = path.toString();
    long size = file.byteSize();
    refuseStandIns(file, where);
    if (size < 8) {
      throw new UserError(
          where + " is " + SafetensorsHeader.size(size) + ": the download is incomplete; fetch it again");
    }
    long length = file.get(LE_LONG, 0);
    if (length < 2 || length > SafetensorsHeader.MAX_BYTES) {
      throw new UserError(where + " is not a safetensors file, or its start is garbled; fetch it again");
    }
    if (8 + length > size) {
      throw incomplete(path, size, "is " + SafetensorsHeader.size(length) + " itself");
    }
    byte[] json = file.asSlice(8, length).toArray(ValueLayout.JAVA_BYTE);
    if (json[0] != '{') {
      throw new UserError(where + " is not a safetensors file: its header does not start with {");
    }
    var header = SafetensorsHeader.parse(new String(json, StandardCharsets.UTF_8), where);
    long want = 8 + length + header.dataBytes();
    if (size < want) {
      throw incomplete(path, size, "wants " + SafetensorsHeader.size(want));
    }
    if (size > want) {
      throw SafetensorsHeader.garbled(where, (size - want) + " bytes at the end belong to no tensor");
    }
    return new SafetensorsFile(path, header, file.asSlice(0, 8 + length), file.asSlice(8 + length));
  }

  private static UserError incomplete(Path path, long size, String wants) {
    String is = SafetensorsHeader.size(size);
    return UserError.of("%s is %s, its header %s: the download is incomplete; fetch it again", path, is, wants);
  }

  /** A git-lfs pointer or an error page under a model's name is the commonest broken download. */
  private static void refuseStandIns(MemorySegment file, String where) {
    byte[] head = file.asSlice(0, Math.min(file.byteSize(), 64)).toArray(ValueLayout.JAVA_BYTE);
    String start = new String(head, StandardCharsets.ISO_8859_1).stripLeading();
    if (start.startsWith("version https://git-lfs")) {
      throw new UserError(where + " is a git-lfs pointer, not the file itself; run git lfs pull in the model's folder");
    }
    if (start.regionMatches(true, 0, "<html", 0, 5) || start.regionMatches(true, 0, "<!doctype", 0, 9)) {
      throw new UserError(where + " is a web page, not a safetensors file; fetch it again");
    }
  }

  public Path path() {
    return path;
  }

  /** Adds what tells this file from an older or newer one to a digest: name, size, time of writing and the header's bytes. */
  void stamp(MessageDigest digest) {
    try {
      String identity =
          path.getFileName() + " " + (head.byteSize() + data.byteSize()) + " " + Files.getLastModifiedTime(path).toMillis();
      digest.update(identity.getBytes(StandardCharsets.UTF_8));
    } catch (IOException e) {
      throw new UserError(path + ": cannot be read: " + JsonFile.reason(e), e);
    }
    digest.update(head.toArray(ValueLayout.JAVA_BYTE));
  }

  /** Free text of the header's {@code __metadata__}. */
  public Map<String, String> metadata() {
    return header.metadata();
  }

  /** Tensor names in the header's order. */
  public Set<String> names() {
    return header.entries().keySet();
  }

  public boolean has(String name) {
    return header.entries().containsKey(name);
  }

  public StoredType type(String name) {
    return entry(name).type();
  }

  public long[] shape(String name) {
    return entry(name).shape().clone();
  }

  public long elements(String name) {
    return entry(name).elements();
  }

  /** The tensor's bytes inside the mapping, read-only; they may lie on any address. */
  public MemorySegment bytes(String name) {
    var e = entry(name);
    return data.asSlice(e.offset(), e.bytes());
  }

  /** The elements of a float tensor, rounded to f32 from F64, widened from F16 and BF16. */
  public float[] floats(String name) {
    var e = entry(name);
    MemorySegment s = bytes(name);
    float[] out = new float[Math.toIntExact(e.elements())];
    for (int i = 0; i < out.length; i++) {
      out[i] =
          switch (e.type()) {
            case F64 -> (float) s.getAtIndex(ValueLayout.JAVA_DOUBLE_UNALIGNED, i);
            case F32 -> s.getAtIndex(ValueLayout.JAVA_FLOAT_UNALIGNED, i);
            case BF16 -> Float.intBitsToFloat(s.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i) << 16);
            case F16 -> Float.float16ToFloat(s.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i));
            default -> throw new UserError(path + ": " + e + " is not a float tensor");
          };
    }
    return out;
  }

  /** The elements of an integer or BOOL tensor. */
  public long[] longs(String name) {
    var e = entry(name);
    MemorySegment s = bytes(name);
    long[] out = new long[Math.toIntExact(e.elements())];
    for (int i = 0; i < out.length; i++) {
      out[i] =
          switch (e.type()) {
            case I64, U64 -> s.getAtIndex(ValueLayout.JAVA_LONG_UNALIGNED, i);
            case I32 -> s.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, i);
            case U32 -> Integer.toUnsignedLong(s.getAtIndex(ValueLayout.JAVA_INT_UNALIGNED, i));
            case I16 -> s.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i);
            case U16 -> Short.toUnsignedLong(s.getAtIndex(ValueLayout.JAVA_SHORT_UNALIGNED, i));
            case I8 -> s.get(ValueLayout.JAVA_BYTE, i);
            case U8, BOOL -> Byte.toUnsignedLong(s.get(ValueLayout.JAVA_BYTE, i));
            default -> throw new UserError(path + ": " + e + " is not an integer tensor");
          };
    }
    return out;
  }

  /** As {@link #longs}, each value within an int. */
  public int[] ints(String name) {
    long[] wide = longs(name);
    int[] out = new int[wide.length];
    for (int i = 0; i < out.length; i++) {
      out[i] = Math.toIntExact(wide[i]);
    }
    return out;
  }

  SafetensorsHeader.Entry entry(String name) {
    var e = header.entries().get(name);
    if (e == null) {
      throw new UserError(path + ": has no tensor " + name);
    }
    return e;
  }
}
