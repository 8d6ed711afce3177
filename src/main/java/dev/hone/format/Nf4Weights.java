package dev.hone.format;

import com.fasterxml.jackson.databind.JsonNode;
import dev.hone.config.UserError;
import dev.hone.tensor.DType;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.util.Arrays;

/**
 * Weights in the layout of bitsandbytes' 4-bit serialisation. Beside {@code W} (two codes a byte) lie {@code W.absmax},
 * {@code W.quant_map}, with double quantisation {@code W.nested_absmax} and {@code W.nested_quant_map}, and
 * {@code W.quant_state.bitsandbytes__nf4}: a JSON text as bytes with quant_type, blocksize, shape and nested_*.
 */
final class Nf4Weights {
  private static final String STATE = ".quant_state.bitsandbytes__";

  private Nf4Weights() {}

  static Tensor read(Checkpoint checkpoint, String name, long out, long in) {
    String where = checkpoint.file(name).path() + ": " + name;
    if (!checkpoint.has(name + STATE + "nf4")) {
      if (checkpoint.has(name + STATE + "fp4")) {
        throw new UserError(where + " is fp4; of bitsandbytes' 4-bit types only nf4 is supported");
      }
      throw new UserError(where + " has .absmax but no .quant_state.bitsandbytes__nf4; the checkpoint is incomplete");
    }
    byte[] text =
        checkpoint.file(name + STATE + "nf4").bytes(name + STATE + "nf4").toArray(ValueLayout.JAVA_BYTE);
    JsonNode state = JsonFile.parse(new String(text, StandardCharsets.UTF_8), where + STATE + "nf4");
    String type = state.path("quant_type").asText("");
    if (!type.equals("nf4")) {
      throw new UserError(where + " has quant_type '" + type + "'; only nf4 is supported");
    }
    int block = state.path("blocksize").asInt(0);
    if (block < 2 || block % 2 != 0) {
      throw new UserError(where + " has blocksize " + state.path("blocksize") + ", want an even number above 0");
    }
    requireShape(state.path("shape"), out, in, where);
    long elements = Math.multiplyExact(out, in);
    MemorySegment codes = checkpoint.file(name).bytes(name);
    long codeBytes = DType.NF4.bytes(elements);
    if (codes.byteSize() != codeBytes) {
      throw UserError.of("%s has %d bytes of codes, [%d, %d] wants %d", where, codes.byteSize(), out, in, codeBytes);
    }
    long blocks = Math.ceilDiv(elements, (long) block);
    Tensor code = part(checkpoint, name, ".quant_map", DType.F32, 16);
    if (checkpoint.type(name + ".absmax") == StoredType.F32) {
      var quant = new Quant(code, part(checkpoint, name, ".absmax", DType.F32, blocks), null, null, 0, block, 0);
      return Tensor.ofNf4(checkpoint.arena(), name, codes, quant, out, in);
    }
    int nestedBlock = state.path("nested_blocksize").asInt(0);
    JsonNode offset = state.path("nested_offset");
    if (nestedBlock < 1 || !offset.isNumber()) {
      throw new UserError(where + " is double quantised, but its quant_state lacks nested_blocksize or nested_offset");
    }
    Tensor absmax = part(checkpoint, name, ".absmax", DType.U8, blocks);
    Tensor nestedCode = part(checkpoint, name, ".nested_quant_map", DType.F32, 256);
    Tensor nestedAbsmax =
        part(checkpoint, name, ".nested_absmax", DType.F32, Math.ceilDiv(blocks, (long) nestedBlock));
    var quant =
        new Quant(code, absmax, nestedCode, nestedAbsmax, (float) offset.doubleValue(), block, nestedBlock);
    return Tensor.ofNf4(checkpoint.arena(), name, codes, quant, out, in);
  }

  private static void requireShape(JsonNode shape, long out, long in, String where) {
    if (shape.size() != 2 || shape.get(0).asLong() != out || shape.get(1).asLong() != in) {
      throw UserError.of(
          "%s is %s, config.json asks for %s; weights and config do not belong together",
          where, shape, Arrays.toString(new long[] {out, in}));
    }
  }

  private static Tensor part(Checkpoint checkpoint, String weight, String suffix, DType dtype, long elements) {
    String name = weight + suffix;
    var file = checkpoint.file(name);
    if (file.type(name) != StoredType.of(dtype) || file.elements(name) != elements) {
      throw UserError.of(
          "%s: %s, want %s [%d]", file.path(), file.entry(name), StoredType.of(dtype), elements);
    }
    return Tensor.of(checkpoint.arena(), name, dtype, checkpoint.aligned(name), elements);
  }
}
