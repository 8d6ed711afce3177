package dev.hone.format;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.hone.config.UserError;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Optional;

/**
 * A model's config.json, with generation_config.json beside it, read by type. A key counts as absent when it is missing
 * or null; case of letters does not matter where the exact key is missing. Every getter that meets a value of another
 * type throws a {@link UserError} that names file, key, value and what is wanted.
 */
public final class HfConfig {
  private final String where;
  private final String prefix;
  private final ObjectNode root;
  private final HfConfig generation;

  private HfConfig(String where, String prefix, ObjectNode root, HfConfig generation) {
    this.where = where;
    this.prefix = prefix;
    this.root = root;
    this.generation = generation;
  }

  /** Reads the two files of a model's folder; generation_config.json may be missing. */
  public static HfConfig read(Path folder) {
    if (!Files.isDirectory(folder)) {
      throw noFolder(folder);
    }
    Path file = folder.resolve("config.json");
    if (!Files.exists(file)) {
      throw new UserError(folder + ": has no config.json; model_name_or_path wants a Hugging Face model folder");
    }
    Path generationFile = folder.resolve("generation_config.json");
    HfConfig generation =
        Files.exists(generationFile)
            ? new HfConfig(generationFile.toString(), "", JsonFile.read(generationFile), null)
            : null;
    return new HfConfig(file.toString(), "", JsonFile.read(file), generation);
  }

  static UserError noFolder(Path folder) {
    return new UserError(
        folder + ": no such folder; model_name_or_path wants a folder with config.json and *.safetensors");
  }

  /** A config from text, without a generation_config.json. */
  public static HfConfig parse(String json, String where) {
    return new HfConfig(where, "", JsonFile.parse(json, where), null);
  }

  /** A config over an object that was read already. */
  static HfConfig of(ObjectNode root, String where) {
    return new HfConfig(where, "", root, null);
  }

  /** The file, for messages. */
  public String where() {
    return where;
  }

  /** The value of a key, empty when it is missing or null. */
  public Optional<JsonNode> node(String key) {
    return Optional.ofNullable(find(key)).filter(value -> !value.isNull());
  }

  private JsonNode find(String key) {
    JsonNode value = root.get(key);
    if (value != null) {
      return value;
    }
    for (var field : root.properties()) {
      if (field.getKey().equalsIgnoreCase(key)) {
        return field.getValue();
      }
    }
    return null;
  }

  public boolean has(String key) {
    return node(key).isPresent();
  }

  /** Whether the key stands in the file, be it with null, which some keys tell from absence. */
  public boolean declares(String key) {
    return find(key) != null;
  }

  public int integer(String key) {
    return asInt(key, required(key));
  }

  public int integer(String key, int absent) {
    return node(key).map(value -> asInt(key, value)).orElse(absent);
  }

  /** As {@link #integer}, at least 1. */
  public int positive(String key) {
    int value = integer(key);
    if (value < 1) {
      throw wrong(key, required(key), "a number above 0");
    }
    return value;
  }

  public double number(String key) {
    return asDouble(key, required(key));
  }

  public double number(String key, double absent) {
    return node(key).map(value -> asDouble(key, value)).orElse(absent);
  }

  public boolean flag(String key, boolean absent) {
    return node(key).map(value -> asBoolean(key, value)).orElse(absent);
  }

  public String text(String key) {
    return asText(key, required(key));
  }

  public String text(String key, String absent) {
    return node(key).map(value -> asText(key, value)).orElse(absent);
  }

  /** A list of strings, empty when absent. */
  public List<String> texts(String key) {
    return elements(key).stream().map(value -> asText(key, value)).toList();
  }

  /** A list of numbers. */
  public double[] numbers(String key) {
    required(key);
    return elements(key).stream().mapToDouble(value -> asDouble(key, value)).toArray();
  }

  /** A nested object as a config of its own, empty when absent. */
  public Optional<HfConfig> object(String key) {
    return node(key)
        .map(
            value -> {
              if (value instanceof ObjectNode object) {
                return new HfConfig(where, prefix + key + ".", object, null);
              }
              throw wrong(key, value, "an object {...}");
            });
  }

  /** The keys in the file's order. */
  public List<String> keys() {
    return root.properties().stream().map(java.util.Map.Entry::getKey).toList();
  }

  /**
   * Tokens that end a generation: those of generation_config.json, then those of config.json; empty when neither has
   * any.
   */
  public List<Integer> eosIds() {
    var ids = new LinkedHashSet<Integer>();
    if (generation != null) {
      ids.addAll(generation.ids("eos_token_id"));
    }
    ids.addAll(ids("eos_token_id"));
    return List.copyOf(ids);
  }

  /** A single token id of config.json, else of generation_config.json, -1 when neither has it. */
  public int tokenId(String key) {
    Collection<Integer> own = ids(key);
    if (own.isEmpty() && generation != null) {
      own = generation.ids(key);
    }
    return own.isEmpty() ? -1 : own.iterator().next();
  }

  private Collection<Integer> ids(String key) {
    var ids = new ArrayList<Integer>();
    node(key)
        .ifPresent(
            value -> {
              if (value.isArray()) {
                value.forEach(id -> ids.add(asInt(key, id)));
              } else {
                ids.add(asInt(key, value));
              }
            });
    ids.removeIf(id -> id < 0);
    return ids;
  }

  /** {@code where: key is value, want wanted}. */
  public UserError wrong(String key, Object value, String wanted) {
    return new UserError(where + ": " + prefix + key + " is " + value + ", want " + wanted);
  }

  private JsonNode required(String key) {
    return node(key).orElseThrow(() -> new UserError(where + ": " + prefix + key + " is missing"));
  }

  private List<JsonNode> elements(String key) {
    JsonNode value = node(key).orElse(JsonNodeFactory.instance.arrayNode());
    if (!value.isArray()) {
      throw wrong(key, value, "a list [...]");
    }
    var out = new ArrayList<JsonNode>();
    value.forEach(out::add);
    return out;
  }

  private int asInt(String key, JsonNode value) {
    double number = value.isNumber() ? value.doubleValue() : Double.NaN;
    if (number == Math.rint(number) && Math.abs(number) < 1L << 31) {
      return (int) number;
    }
    throw wrong(key, value, "a whole number");
  }

  private double asDouble(String key, JsonNode value) {
    if (value.isNumber() && Double.isFinite(value.doubleValue())) {
      return value.doubleValue();
    }
    throw wrong(key, value, "a number");
  }

  private boolean asBoolean(String key, JsonNode value) {
    if (value.isBoolean()) {
      return value.booleanValue();
    }
    throw wrong(key, value, "true or false");
  }

  private String asText(String key, JsonNode value) {
    if (value.isTextual()) {
      return value.textValue();
    }
    throw wrong(key, value, "a string");
  }
}
