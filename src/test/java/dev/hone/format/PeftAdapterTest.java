package dev.hone.format;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.UserError;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.GoldenModels;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.ValueSource;

class PeftAdapterTest {
  private static final String INIT = "models/llama/golden/adapter_init";

  @TempDir Path temp;

  /** The linear layers of a model with q 64, kv 32, hidden 64, intermediate 160: golden llama's. */
  private static List<PeftAdapter.Linear> linears(int layers) {
    var out = new ArrayList<PeftAdapter.Linear>();
    for (int i = 0; i < layers; i++) {
      String block = "model.layers." + i + ".";
      out.add(new PeftAdapter.Linear(block + "self_attn.q_proj", 64, 64));
      out.add(new PeftAdapter.Linear(block + "self_attn.k_proj", 32, 64));
      out.add(new PeftAdapter.Linear(block + "self_attn.v_proj", 32, 64));
      out.add(new PeftAdapter.Linear(block + "self_attn.o_proj", 64, 64));
      out.add(new PeftAdapter.Linear(block + "mlp.gate_proj", 160, 64));
      out.add(new PeftAdapter.Linear(block + "mlp.up_proj", 160, 64));
      out.add(new PeftAdapter.Linear(block + "mlp.down_proj", 64, 160));
    }
    return out;
  }

  @Test
  void readsAnAdapterOfPeft() {
    try (var arena = Arena.ofConfined()) {
      var adapter = PeftAdapter.read(GoldenModels.path(INIT), arena, linears(2));
      assertThat(adapter.config().rank()).isEqualTo(8);
      assertThat(adapter.config().scale("model.layers.0.mlp.up_proj")).isEqualTo(2f);
      assertThat(adapter.config().baseModel()).isEqualTo("llama");
      assertThat(adapter.pairs().keySet())
          .containsExactlyElementsOf(linears(2).stream().map(PeftAdapter.Linear::module).toList());
      var down = adapter.pairs().get("model.layers.1.mlp.down_proj");
      assertThat(down.a().shape()).containsExactly(8, 160);
      assertThat(down.b().shape()).containsExactly(64, 8);
      var file = GoldenModels.tensors(INIT + "/adapter_model.safetensors", arena);
      assertThat(down.b().toFloats())
          .containsExactly(file.floats("base_model.model.model.layers.1.mlp.down_proj.lora_B.weight"));
    }
  }

  @ParameterizedTest
  @ValueSource(
      strings = {
        "models/llama/golden/adapter_init", "models/llama/golden/adapter_final", "qlora/llama_nf4_dq/golden/adapter_init"
      })
  void writesTheVeryBytesOfPeft(String golden) throws IOException {
    try (var arena = Arena.ofConfined()) {
      var adapter = PeftAdapter.read(GoldenModels.path(golden), arena, linears(2));
      PeftAdapter.write(temp.resolve("out"), adapter.config(), adapter.pairs().values());
    }
    for (String name : List.of("adapter_config.json", "adapter_model.safetensors")) {
      assertThat(temp.resolve("out").resolve(name)).hasSameBinaryContentAs(GoldenModels.path(golden).resolve(name));
    }
    try (var files = Files.list(temp.resolve("out"))) {
      assertThat(files).hasSize(2);
    }
  }

  @Test
  void writesPatternsAndRsLora() throws IOException {
    var config =
        new PeftConfig(
            "a/b", 4, 6.5, 0.05, ModuleFilter.pattern("all-linear"), ModuleFilter.names(List.of("o_proj")), List.of(1),
            java.util.Map.of("q_proj", 2), java.util.Map.of("mlp\\..*", 3.0), true);
    Files.writeString(temp.resolve("adapter_config.json"), config.toJson());
    assertThat(config.toJson())
        .contains(
            "\"lora_alpha\": 6.5,", "\"lora_dropout\": 0.05,", "\"target_modules\": \"all-linear\"",
            "\"exclude_modules\": [\n    \"o_proj\"\n  ]", "\"use_rslora\": true",
            "\"rank_pattern\": {\n    \"q_proj\": 2\n  }", "\"layers_to_transform\": [\n    1\n  ]");
    assertThat(PeftConfig.read(temp)).isEqualTo(config);
    assertThat(config.rank("model.layers.0.self_attn.q_proj")).isEqualTo(2);
    assertThat(config.rank("model.layers.0.self_attn.xq_proj")).isEqualTo(4);
    assertThat(config.alpha("model.layers.0.mlp.up_proj")).isEqualTo(3.0);
    assertThat(config.scale("model.layers.0.mlp.up_proj")).isEqualTo(1.5f);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = ';',
      value = {
        "[\"q_proj\", \"v_proj\"]                     ; null   ; 4",
        "[\"model.layers.1.mlp.up_proj\"]             ; null   ; 1",
        "\".*\\\\.(q|k)_proj\"                        ; null   ; 4",
        "\"model\\\\.layers\\\\.0\\\\..*\"            ; null   ; 7",
        "\"all-linear\"                               ; null   ; 14",
        "\"ALL-LINEAR\"                               ; [0]    ; 14",
        "[\"q_proj\", \"v_proj\"]                     ; [1]    ; 2",
        "[\"q_proj\", \"model.layers.0.mlp.up_proj\"] ; 1      ; 2",
      })
  void resolvesTargets(String targets, String layers, int count) throws IOException {
    write("\"r\": 8, \"lora_alpha\": 16, \"layers_to_transform\": " + layers + ", \"target_modules\": " + targets);
    var names = linears(2).stream().map(PeftAdapter.Linear::module).toList();
    assertThat(PeftConfig.read(temp).resolve(names)).hasSize(count);
  }

