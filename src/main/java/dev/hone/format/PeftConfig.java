package dev.hone.format;

import com.fasterxml.jackson.databind.JsonNode;
import dev.hone.config.UserError;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.Pattern;

/**
 * What adapter_config.json of a LoRA adapter says, in PEFT's meaning (PEFT 0.21). Unknown keys are ignored; keys that
 * change what is computed and that Hone does not compute are refused.
 *
 * @param baseModel base_model_name_or_path, may be empty
 * @param rank r
 * @param alpha lora_alpha
 * @param dropout lora_dropout
 * @param targets target_modules
 * @param excluded exclude_modules
 * @param layers layers_to_transform, empty for all
 * @param rankPattern rank of modules whose whole name, or an ending of it behind a dot, fits the regex
 * @param alphaPattern alpha likewise
 * @param rsLora scale alpha/sqrt(r) instead of alpha/r
 */
public record PeftConfig(
    String baseModel,
    int rank,
    double alpha,
    double dropout,
    ModuleFilter targets,
    ModuleFilter excluded,
    List<Integer> layers,
    Map<String, Integer> rankPattern,
    Map<String, Double> alphaPattern,
    boolean rsLora) {

  static final String FILE = "adapter_config.json";
  private static final Pattern LAYER = Pattern.compile(".*?\\.[^.]*\\.(\\d+)\\.");

  /** Keys that change what is computed; any value but null, false or empty is refused. */
  private static final List<String> UNSUPPORTED =
      List.of(
          "use_dora", "lora_bias", "use_qalora", "use_bdlora", "modules_to_save", "trainable_token_indices",
          "target_parameters", "layer_replication", "alora_invocation_tokens", "arrow_config", "fan_in_fan_out",
          "layers_pattern");

  /** Initialisations that touch only A and B, which are in the file; others (pissa, olora, loftq) alter the base. */
  private static final List<String> HARMLESS_INITS = List.of("gaussian", "orthogonal", "eva");

  /** A plain config: modules by name or ending, one rank. */
  public static PeftConfig of(
      String baseModel, int rank, double alpha, double dropout, List<String> targets, boolean rsLora) {
    var modules = ModuleFilter.names(targets);
    return new PeftConfig(
        baseModel, rank, alpha, dropout, modules, ModuleFilter.none(), List.of(), Map.of(), Map.of(), rsLora);
  }

  /**
   * Reads adapter_config.json of an adapter's folder.
   *
   * @throws UserError when it is missing, garbled or asks for what Hone does not compute
   */
  public static PeftConfig read(Path folder) {
    if (!Files.isDirectory(folder)) {
      throw new UserError(folder + ": no such folder; adapter_name_or_path wants a folder with " + FILE);
    }
    Path file = folder.resolve(FILE);
    if (!Files.exists(file)) {
      throw new UserError(folder + ": has no " + FILE + "; adapter_name_or_path wants a PEFT adapter's folder");
    }
    return of(HfConfig.of(JsonFile.read(file), file.toString()));
  }

  private static PeftConfig of(HfConfig config) {
    String type = config.text("peft_type");
    if (!type.equals("LORA")) {
      throw new UserError(config.where() + ": peft_type '" + type + "' is not supported; supported: LORA");
    }
    for (String key : UNSUPPORTED) {
      config
          .node(key)
          .filter(PeftConfig::isSet)
          .ifPresent(
              value -> {
                throw new UserError(config.where() + ": " + key + " " + value + " is not supported yet");
              });
    }
    String bias = config.text("bias", "none");
    if (!bias.equals("none")) {
      throw new UserError(config.where() + ": bias '" + bias + "' is not supported; supported: none");
    }
    config
        .node("init_lora_weights")
        .filter(init -> init.isTextual() && !HARMLESS_INITS.contains(init.textValue()))
        .ifPresent(
            init -> {
              throw new UserError(
                  config.where()
                      + ": init_lora_weights " + init + " is not supported: it changes the base's weights too");
            });
    ModuleFilter targets = modules(config, "target_modules");
    if (targets.isEmpty()) {
      throw new UserError(config.where() + ": target_modules is missing or empty");
    }
    var rankPattern = new LinkedHashMap<String, Integer>();
    config.object("rank_pattern").ifPresent(o -> o.keys().forEach(key -> rankPattern.put(key, o.positive(key))));
    var alphaPattern = new LinkedHashMap<String, Double>();
    config.object("alpha_pattern").ifPresent(o -> o.keys().forEach(key -> alphaPattern.put(key, o.number(key))));
    return new PeftConfig(
        config.text("base_model_name_or_path", ""),
        config.positive("r"),
        config.number("lora_alpha"),
        config.number("lora_dropout", 0),
        targets,
        modules(config, "exclude_modules"),
        layers(config),
        rankPattern,
        alphaPattern,
        config.flag("use_rslora", false));
  }

  private static ModuleFilter modules(HfConfig config, String key) {
    return config.node(key).filter(JsonNode::isTextual).isPresent()
        ? ModuleFilter.pattern(config.text(key))
        : ModuleFilter.names(config.texts(key));
  }

  private static List<Integer> layers(HfConfig config) {
    var layers = new ArrayList<Integer>();
    if (config.node("layers_to_transform").filter(JsonNode::isNumber).isPresent()) {
      layers.add(config.integer("layers_to_transform"));
    } else if (config.has("layers_to_transform")) {
      for (double layer : config.numbers("layers_to_transform")) {
        layers.add((int) layer);
      }
    }
    return layers;
  }

  private static boolean isSet(JsonNode value) {
    return value.isBoolean() ? value.booleanValue() : !value.isContainerNode() || !value.isEmpty();
  }

  /**
   * The modules that get an adapter, in the given order.
   *
   * @param linears names of the model's linear layers without the head, such as {@code model.layers.0.self_attn.q_proj}
   * @throws UserError when none fits, or a regex cannot be read
   */
  public List<String> resolve(Collection<String> linears) {
    List<String> chosen = linears.stream().filter(this::isTarget).toList();
    if (chosen.isEmpty()) {
      String wanted = targets.pattern() != null ? targets.pattern() : String.join(", ", targets.names());
      throw new UserError(FILE + ": target_modules '" + wanted + "' fits no linear layer of the model");
    }
    return chosen;
  }

  private boolean isTarget(String module) {
    if (excluded.matches(module) || !targets.matches(module)) {
      return false;
    }
    // As in PEFT, layers_to_transform narrows endings only, neither whole names nor a regex.
    if (layers.isEmpty() || targets.pattern() != null || targets.names().contains(module)) {
      return true;
    }
    var matcher = LAYER.matcher(module);
    return matcher.lookingAt() && layers.contains(Integer.parseInt(matcher.group(1)));
  }

  /** Rank of a module: r unless rank_pattern has a regex that fits it. */
  public int rank(String module) {
    return patterned(rankPattern, module, rank);
  }

  /** Alpha of a module: lora_alpha unless alpha_pattern has a regex that fits it. */
  public double alpha(String module) {
    return patterned(alphaPattern, module, alpha);
  }

  /** The factor on B A x: alpha/r, with rsLoRA alpha/sqrt(r). */
  public float scale(String module) {
    int r = rank(module);
    return (float) (alpha(module) / (rsLora ? Math.sqrt(r) : r));
  }

  private static <T> T patterned(Map<String, T> patterns, String module, T otherwise) {
    for (var e : patterns.entrySet()) {
      if (ModuleFilter.fits("(.*\\.)?(" + e.getKey() + ")", module)) {
        return e.getValue();
      }
    }
    return otherwise;
  }

  /** The file's text: every key that PEFT 0.21 writes, in its order, spelling and layout. */
  public String toJson() {
    return PeftJson.render(this);
  }
}
