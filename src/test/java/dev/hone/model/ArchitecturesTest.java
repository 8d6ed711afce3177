package dev.hone.model;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.UserError;
import dev.hone.format.Checkpoint;
import dev.hone.format.HfConfig;
import dev.hone.format.PeftAdapter;
import dev.hone.kernel.Activation;
import dev.hone.testing.GoldenModels;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class ArchitecturesTest {
  private static final String LLAMA =
      """
      "model_type": "llama", "vocab_size": 100, "hidden_size": 64, "num_hidden_layers": 3, "num_attention_heads": 4,
      "intermediate_size": 96, "max_position_embeddings": 512\
      """;

  /** A small llama whose keys {@code changes} replace or extend. */
  private static ModelSpec spec(String changes) {
    var pairs = new ArrayList<String>();
    for (String pair : LLAMA.split(",\\s*")) {
      if (!changes.contains(pair.substring(0, pair.indexOf(':') + 1))) {
        pairs.add(pair);
      }
    }
    if (!changes.isEmpty()) {
      pairs.add(changes);
    }
    return Architectures.of(HfConfig.parse("{" + String.join(", ", pairs) + "}", "config.json"));
  }

  private static ModelSpec golden(String name) {
    return Architectures.of(HfConfig.read(GoldenModels.path(name)));
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "models/llama", "models/llama3_rope", "models/qwen2", "models/mistral", "models/gemma2", "models/qwen3",
        "models/llama_bf16_sharded", "qlora/llama_nf4_dq", "qlora/qwen2_nf4"
      })
  void describesEveryTensorOfTheGoldenCheckpoints(String name) {
    ModelSpec spec = golden(name);
    try (var arena = Arena.ofConfined();
        var checkpoint = Checkpoint.open(GoldenModels.path(name), arena)) {
      long parameters = spec.hidden();
      var expected = new ArrayList<String>(List.of("model.embed_tokens.weight", "model.norm.weight"));
      parameters += checkpoint.tensor("model.embed_tokens.weight", spec.vocab(), spec.hidden()).elements();
      if (!spec.tiedHead()) {
        expected.add(spec.headName());
        parameters += checkpoint.tensor(spec.headName(), spec.vocab(), spec.hidden()).elements();
      }
      for (int layer = 0; layer < spec.layers(); layer++) {
        for (Projection p : Projection.values()) {
          String module = p.module(layer);
          parameters += checkpoint.weight(module + ".weight", p.out(spec), p.in(spec)).elements();
          expected.add(module + ".weight");
          if (spec.biases().contains(p)) {
            parameters += checkpoint.tensor(module + ".bias", p.out(spec)).elements();
            expected.add(module + ".bias");
          }
        }
        for (String norm : checkpoint.names()) {
          if (norm.startsWith("model.layers." + layer + ".") && norm.contains("norm")) {
            expected.add(norm);
            parameters += checkpoint.tensor(norm).elements();
          }
        }
      }
      assertThat(checkpoint.names().stream().filter(n -> !n.matches(".*\\.weight\\..+")))
          .containsExactlyInAnyOrderElementsOf(expected);
      assertThat(spec.parameters()).isEqualTo(parameters);
      var adapter = PeftAdapter.read(GoldenModels.path(name + "/golden/adapter_init"), arena, spec.linears());
      assertThat(adapter.pairs()).hasSize(7 * spec.layers());
    }
  }

  @Test
  void mapsLlama() {
    ModelSpec s = golden("models/llama");
    assertThat(s.architecture()).isEqualTo("llama");
    assertThat(List.of(s.vocab(), s.hidden(), s.layers(), s.intermediate(), s.maxPositions()))
        .containsExactly(512, 64, 2, 160, 256);
    assertThat(List.of(s.heads(), s.kvHeads(), s.headDim())).containsExactly(4, 2, 16);
    assertThat(s.normEps()).isEqualTo(1e-5f);
    assertThat(s.attentionScale()).isEqualTo(0.25f);
    assertThat(s.windows()).containsExactly(0, 0);
    assertThat(s.rope()).isEqualTo(new RopeSpec(10000, 16, new RopeSpec.Scaling.Default()));
    assertThat(s.activation()).isEqualTo(Activation.SILU);
    assertThat(s.tiedHead()).isFalse();
    assertThat(List.of(s.bosId(), s.padId())).containsExactly(1, 0);
    assertThat(s.eosIds()).containsExactly(2);
    assertThat(golden("models/llama3_rope").rope())
        .isEqualTo(new RopeSpec(500000, 24, new RopeSpec.Scaling.Llama3(8, 1, 4, 32)));
    assertThat(golden("models/llama3_rope").headName()).isEqualTo("model.embed_tokens.weight");
  }

  @Test
  void mapsMistralAndQwen() {
    assertThat(golden("models/mistral").windows()).containsExactly(7, 7);
    ModelSpec qwen2 = golden("models/qwen2");
    assertThat(qwen2.biases()).containsExactlyInAnyOrder(Projection.Q, Projection.K, Projection.V);
    assertThat(qwen2.headDim()).isEqualTo(16);
    assertThat(qwen2.windows()).containsExactly(0, 0, 0);
    ModelSpec qwen3 = golden("models/qwen3");
    assertThat(qwen3.qkNorm()).isTrue();
    assertThat(qwen3.biases()).isEmpty();
    assertThat(qwen3.headDim()).isEqualTo(32);
    assertThat(qwen3.rope().theta()).isEqualTo(1e6);
  }

  @Test
  void mapsGemma2() {
    ModelSpec s = golden("models/gemma2");
    assertThat(s.postNorms()).isTrue();
    assertThat(s.normWeightOffset()).isEqualTo(1f);
    assertThat(s.embeddingScale()).isEqualTo(8f);
    assertThat(s.attentionScale()).isEqualTo((float) (1 / Math.sqrt(32)));
    assertThat(s.attentionSoftcap()).isEqualTo(50f);
    assertThat(s.finalSoftcap()).isEqualTo(30f);
    assertThat(s.windows()).containsExactly(6, 0, 6);
    assertThat(s.activation()).isEqualTo(Activation.GELU_TANH);
    assertThat(s.tiedHead()).isTrue();
  }

  @Test
  void mapsGemma1AndRoundsItsEmbeddingScale() {
    ModelSpec s =
        spec("\"model_type\": \"gemma\", \"hidden_size\": 3072, \"hidden_act\": \"gelu\", \"torch_dtype\": \"bfloat16\"");
    assertThat(s.activation()).isEqualTo(Activation.GELU_TANH);
    assertThat(s.headDim()).isEqualTo(256);
    assertThat(s.tiedHead()).isTrue();
    assertThat(s.postNorms()).isFalse();
    // sqrt(3072) = 55.4256; the next bf16 values are 55.25 and 55.5.
    assertThat(s.embeddingScale()).isEqualTo(55.5f);
    assertThat(spec("\"model_type\": \"gemma\", \"hidden_size\": 3072, \"dtype\": \"float32\"").embeddingScale())
        .isEqualTo((float) Math.sqrt(3072));
  }

  @Test
  void mapsGranite() {
    ModelSpec s =
        spec(
            "\"model_type\": \"granite\", \"embedding_multiplier\": 12.0, \"attention_multiplier\": 0.015625,"
                + " \"residual_multiplier\": 0.22, \"logits_scaling\": 8.0, \"attention_bias\": false");
    assertThat(s.embeddingScale()).isEqualTo(12f);
    assertThat(s.attentionScale()).isEqualTo(0.015625f);
    assertThat(s.residualMultiplier()).isEqualTo(0.22f);
    assertThat(s.logitScale()).isEqualTo(0.125f);
    assertThat(s.biases()).isEmpty();
  }

  @Test
  void takesDefaultsOfTransformers() {
    ModelSpec s = spec("");
    assertThat(List.of(s.kvHeads(), s.headDim())).containsExactly(4, 16);
    assertThat(s.normEps()).isEqualTo(1e-6f);
    assertThat(s.rope().theta()).isEqualTo(10000);
    assertThat(s.biases()).isEmpty();
    assertThat(s.eosIds()).isEmpty();
    assertThat(List.of(s.bosId(), s.padId())).containsExactly(-1, -1);
    assertThat(spec("\"attention_bias\": true, \"mlp_bias\": true").biases()).hasSize(7);
    assertThat(spec("\"head_dim\": null, \"num_key_value_heads\": null").headDim()).isEqualTo(16);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "\"model_type\": \"mistral\", \"sliding_window\": null | 0 0 0",
        "\"model_type\": \"mistral\", \"sliding_window\": 8 | 8 8 8",
        "\"model_type\": \"mistral\" | 4096 4096 4096",
        "\"model_type\": \"qwen2\", \"sliding_window\": 8 | 0 0 0",
        "\"model_type\": \"qwen2\", \"sliding_window\": 8, \"use_sliding_window\": true | 0 0 0",
        "\"model_type\": \"qwen2\", \"sliding_window\": 8, \"use_sliding_window\": true, \"max_window_layers\": 1 | 0 8 8",
        "\"model_type\": \"qwen3\", \"sliding_window\": 8, \"use_sliding_window\": true, \"layer_types\": [\"sliding_attention\", \"full_attention\", \"full_attention\"] | 8 0 0",
        "\"model_type\": \"gemma2\", \"sliding_window\": 8 | 8 0 8",
        "\"model_type\": \"gemma2\", \"sliding_window\": null | 0 0 0",
        "\"model_type\": \"gemma2\", \"sliding_window\": 8, \"layer_types\": [\"full_attention\", \"full_attention\", \"sliding_attention\"] | 0 0 8",
      })
  void mapsWindows(String changes, String windows) {
    String mapped = spec(changes).windows().stream().map(String::valueOf).collect(Collectors.joining(" "));
    assertThat(mapped).isEqualTo(windows);
  }

  @Test
  void readsRopeInBothSpellings() {
    String llama3 =
        "\"factor\": 8.0, \"low_freq_factor\": 1.0, \"high_freq_factor\": 4.0,"
            + " \"original_max_position_embeddings\": 64";
    var wanted = new RopeSpec(5e5, 16, new RopeSpec.Scaling.Llama3(8, 1, 4, 64));
    for (String form :
        List.of(
            "\"rope_theta\": 500000.0, \"rope_scaling\": {\"rope_type\": \"llama3\", " + llama3 + "}",
            "\"rope_theta\": 500000, \"rope_scaling\": {\"type\": \"llama3\", " + llama3 + "}",
            "\"rope_parameters\": {\"rope_theta\": 500000.0, \"rope_type\": \"llama3\", " + llama3 + "}")) {
      assertThat(spec(form).rope()).as(form).isEqualTo(wanted);
    }
  }

  @Test
  void readsEveryRopeScaling() {
    var scalings =
        Map.of(
            "\"type\": \"linear\", \"factor\": 2.0", new RopeSpec.Scaling.Linear(2),
            "\"type\": \"dynamic\", \"factor\": 2.0", new RopeSpec.Scaling.Dynamic(2, 512),
            "\"type\": \"yarn\", \"factor\": 4.0, \"original_max_position_embeddings\": 128",
                new RopeSpec.Scaling.Yarn(4, 128, 32, 1, 0.1 * Math.log(4) + 1, true),
            "\"type\": \"yarn\", \"factor\": null, \"original_max_position_embeddings\": 64, \"beta_fast\": 16,"
                + "\"truncate\": false, \"mscale\": 1.0, \"mscale_all_dim\": 0.5",
                new RopeSpec.Scaling.Yarn(
                    8, 64, 16, 1, (0.1 * Math.log(8) + 1) / (0.05 * Math.log(8) + 1), false));
    scalings.forEach(
        (json, wanted) ->
            assertThat(spec("\"rope_scaling\": {" + json + "}").rope().scaling()).as(json).isEqualTo(wanted));
    String factors = "[1, 1.5, 2, 2, 2, 2, 2, 4.0]";
    var longRope =
        (RopeSpec.Scaling.LongRope)
            spec(
                    "\"original_max_position_embeddings\": 64, \"rope_scaling\": {\"type\": \"longrope\","
                        + " \"short_factor\": " + factors + ", \"long_factor\": " + factors + "}")
                .rope()
                .scaling();
    assertThat(longRope.originalPositions()).isEqualTo(64);
    assertThat(longRope.longFactors()).containsExactly(1, 1.5, 2, 2, 2, 2, 2, 4);
    assertThat(longRope.attentionFactor()).isEqualTo(Math.sqrt(1 + Math.log(8) / Math.log(64)));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "\"model_type\": \"foo\" | model_type 'foo' is not supported; supported: gemma, gemma2, granite, llama, mistral, qwen2, qwen3",
        "\"hidden_act\": \"relu\" | hidden_act 'relu' is not supported; supported: silu, gelu, gelu_pytorch_tanh",
        "\"num_key_value_heads\": 3 | num_key_value_heads is 3, want a divisor of num_attention_heads 4",
        "\"num_attention_heads\": null | num_attention_heads is missing",
        "\"hidden_size\": \"x\" | hidden_size is \"x\", want a whole number",
        "\"head_dim\": 15 | head_dim is 15, want an even number above 0",
        "\"vocab_size\": 0 | vocab_size is 0, want a number above 0",
        "\"rope_scaling\": {\"type\": \"mrope\"} | rope_type 'mrope' is not supported; supported: default, linear",
        "\"rope_scaling\": {\"type\": \"linear\"} | rope_scaling.factor is missing",
        "\"rope_scaling\": \"linear\" | rope_scaling is \"linear\", want an object",
        "\"rope_parameters\": {\"full_attention\": {\"rope_theta\": 1}} | by layer type (full_attention) are not supported",
        "\"partial_rotary_factor\": 0.5 | partial_rotary_factor 0.5 is not supported",
        "\"quantization_config\": {\"quant_method\": \"gptq\"} | quant_method 'gptq' is not supported; supported: bitsandbytes (nf4)",
        "\"quantization_config\": {\"quant_method\": \"bitsandbytes\", \"load_in_8bit\": true} | 8-bit bitsandbytes weights are not supported",
        "\"quantization_config\": {\"load_in_4bit\": true, \"bnb_4bit_quant_type\": \"fp4\"} | bnb_4bit_quant_type 'fp4' is not supported; supported: nf4",
        "\"model_type\": \"gemma2\", \"use_bidirectional_attention\": true | use_bidirectional_attention true is not supported",
        "\"model_type\": \"gemma2\", \"layer_types\": [\"full_attention\"] | layer_types is a list of 1, want num_hidden_layers 3",
        "\"model_type\": \"gemma2\", \"layer_types\": [\"chunked\"] | layer_types is 'chunked', want full_attention or sliding_attention",
      })
  void refusesByName(String changes, String message) {
    assertThatThrownBy(() -> spec(changes))
        .isInstanceOf(UserError.class)
        .hasMessageStartingWith("config.json: ")
        .hasMessageContaining(message);
  }

  @Test
  void takesEndTokensOfTheGenerationConfigToo(@TempDir Path folder) throws IOException {
    Files.copy(GoldenModels.path("models/llama/config.json"), folder.resolve("config.json"));
    Files.writeString(folder.resolve("generation_config.json"), "{\"eos_token_id\": [7, 9], \"pad_token_id\": 5}");
    ModelSpec s = Architectures.of(HfConfig.read(folder));
    assertThat(s.eosIds()).containsExactly(7, 9, 2);
    assertThat(s.padId()).isZero();
  }
}