  @Test
  void ignoresUnknownKeysAndExcludesModules() throws IOException {
    write(
        "\"r\": 8, \"lora_alpha\": 16, \"new_key_of_peft\": {\"x\": 1}, \"target_modules\": \"all-linear\","
            + " \"exclude_modules\": \".*mlp.*\"");
    var names = linears(2).stream().map(PeftAdapter.Linear::module).toList();
    assertThat(PeftConfig.read(temp).resolve(names)).hasSize(8).noneMatch(name -> name.contains("mlp"));
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        "\"use_dora\": true | use_dora true is not supported yet",
        "\"modules_to_save\": [\"lm_head\"] | modules_to_save [\"lm_head\"] is not supported yet",
        "\"bias\": \"all\" | bias 'all' is not supported",
        "\"lora_alpha\": \"x\" | lora_alpha is \"x\", want a number",
        "\"init_lora_weights\": \"pissa\" | init_lora_weights \"pissa\" is not supported: it changes the base's weights",
        "\"r\": 0 | r is 0, want a number above 0",
        "\"target_modules\": null | target_modules is missing or empty",
        "\"peft_type\": \"IA3\" | peft_type 'IA3' is not supported; supported: LORA",
      })
  void refusesWhatItDoesNotCompute(String change, String message) throws IOException {
    String key = change.substring(0, change.indexOf(':'));
    String rest =
        List.of("\"peft_type\": \"LORA\"", "\"r\": 8", "\"lora_alpha\": 16", "\"target_modules\": [\"q_proj\"]").stream()
            .filter(pair -> !pair.startsWith(key + ":"))
            .reduce(change, (a, b) -> a + ", " + b);
    Files.writeString(temp.resolve("adapter_config.json"), "{" + rest + "}");
    assertThatThrownBy(() -> PeftConfig.read(temp)).isInstanceOf(UserError.class).hasMessageContaining(message);
  }

  @Test
  void refusesABrokenRegexAndTargetsThatFitNothing() throws IOException {
    var names = linears(1).stream().map(PeftAdapter.Linear::module).toList();
    write("\"r\": 8, \"lora_alpha\": 16, \"target_modules\": \"(q_proj\"");
    assertThatThrownBy(() -> PeftConfig.read(temp).resolve(names))
        .isInstanceOf(UserError.class)
        .hasMessageContaining("'(q_proj' is not a regex");
    write("\"r\": 8, \"lora_alpha\": 16, \"target_modules\": [\"Wqkv\"]");
    assertThatThrownBy(() -> PeftConfig.read(temp).resolve(names))
        .isInstanceOf(UserError.class)
        .hasMessageContaining("target_modules 'Wqkv' fits no linear layer");
  }

  @Test
  void readsHalfPrecisionAndTheOldNames() throws IOException {
    write("\"r\": 2, \"lora_alpha\": 2, \"target_modules\": [\"k_proj\"]");
    try (var arena = Arena.ofConfined()) {
      Tensor a = Tensor.allocate(arena, "a", DType.BF16, 2, 64);
      a.data().fill((byte) 0x3f);
      Tensor b = Tensor.allocate(arena, "b", DType.F16, 32, 2);
      String module = "base_model.model.model.layers.0.self_attn.k_proj";
      new SafetensorsWriter()
          .add(module + ".lora_A.default.weight", a)
          .add(module + ".lora_B.default.weight", b)
          .write(temp.resolve("adapter_model.safetensors"));
      var pair = PeftAdapter.read(temp, arena, linears(1)).pairs().get("model.layers.0.self_attn.k_proj");
      assertThat(pair.a().dtype()).isEqualTo(DType.F32);
      assertThat(pair.a().toFloats()).containsOnly(Float.intBitsToFloat(0x3f3f0000));
      assertThat(pair.b().toFloats()).containsOnly(0f);
    }
  }

  @Test
  void refusesAnAdapterOfAnotherModel() throws IOException {
    Path golden = GoldenModels.path(INIT);
    try (var arena = Arena.ofConfined()) {
      assertThatThrownBy(() -> PeftAdapter.read(golden, arena, linears(1)))
          .isInstanceOf(UserError.class)
          .hasMessageContaining("model.layers.1.")
          .hasMessageContaining("no such LoRA module");
      var other = linears(2).stream().map(l -> new PeftAdapter.Linear(l.module(), l.out(), l.in() + 1)).toList();
      assertThatThrownBy(() -> PeftAdapter.read(golden, arena, other))
          .isInstanceOf(UserError.class)
          .hasMessageContaining("lora_A.weight F32[8, 64], the adapter's config and the model ask for [8, 65]");
      GoldenModels.copy(INIT, temp);
      write("\"r\": 8, \"lora_alpha\": 16, \"target_modules\": [\"q_proj\", \"zero\"]");
      new SafetensorsWriter().write(temp.resolve("adapter_model.safetensors"));
      assertThatThrownBy(() -> PeftAdapter.read(temp, arena, linears(2)))
          .isInstanceOf(UserError.class)
          .hasMessageContaining("no lora_A or lora_B for model.layers.0.self_attn.q_proj and 1 more");
      Files.delete(temp.resolve("adapter_model.safetensors"));
      assertThatThrownBy(() -> PeftAdapter.read(temp, arena, linears(2)))
          .isInstanceOf(UserError.class)
          .hasMessageContaining("adapter_model.safetensors: no such file");
    }
    assertThatThrownBy(() -> PeftConfig.read(temp.resolve("absent")))
        .isInstanceOf(UserError.class)
        .hasMessageContaining("no such folder");
  }

  private void write(String pairs) throws IOException {
    Files.writeString(temp.resolve("adapter_config.json"), "{\"peft_type\": \"LORA\", " + pairs + "}");
  }
}
