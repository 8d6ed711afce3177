package dev.hone.engine;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.hone.format.AtomicFiles;
import dev.hone.format.HfConfig;
import dev.hone.format.JsonFile;
import dev.hone.format.SafetensorsWriter;
import dev.hone.format.StoredType;
import dev.hone.kernel.Kernels;
import dev.hone.model.Architectures;
import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;

/**
 * Writes a model folder of a given shape with random weights in bitsandbytes' NF4 layout. Tensors are made as they are written: host
 * memory is that of the largest one.
 */
public final class NewModel {
  private NewModel() {}

  /**
   * Writes {@code folder} with config.json and model.safetensors; it appears whole or not at all.
   *
   * @param json the text of the shape's config.json
   * @param where its place, for messages
   * @throws dev.hone.config.UserError when the shape is not supported or the disk is full
   */
  public static void write(Kernels kernels, String json, String where, long seed, Path folder) {
    HfConfig config = HfConfig.parse(json, where);
    ModelSpec spec = Architectures.of(config);
    try (Arena arena = Arena.ofShared()) {
      RandomNf4Weights random =
          new RandomNf4Weights(kernels, arena, seed, BaseModel.deviation(config), spec.normWeightOffset());
      AtomicFiles.writeFolder(
          folder,
          inside -> {
            AtomicFiles.writeText(inside.resolve("config.json"), quantised(JsonFile.parse(json, where)) + "\n");
            weights(random, spec).write(inside.resolve("model.safetensors"));
          });
    }
  }

  private static String quantised(ObjectNode config) {
    config.put("torch_dtype", "bfloat16");
    config.putObject("quantization_config")
        .put("quant_method", "bitsandbytes").put("load_in_4bit", true).put("bnb_4bit_quant_type", "nf4")
        .put("bnb_4bit_use_double_quant", true).put("bnb_4bit_compute_dtype", "bfloat16");
    return config.toPrettyString();
  }

  private static SafetensorsWriter weights(RandomNf4Weights random, ModelSpec spec) {
    SafetensorsWriter writer = new SafetensorsWriter().metadata("format", "pt");
    for (ParameterShape p : ParameterShape.ofModel(spec)) {
      long[] shape = p.shape().stream().mapToLong(Long::longValue).toArray();
      if (p.name().startsWith("model.layers.") && shape.length == 2) {
        linear(writer, random, p.name(), shape[0], shape[1]);
      } else {
        writer.add(p.name(), StoredType.BF16, shape, passing -> random.tensorIn(passing, p.name(), shape));
      }
    }
    return writer;
  }

  private static void linear(SafetensorsWriter writer, RandomNf4Weights random, String name, long out, long in) {
    long blocks = Math.ceilDiv(out * in, 64L);
    writer.add(
        name, StoredType.U8, new long[] {Math.ceilDiv(out * in, 2L), 1},
        passing -> random.codes(passing, name, out, in));
    writer.add(
        name + ".absmax", StoredType.U8, new long[] {blocks}, passing -> random.absmax(passing, name, out, in));
    writer.add(
        name + ".nested_absmax", StoredType.F32, new long[] {Math.ceilDiv(blocks, 256L)},
        passing -> random.nestedAbsmax(passing, name, blocks));
    writer.add(name + ".quant_map", random.code());
    writer.add(name + ".nested_quant_map", random.dynamic());
    byte[] state =
        ("{\"quant_type\":\"nf4\",\"blocksize\":64,\"dtype\":\"bfloat16\",\"shape\":[" + out + "," + in
            + "],\"nested_blocksize\":256,\"nested_dtype\":\"float32\",\"nested_offset\":" + random.nestedOffset() + "}")
            .getBytes(StandardCharsets.UTF_8);
    writer.add(
        name + ".quant_state.bitsandbytes__nf4", StoredType.U8, new long[] {state.length},
        passing -> {
          Tensor text = Tensor.allocate(passing, name + ".quant_state", DType.U8, state.length);
          text.putBytes(0, state, state.length);
          return text;
        });
  }
}
