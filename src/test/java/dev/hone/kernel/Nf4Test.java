package dev.hone.kernel;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.tensor.DType;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import dev.hone.testing.EachIsa;
import dev.hone.testing.GuardedTensors;
import dev.hone.testing.Safetensors;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.ValueLayout;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** NF4 byte for byte against vectors that equal bitsandbytes' own output; no tolerance anywhere. */
class Nf4Test {
  private static final String GOLDEN = "/golden/qlora/nf4_vectors";
  private final CpuKernels kernels = new CpuKernels();
  private final Safetensors vectors = Safetensors.resource(GOLDEN + ".safetensors");

  @Test
  void tablesAreThePublishedOnes() {
    try (var t = new GuardedTensors()) {
      Tensor nf4 = t.allocate("nf4", DType.F32, 16);
      Tensor dynamic = t.allocate("dynamic", DType.F32, 256);
      kernels.nf4Tables(nf4, dynamic);
      assertThat(nf4.toFloats()).isEqualTo(vectors.floats("nf4_table"));
      assertThat(dynamic.toFloats()).isEqualTo(vectors.floats("dynamic_map"));
      assertThat(t.damage()).isNull();
    }
  }

  @ParameterizedTest
  @ValueSource(strings = {"a", "odd", "partial", "zeros", "zero_block", "big", "tiny_scale", "grid"})
  void quantisesAndDecodesByteForByte(String name) throws IOException {
    JsonNode offsets = new ObjectMapper().readTree(getClass().getResourceAsStream(GOLDEN + "_offsets.json"));
    long[] shape = vectors.shape(name + ".weight");
    float[] values = vectors.floats(name + ".weight");
    for (boolean nested : new boolean[] {false, true}) {
      String golden = name + (nested ? ".dq" : ".sq");
      try (var t = new GuardedTensors()) {
        Tensor w = t.nf4(kernels, name, nested, values, shape);
        Quant quant = w.quant();
        assertThat(bytes(w)).as("codes").isEqualTo(vectors.bytes(golden + ".packed"));
        assertThat(bytes(quant.absmax())).as("absmax").isEqualTo(vectors.bytes(golden + ".absmax"));
        if (nested) {
          assertThat(bytes(quant.nestedAbsmax())).isEqualTo(vectors.bytes(golden + ".nested_absmax"));
          assertThat(quant.nestedOffset()).isEqualTo((float) offsets.get(name + ".nested_offset").asDouble());
        }
        EachIsa.run(
            kernels,
            isa -> {
              Tensor out = t.allocate("out", DType.F32, shape);
              kernels.cast(out, w);
              assertThat(bytes(out)).as("%s decoded on %s", golden, isa).isEqualTo(vectors.bytes(golden + ".dequant"));
            });
        assertThat(t.damage()).isNull();
      }
    }
  }

  @Test
  void codesComeFromTheValueTheWeightIsStoredIn() {
    float[] values = GuardedTensors.random(3, 1000);
    for (DType dtype : new DType[] {DType.BF16, DType.F16}) {
      try (var t = new GuardedTensors()) {
        Tensor stored = t.of("w", dtype, values, 8, 125);
        Tensor codes = t.allocate("codes", DType.U8, 500);
        Tensor absmax = t.allocate("absmax", DType.F32, 16);
        kernels.nf4Quantize(codes, absmax, stored, 64);
        Tensor widened = t.nf4(kernels, "widened", false, stored.toFloats(), 8, 125);
        assertThat(bytes(codes)).isEqualTo(bytes(widened));
        assertThat(bytes(absmax)).isEqualTo(bytes(widened.quant().absmax()));
        assertThat(t.damage()).isNull();
      }
    }
  }

  @Test
  void wrongArgumentsAreNamed() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor w = Tensor.allocate(arena, "layers.0.q_proj", DType.F32, 3, 64);
      Tensor codes = Tensor.allocate(arena, "codes", DType.U8, 95);
      Tensor absmax = Tensor.allocate(arena, "absmax", DType.F32, 3);
      assertThatThrownBy(() -> kernels.nf4Quantize(codes, absmax, w, 64))
          .isInstanceOf(NativeException.class)
          .hasMessageContaining("nf4_quantize: codes is u8 [95], want u8 of 96 bytes");
      assertThatThrownBy(() -> kernels.nf4Quantize(codes, absmax, w, 63))
          .hasMessageContaining("nf4_quantize: a block of 63, want an even number from 2 to 4096");
      assertThatThrownBy(() -> kernels.nf4Quantize(codes, codes, w, 64))
          .hasMessageContaining("nf4_quantize: codes is u8 [95], want f32 [3]");
    }
  }

  private static byte[] bytes(Tensor t) {
    return t.data().asSlice(0, t.bytes()).toArray(ValueLayout.JAVA_BYTE);
  }
}
