package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import com.fasterxml.jackson.databind.JsonNode;
import dev.hone.data.MicroBatch;
import dev.hone.format.SafetensorsFile;
import dev.hone.kernel.Kernels;
import dev.hone.tensor.DType;
import dev.hone.testing.Golden;
import dev.hone.testing.GoldenCase;
import dev.hone.testing.StandIn;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.Arguments;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * Losses and every LoRA gradient of the golden models through the committed PTX, in the 16-bit dtype of the card,
 * against transformers + PEFT in fp32.
 *
 * <p>The bounds are those of 16-bit arithmetic. In bf16 the gradient of one q or k projection turns by an angle whose
 * cosine is 0.9984 (qwen2): that is the rounding of weights and of forward's activations, added up over the layers, and
 * docs/numerics.md has each one's share. On average over tensors a card must be no farther from the reference than
 * transformers and PEFT are themselves when they run in bf16. f16 has three more bits.
 */
class CardGoldenTest {
  private static final double LOSS = 1e-2;
  private static final double COSINE_IN_BF16 = 0.998;
  private static final double COSINE_IN_F16 = 0.9999;

  /** 1 - cosine of transformers and PEFT in bf16, average of cases and tensors: src/test/python/bf16_gradients.py. */
  private static final Map<String, Double> TRANSFORMERS_IN_BF16 =
      Map.of(
          "models/llama", 5.02e-4, "models/qwen2", 8.87e-4, "models/qwen3", 2.00e-4, "models/mistral", 4.03e-4,
          "models/gemma2", 2.98e-4, "models/llama_bf16_sharded", 3.13e-4, "qlora/llama_nf4_dq", 4.65e-4,
          "qlora/qwen2_nf4", 1.02e-3);

  /** Keeps f16 gradients above their smallest number; bf16 needs none, and does not mind. */
  private static final float SCALE = 1024;

  static Stream<Arguments> models() {
    List<Arguments> all = new ArrayList<>();
    for (String card : List.of("cc=8.0", "cc=7.5")) {
      for (String model : TRANSFORMERS_IN_BF16.keySet().stream().sorted().toList()) {
        all.add(Arguments.of(card, model));
      }
    }
    return all.stream();
  }

  @ParameterizedTest
  @MethodSource("models")
  void lossesAndGradientsAreTheReferences(String card, String name) {
    Path folder = Golden.committed(name);
    Path golden = folder.resolve("golden");
    JsonNode expected = Golden.json(golden.resolve("golden.json"));
    try (Kernels kernels = StandIn.open(card);
        Arena arena = Arena.ofConfined();
        BaseModel base = BaseModel.open(folder);
        Model model = GoldenModelTest.open(kernels, base, golden, true, kernels.computeDtype(DType.F32))) {
      SafetensorsFile forward = SafetensorsFile.open(golden.resolve("forward.safetensors"), arena);
      SafetensorsFile gradients = SafetensorsFile.open(golden.resolve("lora_grads.safetensors"), arena);
      boolean bf16 = kernels.computeDtype(DType.F32) == DType.BF16;
      double bound = bf16 ? COSINE_IN_BF16 : COSINE_IN_F16;
      double distance = 0;
      for (String one : GoldenCase.NAMES) {
        MicroBatch batch = GoldenCase.batch(forward, one);
        String at = card + " " + name + " " + one;
        model.parameters().zeroGradients();
        double loss = model.train(batch, SCALE / batch.validTargets(), 0, 0) / batch.validTargets();
        double want = expected.path("cases").path(one).path("lora_loss").asDouble();
        assertThat(loss).as(at + " loss").isCloseTo(want, within(LOSS * want));
        Cosine all = new Cosine();
        double least = 1;
        for (Parameters.Parameter p : model.parameters().all()) {
          Cosine own = new Cosine();
          float[] got = p.gradient().toFloats();
          float[] reference = gradients.floats(one + "/" + p.name());
          own.add(got, reference);
          all.add(got, reference);
          assertThat(own.value()).as(at + " " + p.name()).isGreaterThan(bound);
          least = Math.min(least, own.value());
          distance += (1 - own.value()) / model.parameters().all().size() / GoldenCase.NAMES.size();
        }
        assertThat(all.value()).as(at + " all gradients").isGreaterThan(bound);
        System.out.printf(
            "%s: loss %.5f for %.5f, cosine of all gradients %.5f, of the worst %.5f%n", at, loss, want, all.value(),
            least);
        assertThat(model.evaluate(batch) / batch.validTargets()).as(at + " eval loss").isEqualTo(loss);
      }
      System.out.printf("%s %s: 1 - cosine on average %.2e%n", card, name, distance);
      if (bf16) {
        assertThat(distance).as(name + " 1 - cosine, on average").isLessThan(TRANSFORMERS_IN_BF16.get(name));
      }
    }
  }

  /** Of the angle between two vectors that come in parts. */
  private static final class Cosine {
    private double dot;
    private double aa;
    private double bb;

    void add(float[] a, float[] b) {
      for (int i = 0; i < a.length; i++) {
        dot += (double) a[i] * b[i];
        aa += (double) a[i] * a[i];
        bb += (double) b[i] * b[i];
      }
    }

    double value() {
      return dot / Math.sqrt(aa * bb);
    }
  }
}
