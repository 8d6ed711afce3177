package dev.hone.testing;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;

/** Tensors of a golden .safetensors resource as arrays; of its own, so that kernel tests need no format code. */
public final class Safetensors {
  private final JsonNode header;
  private final ByteBuffer data;

  private Safetensors(JsonNode header, ByteBuffer data) {
    this.header = header;
    this.data = data;
  }

  /** @param resource absolute, such as {@code /golden/qlora/nf4_vectors.safetensors} */
  public static Safetensors resource(String resource) {
    try (InputStream in = Safetensors.class.getResourceAsStream(resource)) {
      if (in == null) {
        throw new IllegalArgumentException(resource + " is not on the test class path");
      }
      ByteBuffer all = ByteBuffer.wrap(in.readAllBytes()).order(ByteOrder.LITTLE_ENDIAN);
      int headerBytes = Math.toIntExact(all.getLong(0));
      JsonNode header = new ObjectMapper().readTree(all.array(), 8, headerBytes);
      return new Safetensors(header, all.slice(8 + headerBytes, all.capacity() - 8 - headerBytes));
    } catch (IOException e) {
      throw new UncheckedIOException(resource, e);
    }
  }

  public long[] shape(String name) {
    JsonNode shape = entry(name).get("shape");
    long[] out = new long[shape.size()];
    for (int i = 0; i < out.length; i++) {
      out[i] = shape.get(i).asLong();
    }
    return out;
  }

  public float[] floats(String name) {
    ByteBuffer slice = slice(name);
    float[] out = new float[slice.remaining() / 4];
    slice.asFloatBuffer().get(out);
    return out;
  }

  public byte[] bytes(String name) {
    ByteBuffer slice = slice(name);
    byte[] out = new byte[slice.remaining()];
    slice.get(out);
    return out;
  }

  private ByteBuffer slice(String name) {
    JsonNode range = entry(name).get("data_offsets");
    int from = range.get(0).asInt();
    return data.slice(from, range.get(1).asInt() - from).order(ByteOrder.LITTLE_ENDIAN);
  }

  private JsonNode entry(String name) {
    JsonNode entry = header.get(name);
    if (entry == null) {
      throw new IllegalArgumentException("no tensor " + name);
    }
    return entry;
  }
}
