package dev.hone.format;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.hone.config.UserError;
import dev.hone.tensor.DType;
import dev.hone.tensor.MemorySpace;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** Where the tensors of a layer cache lie inside its blobs: the footer of {@link LayerCacheFile}, read. */
public final class LayerCacheIndex {
  /** A contiguous blob. */
  public record Segment(String name, long offset, long bytes) {}

  /** Where bytes of a tensor lie inside its segment. */
  private record Part(long offset, long bytes) {}

  /** A tensor. */
  private record Entry(
      String name, DType dtype, long[] shape, int segment, Map<String, Part> parts, int block, int nestedBlock,
      float nestedOffset) {}

  private final String source;
  private final Map<String, String> metadata = new LinkedHashMap<>();
  private final List<Segment> segments = new ArrayList<>();
  private final Map<String, Integer> segmentIndex = new LinkedHashMap<>();
  private final Map<String, Entry> entries = new LinkedHashMap<>();

  /**
   * @param root the footer
   * @param source its file, for messages
   */
  LayerCacheIndex(ObjectNode root, String source) {
    this.source = source;
    root.path("metadata").properties().forEach(e -> metadata.put(e.getKey(), e.getValue().asText()));
    for (JsonNode s : root.path("segments")) {
      segmentIndex.put(s.path("name").asText(), segments.size());
      segments.add(new Segment(s.path("name").asText(), s.path("offset").asLong(), s.path("bytes").asLong()));
    }
    root.path("tensors").properties().forEach(e -> entries.put(e.getKey(), entry(e.getKey(), e.getValue())));
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

  /** What the writer noted about source and form. */
  public Map<String, String> metadata() {
    return Collections.unmodifiableMap(metadata);
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

  /** Bytes of a segment's blob. */
  public long blobBytes(String segment) {
    return segment(segment).bytes();
  }

  Segment segment(String name) {
    Integer index = segmentIndex.get(name);
    if (index == null) {
      throw new IllegalArgumentException(source + ": has no segment " + name);
    }
    return segments.get(index);
  }

  /** The segment that a tensor lies in. */
  Segment segmentOf(String tensor) {
    return segments.get(entry(tensor).segment());
  }

  /** The tensor {@code name} inside a copy of its segment's blob, u8 in any memory; {@code holder} has its descriptor. */
  public Tensor tensorIn(Arena holder, String name, Tensor blob) {
    return tensorIn(blob.memory(), holder, name, blob.data());
  }

  Tensor tensorIn(MemorySpace space, Arena holder, String name, MemorySegment blob) {
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
      throw new UserError(source + ": it has no tensor " + name + LayerCacheFile.REMEDY);
    }
    return e;
  }
}
