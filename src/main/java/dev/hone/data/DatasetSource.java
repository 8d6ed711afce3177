package dev.hone.data;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.hone.config.UserError;
import dev.hone.text.Role;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;

/**
 * A file of rows and how to read them.
 *
 * @param name as the user named it
 * @param file .json or .jsonl, perhaps gzipped
 * @param form null: recognised from the first row
 * @param columns names of the fields
 * @param tags names inside a message
 * @param samples rows to take at most, -1 all
 */
public record DatasetSource(String name, Path file, Form form, Columns columns, Tags tags, int samples) {
  private static final ObjectMapper JSON = new ObjectMapper();

  /** Field names; null where the dataset has no such field. {@code text} is read at stage pt. */
  public record Columns(
      String prompt,
      String query,
      String response,
      String history,
      String messages,
      String system,
      String tools,
      String text) {
    static final Columns DEFAULT =
        new Columns("instruction", "input", "output", "history", null, "system", "tools", "text");
  }

  /**
   * Names inside a message.
   *
   * @param role field of the speaker, null: from or role
   * @param content field of what is said, null: value or content
   * @param speakers who is meant by a name; system is not among them
   * @param system the system message's speaker
   */
  public record Tags(String role, String content, Map<String, Role> speakers, String system) {
    static final Tags DEFAULT =
        new Tags(
            null,
            null,
            Map.of(
                "human",
                Role.USER,
                "user",
                Role.USER,
                "gpt",
                Role.ASSISTANT,
                "assistant",
                Role.ASSISTANT,
                "model",
                Role.ASSISTANT,
                "function_call",
                Role.FUNCTION,
                "observation",
                Role.OBSERVATION,
                "tool",
                Role.OBSERVATION),
            "system");
  }

  /** A file whose fields have their usual names. */
  public static DatasetSource of(Path file) {
    return new DatasetSource(file.toString(), file, null, Columns.DEFAULT, Tags.DEFAULT, -1);
  }

  /**
   * Finds what the setting {@code dataset} names: files, or names of {@code directory}/dataset_info.json as
   * LLaMA-Factory has it.
   *
   * @param names files or names
   * @param directory of dataset_info.json and of the files it names; need not exist when all are files
   * @param locate finds the file meant by a path
   * @throws UserError for a name that is neither, or an entry that cannot be read from files
   */
  public static List<DatasetSource> resolve(List<String> names, Path directory, Function<String, Path> locate) {
    List<DatasetSource> sources = new ArrayList<>();
    for (String name : names) {
      Path file = locate.apply(name);
      boolean looksLikeFile = name.matches("(?i).*\\.(json|jsonl)(\\.gz)?");
      if (Files.isRegularFile(file)) {
        sources.add(new DatasetSource(name, file, null, Columns.DEFAULT, Tags.DEFAULT, -1));
      } else if (Files.isDirectory(file)) {
        throw UserError.of("dataset %s is a folder; name its files, separated by commas", name);
      } else if (looksLikeFile) {
        throw UserError.of("dataset %s: no such file (%s)", name, file);
      } else {
        sources.add(named(name, directory));
      }
    }
    return sources;
  }

  private static DatasetSource named(String name, Path directory) {
    Path info = directory.resolve("dataset_info.json");
    if (!Files.isRegularFile(info)) {
      throw UserError.of("dataset %s is no file, and there is no %s to look the name up in", name, info);
    }
    JsonNode all;
    try {
      all = JSON.readTree(info.toFile());
    } catch (JsonProcessingException e) {
      throw new UserError(
          "%s:%d: not valid JSON: %s".formatted(info, e.getLocation().getLineNr(), JsonRows.reason(e)), e);
    } catch (IOException e) {
      throw new UserError(info + " cannot be read: " + e.getMessage(), e);
    }
    JsonNode entry = all.path(name);
    if (!entry.isObject()) {
      List<String> known = new ArrayList<>();
      all.fieldNames().forEachRemaining(known::add);
      throw UserError.of(
          "dataset %s is neither a file nor a name in %s, which has %s", name, info, String.join(", ", known));
    }
    String where = info + ": " + name;
    if (!entry.path("file_name").isTextual()) {
      throw UserError.of(
          "%s has no file_name; Hone reads local files only: download the dataset and name its file", where);
    }
    if (entry.path("ranking").asBoolean()) {
      throw UserError.of(
          "%s is a preference dataset (ranking: true), which stages pt and sft cannot learn from", where);
    }
    Path file = directory.resolve(entry.path("file_name").asText());
    if (!Files.isRegularFile(file)) {
      throw UserError.of("%s names the file %s, which does not exist", where, file);
    }
    return new DatasetSource(
        name, file, form(entry, where), columns(entry, where), tags(entry), entry.path("num_samples").asInt(-1));
  }

  /** Without formatting and columns the first row decides, with columns LLaMA-Factory's default alpaca holds. */
  private static Form form(JsonNode entry, String where) {
    return switch (entry.path("formatting").asText("")) {
      case "" -> entry.has("columns") ? Form.ALPACA : null;
      case "alpaca" -> Form.ALPACA;
      case "sharegpt" -> Form.SHAREGPT;
      case "openai" -> Form.MESSAGES;
      default ->
          throw UserError.of(
              "%s: formatting is %s; known are alpaca, sharegpt and openai", where, entry.path("formatting").asText());
    };
  }

  /** As in LLaMA-Factory, once columns are given those not named do not exist. */
  private static Columns columns(JsonNode entry, String where) {
    JsonNode c = entry.path("columns");
    if (!c.isObject()) {
      return Columns.DEFAULT;
    }
    for (String media : new String[] {"images", "videos", "audios", "kto_tag"}) {
      if (c.has(media)) {
        throw UserError.of("%s: the column %s is not supported", where, media);
      }
    }
    String prompt = c.path("prompt").asText(null);
    return new Columns(
        prompt,
        c.path("query").asText(null),
        c.path("response").asText(null),
        c.path("history").asText(null),
        c.path("messages").asText(null),
        c.path("system").asText(null),
        c.path("tools").asText(null),
        prompt);
  }

  private static Tags tags(JsonNode entry) {
    JsonNode t = entry.path("tags");
    if (!t.isObject()) {
      return Tags.DEFAULT;
    }
    Map<String, Role> speakers = new HashMap<>(Tags.DEFAULT.speakers());
    Map<String, Role> keys =
        Map.of(
            "user_tag", Role.USER,
            "assistant_tag", Role.ASSISTANT,
            "observation_tag", Role.OBSERVATION,
            "function_tag", Role.FUNCTION);
    keys.forEach(
        (key, role) -> {
          if (t.has(key)) {
            speakers.put(t.path(key).asText(), role);
          }
        });
    return new Tags(
        t.path("role_tag").asText(null),
        t.path("content_tag").asText(null),
        Map.copyOf(speakers),
        t.path("system_tag").asText("system"));
  }
}
