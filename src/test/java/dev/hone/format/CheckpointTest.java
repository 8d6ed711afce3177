package dev.hone.format;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.UserError;
import dev.hone.tensor.DType;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import dev.hone.testing.GoldenModels;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Map;
import java.util.TreeMap;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class CheckpointTest {
  private static final String SHARDED = "models/llama_bf16_sharded";
  private static final String DOWN = "model.layers.0.mlp.down_proj.weight";

  @TempDir Path temp;

  @Test
  void opensOneFile() {
    try (var c = Checkpoint.open(GoldenModels.path("models/llama"))) {
      assertThat(c.names()).hasSize(2 * 9 + 3);
      assertThat(c.has("lm_head.weight")).isTrue();
      Tensor w = c.weight(DOWN, 64, 160);
      assertThat(w.dtype()).isEqualTo(DType.F32);
      assertThat(w.shape()).containsExactly(64, 160);
      assertThat(w.name()).isEqualTo(DOWN);
    }
  }

  @Test
  void opensShardsWithoutCopying() {
    try (var arena = Arena.ofConfined();
        var c = Checkpoint.open(GoldenModels.path(SHARDED), arena)) {
      assertThat(c.names()).hasSize(21);
      Tensor norm = c.tensor("model.norm.weight", 64);
      Tensor embedding = c.tensor("model.embed_tokens.weight");
      assertThat(embedding.dtype()).isEqualTo(DType.BF16);
      assertThat(embedding.shape()).containsExactly(520, 64);
      assertThat(norm.data().address()).isEqualTo(c.file("model.norm.weight").bytes("model.norm.weight").address());
      assertThat(norm.toFloats()).isEqualTo(c.file("model.norm.weight").floats("model.norm.weight"));
    }
  }

  @Test
  void copiesWhatLiesUnaligned() throws IOException {
    // A header of odd length, as old writers made them: all data lies on odd addresses.
    byte[] json = "{\"x\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[0,8]}}".getBytes(StandardCharsets.UTF_8);
    int odd = json.length | 1;
    var bytes = ByteBuffer.allocate(8 + odd + 8).order(ByteOrder.LITTLE_ENDIAN).putLong(odd).put(json);
    while (bytes.position() < 8 + odd) {
      bytes.put((byte) ' ');
    }
    Files.write(temp.resolve("model.safetensors"), bytes.putFloat(1.5f).putFloat(-2f).array());
    try (var c = Checkpoint.open(temp)) {
      Tensor x = c.tensor("x", 2);
      assertThat(x.data().address() % 4).isZero();
      assertThat(x.toFloats()).containsExactly(1.5f, -2f);
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama_nf4_dq", "qwen2_nf4"})
  void decodesBitsandbytesWeightsExactly(String model) {
    try (var arena = Arena.ofConfined();
        var c = Checkpoint.open(GoldenModels.path("qlora/" + model))) {
      var sample = GoldenModels.tensors("qlora/" + model + "/dequantized_sample.safetensors", arena);
      int quantised = 0;
      for (String name : sample.names()) {
        long[] shape = sample.shape(name);
        Tensor w = shape.length == 2 ? c.weight(name, shape[0], shape[1]) : c.tensor(name, shape);
        if (w.dtype() == DType.NF4) {
          quantised++;
          assertThat(w.quant().isDouble()).isEqualTo(model.endsWith("dq"));
          assertThat(decode(w)).as(name).containsExactly(sample.floats(name));
        } else {
          assertThat(w.toFloats()).as(name).containsExactly(sample.floats(name));
        }
      }
      assertThat(quantised).isEqualTo(2);
      assertThat(c.weight("model.embed_tokens.weight", 512, 64).dtype()).isEqualTo(DType.F32);
    }
  }

  /** w[i] = code[q[i]] absmax[i / block], straight from the layout's description. */
  private static float[] decode(Tensor w) {
    Quant q = w.quant();
    float[] code = q.code().toFloats();
    float[] out = new float[Math.toIntExact(w.elements())];
    for (int i = 0; i < out.length; i++) {
      int pair = w.data().get(ValueLayout.JAVA_BYTE, i / 2) & 255;
      int block = i / q.block();
      float absmax;
      if (q.isDouble()) {
        int index = q.absmax().data().get(ValueLayout.JAVA_BYTE, block) & 255;
        float nested = q.nestedAbsmax().data().getAtIndex(ValueLayout.JAVA_FLOAT, block / q.nestedBlock());
        absmax = q.nestedCode().data().getAtIndex(ValueLayout.JAVA_FLOAT, index) * nested + q.nestedOffset();
      } else {
        absmax = q.absmax().data().getAtIndex(ValueLayout.JAVA_FLOAT, block);
      }
      out[i] = code[i % 2 == 0 ? pair >> 4 : pair & 15] * absmax;
    }
    return out;
  }

  @Test
  void takesCodesStoredUnderAnotherType() {
    try (var arena = Arena.ofConfined()) {
      var source = GoldenModels.tensors("qlora/qwen2_nf4/model.safetensors", arena);
      var changed = new SafetensorsWriter();
      for (String name : source.names()) {
        boolean codes = name.equals(DOWN);
        changed.add(
            name,
            codes ? StoredType.BF16 : source.type(name),
            codes ? new long[] {source.elements(name) / 2, 1} : source.shape(name),
            source.bytes(name));
      }
      changed.write(temp.resolve("model.safetensors"));
      try (var was = Checkpoint.open(GoldenModels.path("qlora/qwen2_nf4"));
          var is = Checkpoint.open(temp)) {
        assertThat(is.type(DOWN)).isEqualTo(StoredType.BF16);
        assertThat(decode(is.weight(DOWN, 64, 160))).containsExactly(decode(was.weight(DOWN, 64, 160)));
      }
    }
  }

  @Test
  void namesMissingShards() throws IOException {
    GoldenModels.copy(SHARDED, temp);
    Files.delete(temp.resolve("model-00002-of-00003.safetensors"));
    refused(temp, "1 of 3 shards are missing: model-00002-of-00003.safetensors");
  }

  @Test
  void namesTheShardThatIsCut() throws IOException {
    GoldenModels.copy(SHARDED, temp);
    Path shard = temp.resolve("model-00002-of-00003.safetensors");
    Files.write(shard, Arrays.copyOf(Files.readAllBytes(shard), 40_000));
    refused(temp, "model-00002-of-00003.safetensors is 40.0 kB, its header wants 116.0 kB: the download is incomplete");
  }

  @Test
  void namesTensorsThatIndexAndShardsDisagreeOn() throws IOException {
    GoldenModels.copy(SHARDED, temp);
    Path index = temp.resolve("model.safetensors.index.json");
    String text = Files.readString(index);
    String norm = "\"model.norm.weight\": \"model-00003-of-00003.safetensors\"";
    assertThat(text).contains(norm);
    Files.writeString(index, text.replace(norm, norm.replace("model.norm", "model.other")));
    refused(temp, "1 tensors are not in the shard", "model.other.weight (model-00003-of-00003.safetensors)");
    Files.writeString(index, text.replace(",\n    " + norm, ""));
    refused(temp, "1 tensors are not listed", "model.norm.weight (model-00003-of-00003.safetensors)");
    Files.writeString(index, text.substring(0, 300));
    refused(temp, "model.safetensors.index.json:", "not valid JSON");
  }

  @Test
  void saysWhatAFolderWithoutWeightsHolds() throws IOException {
    refused(temp, "has neither model.safetensors nor model.safetensors.index.json");
    refused(temp.resolve("absent"), "no such folder");
    Files.writeString(temp.resolve("pytorch_model.bin"), "x");
    refused(temp, "only pickled weights (pytorch_model.bin)", "convert them to safetensors");
    refused(GoldenModels.path("models/llama/golden/adapter_init"), "is a PEFT adapter, not a model");
  }

  private static void refused(Path folder, String... parts) {
    assertThatThrownBy(() -> Checkpoint.open(folder)).isInstanceOf(UserError.class).hasMessageContainingAll(parts);
  }

  @Test
  void refusesMissingMisshapenAndIntegerTensors() {
    try (var c = Checkpoint.open(GoldenModels.path("qlora/qwen2_nf4"))) {
      assertThatThrownBy(() -> c.tensor("layers.0.mlp.down_proj.weight"))
          .isInstanceOf(UserError.class)
          .hasMessageContaining("layers.0.mlp.down_proj.weight is missing; there is model.layers.0.mlp.down_proj.weight");
      assertThatThrownBy(() -> c.tensor("model.norm.weight", 128))
          .isInstanceOf(UserError.class)
          .hasMessageContaining("model.norm.weight is [64], config.json asks for [128]");
      assertThatThrownBy(() -> c.tensor(DOWN))
          .isInstanceOf(UserError.class)
          .hasMessageContaining("stored as U8; Hone reads F32, F16 and BF16 here, this one is quantised");
      assertThatThrownBy(() -> c.weight(DOWN, 160, 64))
          .isInstanceOf(UserError.class)
          .hasMessageContaining("is [64,160], config.json asks for [160, 64]");
    }
  }

  @ParameterizedTest
  @CsvSource({
    "'\"quant_type\": \"nf4\"', '\"quant_type\": \"int4\"', quant_type 'int4'; only nf4",
    "'\"blocksize\": 64', '\"blocksize\": 0', 'blocksize 0, want an even number'",
    "'\"blocksize\": 64', '\"blocksize\": 32', '.absmax F32[160], want F32 [320]'",
    "'\"shape\": [64, 160]', '\"shape\": [64]', 'is [64], config.json asks for [64, 160]'",
    "'\"shape\"', 'shape', not valid JSON",
  })
  void refusesWrongQuantState(String from, String to, String message) {
    String state = DOWN + ".quant_state.bitsandbytes__nf4";
    try (var arena = Arena.ofConfined()) {
      var parts = parts(arena);
      String json = new String(parts.get(state).bytes, StandardCharsets.UTF_8);
      assertThat(json).contains(from);
      parts.put(state, Part.bytes(json.replace(from, to)));
      refusedWeight(parts, message);
    }
  }

  @Test
  void refusesFp4AndMissingSideData() {
    String state = DOWN + ".quant_state.bitsandbytes__nf4";
    try (var arena = Arena.ofConfined()) {
      var without = parts(arena);
      without.remove(DOWN + ".quant_map");
      refusedWeight(without, DOWN + ".quant_map is missing");
      var fp4 = parts(arena);
      fp4.put(state.replace("nf4", "fp4"), fp4.remove(state));
      refusedWeight(fp4, "is fp4; of bitsandbytes' 4-bit types only nf4 is supported");
      var stateless = parts(arena);
      stateless.remove(state);
      refusedWeight(stateless, "no .quant_state.bitsandbytes__nf4");
      var shortCodes = parts(arena);
      shortCodes.put(DOWN, Part.bytes("too few"));
      refusedWeight(shortCodes, "has 7 bytes of codes, [64, 160] wants 5120");
    }
  }

  private record Part(StoredType type, long[] shape, byte[] bytes) {
    static Part bytes(String text) {
      byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
      return new Part(StoredType.U8, new long[] {bytes.length}, bytes);
    }
  }

  /** One quantised weight of the golden checkpoint in its parts. */
  private static Map<String, Part> parts(Arena arena) {
    var file = GoldenModels.tensors("qlora/qwen2_nf4/model.safetensors", arena);
    var parts = new TreeMap<String, Part>();
    file.names().stream()
        .filter(name -> name.startsWith(DOWN))
        .forEach(
            name ->
                parts.put(
                    name,
                    new Part(
                        file.type(name), file.shape(name), file.bytes(name).toArray(ValueLayout.JAVA_BYTE))));
    return parts;
  }

  private void refusedWeight(Map<String, Part> parts, String message) {
    var writer = new SafetensorsWriter();
    try (var arena = Arena.ofConfined()) {
      parts.forEach(
          (name, part) -> {
            MemorySegment data = arena.allocateFrom(ValueLayout.JAVA_BYTE, part.bytes);
            writer.add(name, part.type, part.shape, data);
          });
      writer.write(temp.resolve("model.safetensors"));
    }
    try (var c = Checkpoint.open(temp)) {
      assertThatThrownBy(() -> c.weight(DOWN, 64, 160)).isInstanceOf(UserError.class).hasMessageContaining(message);
    }
  }
}
