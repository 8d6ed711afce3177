package dev.hone.format;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.UserError;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.GoldenModels;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class SafetensorsTest {
  @TempDir Path temp;

  @Test
  void readsBackWhatItWrote() {
    Path file = temp.resolve("x.safetensors");
    try (var arena = Arena.ofConfined()) {
      Tensor f32 = Tensor.allocate(arena, "a", DType.F32, 2, 3).set(1f, -2f, 3.5f, Float.MIN_VALUE, 0f, 1e30f);
      Tensor bf16 = Tensor.allocate(arena, "b", DType.BF16, 3);
      bf16.data().set(ValueLayout.JAVA_SHORT, 2, (short) 0x3fc0);
      Tensor f16 = Tensor.allocate(arena, "c", DType.F16, 1, 1, 2, 1);
      f16.data().set(ValueLayout.JAVA_SHORT, 0, Float.floatToFloat16(-0.125f));
      Tensor bytes = Tensor.allocate(arena, "d", DType.U8, 3);
      bytes.data().set(ValueLayout.JAVA_BYTE, 1, (byte) 200);
      new SafetensorsWriter()
          .metadata("format", "pt")
          .metadata("note", "\u00e4 \"quoted\"")
          .add("odd bytes", bytes)
          .add("matrix", f32)
          .add("bf16", bf16)
          .add("f16", f16)
          .add("step", new long[] {1L << 40}, 1)
          .add("none", new float[0], 0, 4)
          .add("scalar", new float[] {7f})
          .write(file);
      var read = SafetensorsFile.open(file, arena);
      assertThat(read.metadata()).containsEntry("format", "pt").containsEntry("note", "\u00e4 \"quoted\"");
      assertThat(read.names()).containsExactly("step", "matrix", "none", "scalar", "bf16", "f16", "odd bytes");
      assertThat(read.floats("matrix")).containsExactly(f32.toFloats());
      assertThat(read.shape("matrix")).containsExactly(2, 3);
      assertThat(read.floats("bf16")).containsExactly(0f, 1.5f, 0f);
      assertThat(read.floats("f16")).containsExactly(-0.125f, 0f);
      assertThat(read.longs("odd bytes")).containsExactly(0, 200, 0);
      assertThat(read.longs("step")).containsExactly(1L << 40);
      assertThat(read.floats("none")).isEmpty();
      assertThat(read.shape("none")).containsExactly(0, 4);
      assertThat(read.floats("scalar")).containsExactly(7f);
      assertThat(read.shape("scalar")).isEmpty();
      assertThat(read.bytes("step").address() % 8).isZero();
      assertThatThrownBy(() -> read.floats("step"))
          .isInstanceOf(UserError.class)
          .hasMessageContaining("not a float tensor");
      assertThatThrownBy(() -> read.longs("matrix"))
          .isInstanceOf(UserError.class)
          .hasMessageContaining("not an integer tensor");
      assertThatThrownBy(() -> read.bytes("q")).isInstanceOf(UserError.class).hasMessageContaining("has no tensor q");
    }
  }

  @ParameterizedTest
  @EnumSource(StoredType.class)
  void keepsEveryType(StoredType type) {
    Path file = temp.resolve("t.safetensors");
    try (var arena = Arena.ofConfined()) {
      var data = arena.allocate(3L * type.bytes());
      data.fill((byte) 1);
      new SafetensorsWriter().add("t", type, new long[] {3}, data).write(file);
      var read = SafetensorsFile.open(file, arena);
      assertThat(read.type("t")).isEqualTo(type);
      assertThat(read.bytes("t").mismatch(data)).isEqualTo(-1);
      if (type.dtype().isPresent()) {
        assertThat(StoredType.of(type.dtype().get())).isEqualTo(type);
      }
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "models/llama/golden/forward", "models/llama/model", "models/llama_bf16_sharded/model-00002-of-00003",
        "qlora/llama_nf4_dq/model", "qlora/nf4_vectors"
      })
  void rewritesFilesOfTheReferenceLibraryByteForByte(String name) throws IOException {
    Path golden = GoldenModels.path(name + ".safetensors");
    Path file = temp.resolve("copy.safetensors");
    try (var arena = Arena.ofConfined()) {
      var read = SafetensorsFile.open(golden, arena);
      var writer = new SafetensorsWriter();
      read.metadata().forEach(writer::metadata);
      read.names().forEach(tensor -> writer.add(tensor, read.type(tensor), read.shape(tensor), read.bytes(tensor)));
      writer.write(file);
    }
    assertThat(file).hasSameBinaryContentAs(golden);
  }

  @Test
  void refusesTensorsThatDoNotFitTheirName() {
    var writer = new SafetensorsWriter().add("x", new float[] {1}, 1);
    assertThatThrownBy(() -> writer.add("x", new float[] {1}, 1))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("x was added already");
    assertThatThrownBy(() -> writer.add("y", new float[] {1}, 2))
        .isInstanceOf(IllegalArgumentException.class)
        .hasMessage("y: 4 bytes, the shape wants 8");
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "{\"a\":{\"dtype\":\"F99\",\"shape\":[2],\"data_offsets\":[0,8]}}                | 8  | a has the unknown dtype F99",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[3],\"data_offsets\":[0,8]}}                | 8  | a is F32 [3] = 12 bytes, its offsets give 8",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[-2],\"data_offsets\":[0,8]}}               | 8  | a has -2 where a whole number >= 0 belongs",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2.5],\"data_offsets\":[0,8]}}              | 8  | a has 2.5 where a whole number >= 0 belongs",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[4294967296,4294967296],\"data_offsets\":[0,8]}} | 8 | a has the impossible shape",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[8,0]}}                | 8  | its offsets give -8",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":[2]}}                                       | 8  | a wants dtype, shape and data_offsets",
        "{\"a\":{\"shape\":[2],\"data_offsets\":[0,8]}}                                  | 8  | a wants dtype, shape and data_offsets",
        "{\"a\":{\"dtype\":\"F32\",\"shape\":2,\"data_offsets\":[0,8]}}                  | 8  | a wants dtype, shape and data_offsets",
        "{\"a\":5}                                                                       | 8  | a wants dtype, shape and data_offsets",
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"b\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[2,6]}} | 6 | b overlaps a",
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[0,2]},\"b\":{\"dtype\":\"U8\",\"shape\":[2],\"data_offsets\":[4,6]}} | 6 | 2 bytes between a and b belong to no tensor",
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}                 | 9  | 5 bytes at the end belong to no tensor",
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}}                 | 3  | the download is incomplete; fetch it again",
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]},\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]}} | 4 | the header is not valid JSON",
        "{\"a\":{\"dtype\":\"U8\",\"shape\":[4],\"data_offsets\":[0,4]                   | 4  | the header is not valid JSON",
        "[1, 2]                                                                          | 0  | is not a safetensors file: its header does not start with {",
      })
  void refusesCorruptHeaders(String json, int dataBytes, String message) throws IOException {
    byte[] header = json.strip().getBytes(StandardCharsets.UTF_8);
    var bytes = new ByteArrayOutputStream();
    bytes.write(ByteBuffer.allocate(8).order(ByteOrder.LITTLE_ENDIAN).putLong(header.length).array());
    bytes.write(header);
    bytes.write(new byte[dataBytes]);
    refused(bytes.toByteArray(), message);
  }

  @Test
  void refusesTruncatedAndForeignFiles() throws IOException {
    byte[] whole = Files.readAllBytes(GoldenModels.path("models/llama/model.safetensors"));
    refused(new byte[0], "is 0 bytes: the download is incomplete");
    refused(Arrays.copyOf(whole, 5), "is 5 bytes: the download is incomplete");
    refused(Arrays.copyOf(whole, 8), "is 8 bytes, its header is 2.1 kB itself: the download is incomplete");
    refused(Arrays.copyOf(whole, 500), "is 500 bytes, its header is 2.1 kB itself");
    refused(Arrays.copyOf(whole, whole.length - 1), "its header wants", "the download is incomplete; fetch it again");
    refused(
        "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n".getBytes(StandardCharsets.UTF_8),
        "is a git-lfs pointer");
    refused("\n<!DOCTYPE html><html>".getBytes(StandardCharsets.UTF_8), "is a web page");
    refused("PK\3\4 something zipped by torch".getBytes(StandardCharsets.UTF_8), "is not a safetensors file");
    for (int bit = 0; bit < 64; bit++) {
      byte[] flipped = whole.clone();
      flipped[bit / 8] ^= (byte) (1 << bit % 8);
      refused(flipped, "x.safetensors");
    }
    try (var arena = Arena.ofConfined()) {
      assertThatThrownBy(() -> SafetensorsFile.open(temp.resolve("absent"), arena))
          .isInstanceOf(UserError.class)
          .hasMessageContaining("absent: no such file");
    }
  }

  private void refused(byte[] bytes, String... parts) throws IOException {
    Path file = Files.write(temp.resolve("x.safetensors"), bytes);
    try (var arena = Arena.ofConfined()) {
      assertThatThrownBy(() -> SafetensorsFile.open(file, arena))
          .isInstanceOf(UserError.class)
          .hasMessageContaining("x.safetensors")
          .hasMessageContainingAll(parts)
          .message()
          .doesNotContain("\n");
    }
  }

  @Test
  void namesSizesAsPeopleDo() {
    assertThat(SafetensorsHeader.size(999)).isEqualTo("999 bytes");
    assertThat(SafetensorsHeader.size(1_200_000)).isEqualTo("1.2 MB");
    assertThat(SafetensorsHeader.size(999_999)).isEqualTo("1.0 MB");
    assertThat(SafetensorsHeader.size(4_976_698_672L)).isEqualTo("5.0 GB");
  }
}
