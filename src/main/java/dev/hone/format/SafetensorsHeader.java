package dev.hone.format;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.hone.config.UserError;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/**
 * The JSON header of a safetensors file: 8 bytes little-endian length, the JSON, then the tensors' bytes without gaps.
 * Source: the format's description in the README of the safetensors project; this reader is as strict as theirs.
 *
 * @param metadata {@code __metadata__}, empty when there is none
 * @param entries by name, in the header's order
 * @param dataBytes bytes of all tensors together
 */
record SafetensorsHeader(Map<String, String> metadata, Map<String, Entry> entries, long dataBytes) {
  /** Longest header that is read; the format's own limit. */
  static final long MAX_BYTES = 100_000_000;

  private static final String METADATA = "__metadata__";

  /**
   * One tensor.
   *
   * @param offset of its first byte from the start of the data, behind the header
   */
  record Entry(String name, StoredType type, long[] shape, long offset, long bytes) {
    long elements() {
      return bytes / type.bytes();
    }

    @Override
    public String toString() {
      return name + " " + type + Arrays.toString(shape);
    }
  }

  /**
   * Reads and checks the JSON.
   *
   * @param where the file, for messages
   */
  static SafetensorsHeader parse(String json, String where) {
    ObjectNode root;
    try {
      root = JsonFile.parse(json, where);
    } catch (UserError e) {
      throw new UserError(where + ": the header is not valid JSON: the file is garbled; fetch it again", e);
    }
    var metadata = new LinkedHashMap<String, String>();
    var entries = new LinkedHashMap<String, Entry>();
    root.properties()
        .forEach(
            field -> {
              if (field.getKey().equals(METADATA)) {
                field.getValue().properties().forEach(m -> metadata.put(m.getKey(), m.getValue().asText()));
              } else {
                entries.put(field.getKey(), entry(field.getKey(), field.getValue(), where));
              }
            });
    return new SafetensorsHeader(
        Collections.unmodifiableMap(metadata), Collections.unmodifiableMap(entries), contiguous(entries, where));
  }

  private static Entry entry(String name, JsonNode node, String where) {
    JsonNode shapeNode = node.path("shape");
    JsonNode offsets = node.path("data_offsets");
    if (!shapeNode.isArray() || offsets.size() != 2 || !node.path("dtype").isTextual()) {
      throw garbled(where, name + " wants dtype, shape and data_offsets [begin, end]");
    }
    String typeName = node.path("dtype").asText();
    StoredType type =
        StoredType.named(typeName).orElseThrow(() -> garbled(where, name + " has the unknown dtype " + typeName));
    long[] shape = new long[shapeNode.size()];
    for (int i = 0; i < shape.length; i++) {
      shape[i] = whole(shapeNode.get(i), where, name);
    }
    long begin = whole(offsets.get(0), where, name);
    long end = whole(offsets.get(1), where, name);
    long want = type.bytes();
    try {
      for (long extent : shape) {
        want = Math.multiplyExact(want, extent);
      }
    } catch (ArithmeticException e) {
      throw garbled(where, name + " has the impossible shape " + Arrays.toString(shape));
    }
    if (end - begin != want) {
      String what = "%s is %s %s = %d bytes, its offsets give %d";
      throw garbled(where, what.formatted(name, type, Arrays.toString(shape), want, end - begin));
    }
    return new Entry(name, type, shape, begin, want);
  }

  private static long whole(JsonNode node, String where, String name) {
    if (!node.isIntegralNumber() || !node.canConvertToLong() || node.asLong() < 0) {
      throw garbled(where, name + " has " + node + " where a whole number >= 0 belongs");
    }
    return node.asLong();
  }

  /** Tensors must follow each other without overlap or gap; returns the end of the last one. */
  private static long contiguous(Map<String, Entry> entries, String where) {
    List<Entry> byOffset = new ArrayList<>(entries.values());
    byOffset.sort(Comparator.comparingLong(Entry::offset).thenComparingLong(Entry::bytes));
    long at = 0;
    String before = "the header";
    for (Entry e : byOffset) {
      if (e.offset < at) {
        throw garbled(where, e.name + " overlaps " + before);
      }
      if (e.offset > at) {
        throw garbled(where, (e.offset - at) + " bytes between " + before + " and " + e.name + " belong to no tensor");
      }
      at += e.bytes;
      before = e.name;
    }
    return at;
  }

  static UserError garbled(String where, String what) {
    return new UserError(where + ": garbled header: " + what + "; fetch the file again");
  }

  /** The 8 length bytes and the JSON, padded with spaces so that the data starts on a multiple of 8. */
  byte[] encode() {
    ObjectNode root = JsonNodeFactory.instance.objectNode();
    if (!metadata.isEmpty()) {
      ObjectNode meta = root.putObject(METADATA);
      metadata.forEach(meta::put);
    }
    for (Entry e : entries.values()) {
      ObjectNode node = root.putObject(e.name);
      node.put("dtype", e.type.name());
      var shape = node.putArray("shape");
      Arrays.stream(e.shape).forEach(shape::add);
      node.putArray("data_offsets").add(e.offset).add(e.offset + e.bytes);
    }
    byte[] json = root.toString().getBytes(StandardCharsets.UTF_8);
    int padded = Math.ceilDiv(json.length, 8) * 8;
    byte[] out = new byte[8 + padded];
    Arrays.fill(out, (byte) ' ');
    for (int i = 0; i < 8; i++) {
      out[i] = (byte) ((long) padded >>> (8 * i));
    }
    System.arraycopy(json, 0, out, 8, json.length);
    return out;
  }

  /** A size as people read it: {@code 812 bytes}, {@code 1.2 MB}. */
  static String size(long bytes) {
    if (bytes < 1000) {
      return bytes + " bytes";
    }
    double value = bytes;
    String[] units = {"kB", "MB", "GB", "TB"};
    int unit = -1;
    do {
      value /= 1000;
      unit++;
    } while (value >= 999.95 && unit + 1 < units.length);
    return String.format(Locale.ROOT, "%.1f %s", value, units[unit]);
  }
}
