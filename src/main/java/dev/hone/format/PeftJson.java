package dev.hone.format;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.json.JsonWriteFeature;
import com.fasterxml.jackson.core.util.DefaultIndenter;
import com.fasterxml.jackson.core.util.DefaultPrettyPrinter;
import com.fasterxml.jackson.core.util.Separators;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.List;
import java.util.TreeMap;

/** Renders a {@link PeftConfig} as PEFT's save_pretrained does: all keys, sorted, two spaces, ASCII. */
final class PeftJson {
  private static final JsonNodeFactory JSON = JsonNodeFactory.instance;
  private static final List<String> NULL =
      List.of(
          "alora_invocation_tokens", "arrow_config", "auto_mapping", "corda_config", "eva_config", "kasa_config",
          "layer_replication", "layers_pattern", "lora_ga_config", "megatron_config", "modules_to_save",
          "monteclora_config", "revision", "target_parameters", "trainable_token_indices", "use_bdlora",
          "velora_config");
  private static final List<String> FALSE =
      List.of("ensure_weight_tying", "fan_in_fan_out", "lora_bias", "use_dora", "use_qalora");

  private PeftJson() {}

  static String render(PeftConfig config) {
    var sorted = new TreeMap<String, JsonNode>();
    NULL.forEach(key -> sorted.put(key, JSON.nullNode()));
    FALSE.forEach(key -> sorted.put(key, JSON.booleanNode(false)));
    sorted.put("inference_mode", JSON.booleanNode(true));
    sorted.put("init_lora_weights", JSON.booleanNode(true));
    sorted.put("use_rslora", JSON.booleanNode(config.rsLora()));
    sorted.put("base_model_name_or_path", JSON.textNode(config.baseModel()));
    sorted.put("bias", JSON.textNode("none"));
    sorted.put("megatron_core", JSON.textNode("megatron.core"));
    sorted.put("peft_type", JSON.textNode("LORA"));
    sorted.put("peft_version", JSON.textNode("0.21.0"));
    sorted.put("task_type", JSON.textNode("CAUSAL_LM"));
    sorted.put("qalora_group_size", JSON.numberNode(16));
    sorted.put("r", JSON.numberNode(config.rank()));
    sorted.put("lora_alpha", number(config.alpha()));
    sorted.put("lora_dropout", JSON.numberNode(config.dropout()));
    sorted.put("loftq_config", JSON.objectNode());
    sorted.put("target_modules", modules(config.targets()));
    sorted.put("exclude_modules", modules(config.excluded()));
    sorted.put("layers_to_transform", config.layers().isEmpty() ? JSON.nullNode() : integers(config.layers()));
    ObjectNode ranks = JSON.objectNode();
    new TreeMap<>(config.rankPattern()).forEach(ranks::put);
    sorted.put("rank_pattern", ranks);
    ObjectNode alphas = JSON.objectNode();
    new TreeMap<>(config.alphaPattern()).forEach((key, value) -> alphas.set(key, number(value)));
    sorted.put("alpha_pattern", alphas);
    ObjectNode root = JSON.objectNode();
    sorted.forEach(root::set);
    return print(root);
  }

  /** Python keeps 16 and 16.0 apart; alphas are written as whole numbers where they are. */
  private static JsonNode number(double value) {
    return value == Math.rint(value) && Math.abs(value) < 1e9 ? JSON.numberNode((int) value) : JSON.numberNode(value);
  }

  private static JsonNode modules(ModuleFilter filter) {
    if (filter.pattern() != null) {
      return JSON.textNode(filter.pattern());
    }
    if (filter.isEmpty()) {
      return JSON.nullNode();
    }
    var list = JSON.arrayNode();
    filter.names().forEach(list::add);
    return list;
  }

  private static JsonNode integers(List<Integer> values) {
    var list = JSON.arrayNode();
    values.forEach(list::add);
    return list;
  }

  private static String print(ObjectNode root) {
    var indenter = new DefaultIndenter("  ", "\n");
    var separators =
        Separators.createDefaultInstance()
            .withObjectFieldValueSpacing(Separators.Spacing.AFTER)
            .withObjectEmptySeparator("")
            .withArrayEmptySeparator("");
    var printer = new DefaultPrettyPrinter(separators).withObjectIndenter(indenter).withArrayIndenter(indenter);
    JsonMapper ascii = JsonMapper.builder().enable(JsonWriteFeature.ESCAPE_NON_ASCII).build();
    try {
      return ascii.writer(printer).writeValueAsString(root);
    } catch (JsonProcessingException e) {
      throw new AssertionError("a tree of plain nodes cannot fail to print", e);
    }
  }
}
