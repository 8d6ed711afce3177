package dev.hone.data;

import com.fasterxml.jackson.databind.JsonNode;
import java.util.Arrays;
import java.util.Locale;
import java.util.Optional;
import java.util.stream.Collectors;

/** How the rows of a dataset are written (CONVENTIONS, formats.md). */
public enum Form {
  /** instruction, input, output; optional system, history [[question, answer], ...]. */
  ALPACA,
  /** messages [{role, content}], optional tools. */
  MESSAGES,
  /** conversations [{from, value}], optional system and tools. */
  SHAREGPT,
  /** text, for continued pre-training. */
  TEXT,
  /** input_ids, optional labels, position_ids, attention_mask. */
  TOKENIZED;

  /** The form of a name, as {@code dataset_format} gives it. */
  public static Optional<Form> named(String name) {
    return Arrays.stream(values()).filter(f -> f.key().equals(name)).findFirst();
  }

  /** The name in settings. */
  public String key() {
    return name().toLowerCase(Locale.ROOT);
  }

  static String keys() {
    return Arrays.stream(values()).map(Form::key).collect(Collectors.joining(", "));
  }

  /** The form of a row by its fields; throws {@link RowError} when they do not tell, or tell of preferences. */
  static Form recognise(JsonNode row) {
    if (row.has("input_ids")) {
      return TOKENIZED;
    }
    if (row.has("chosen") || row.has("rejected")) {
      throw new RowError("this is a preference dataset (chosen, rejected), which stages pt and sft cannot learn from");
    }
    boolean conversation = row.has("conversations") || row.has("messages");
    if (conversation && (row.path("label").isBoolean() || row.path("kto_tag").isBoolean())) {
      throw new RowError(
          "this is a KTO dataset (answers labelled true and false); set dataset_format: "
              + (row.has("messages") ? "messages" : "sharegpt")
              + " to learn every answer all the same");
    }
    if (row.has("conversations")) {
      return SHAREGPT;
    }
    if (row.has("messages")) {
      return MESSAGES;
    }
    if (row.has("instruction")) {
      return ALPACA;
    }
    if (row.has("text")) {
      return TEXT;
    }
    StringBuilder fields = new StringBuilder();
    row.fieldNames().forEachRemaining(f -> fields.append(fields.isEmpty() ? "" : ", ").append(f));
    throw new RowError(
        "the fields ("
            + fields
            + ") are those of no known form; known are instruction/output (alpaca), messages, conversations (sharegpt),"
            + " text and input_ids (tokenized); other names can be mapped in dataset_info.json");
  }
}
