package dev.hone.data;

import com.fasterxml.jackson.databind.JsonNode;
import dev.hone.text.Conversation;
import dev.hone.text.Message;
import dev.hone.text.Role;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import java.util.stream.IntStream;

/**
 * Reads the rows of one source. Every method throws {@link RowError} for a row that does not have what its form needs.
 */
final class RowParser {
  private final Form form;
  private final DatasetSource.Columns columns;
  private final DatasetSource.Tags tags;

  RowParser(Form form, DatasetSource.Columns columns, DatasetSource.Tags tags) {
    this.form = form;
    this.columns = columns;
    this.tags = tags;
  }

  Row parse(JsonNode row) {
    return switch (form) {
      case ALPACA -> new Row.Chat(alpaca(row));
      case SHAREGPT -> new Row.Chat(conversation(row, "conversations"));
      case MESSAGES -> new Row.Chat(conversation(row, "messages"));
      case TEXT -> new Row.Plain(required(row, columns.text()));
      case TOKENIZED -> new Row.Tokens(tokens(row));
    };
  }

  private Conversation alpaca(JsonNode row) {
    List<Message> messages = new ArrayList<>();
    JsonNode history = columns.history() == null ? row.path("") : row.path(columns.history());
    if (history.isArray()) {
      for (JsonNode pair : history) {
        if (pair.size() != 2 || !pair.path(0).isTextual() || !pair.path(1).isTextual()) {
          throw new RowError(columns.history() + " must be a list of [question, answer]");
        }
        messages.add(Message.user(pair.get(0).asText()));
        messages.add(Message.assistant(pair.get(1).asText()));
      }
    } else if (!history.isMissingNode() && !history.isNull()) {
      throw new RowError(columns.history() + " must be a list of [question, answer]");
    }
    if (columns.response() == null) {
      throw new RowError(
          "the dataset has no response column, so there is nothing to learn at stage sft; use stage: pt");
    }
    messages.add(new Message(Role.USER, required(row, columns.prompt()), optional(row, columns.query()), false));
    messages.add(Message.assistant(required(row, columns.response())));
    return new Conversation(optional(row, columns.system()), tools(row), messages);
  }

  private Conversation conversation(JsonNode row, String usual) {
    String column = columns.messages() != null ? columns.messages() : usual;
    JsonNode list = row.path(column);
    if (!list.isArray()) {
      throw new RowError(list.isMissingNode() ? "there is no field " + column : column + " must be a list of messages");
    }
    String system = optional(row, columns.system());
    List<Message> messages = new ArrayList<>();
    for (int i = 0; i < list.size(); i++) {
      JsonNode m = list.get(i);
      String where = column + "[" + i + "]";
      if (!m.isObject()) {
        throw new RowError(where + " must be an object");
      }
      String speaker = field(m, tags.role(), "from", "role", where).asText();
      if (i == 0 && (speaker.equals(tags.system()) || speaker.equals("developer"))) {
        system = content(m, where);
        continue;
      }
      Role role = tags.speakers().get(speaker);
      if (role == null) {
        throw new RowError(
            where
                + ": the speaker "
                + speaker
                + " is not known; known are "
                + String.join(", ", tags.speakers().keySet().stream().sorted().toList())
                + (speaker.equals(tags.system()) ? " (a system message must be the first)" : ""));
      }
      add(messages, message(role, m, where));
    }
    return new Conversation(system, tools(row), messages);
  }

  /** Answers of several tools in a row are one turn, as the Qwen template has them and LLaMA-Factory joins them. */
  private static void add(List<Message> messages, Message message) {
    boolean again =
        message.role() == Role.OBSERVATION && !messages.isEmpty() && messages.getLast().role() == Role.OBSERVATION;
    if (again) {
      String joint = messages.removeLast().content() + "\n</tool_response>\n<tool_response>\n" + message.content();
      messages.add(Message.of(Role.OBSERVATION, joint));
    } else {
      messages.add(message);
    }
  }

  private Message message(Role role, JsonNode m, String where) {
    boolean trained = role.answers();
    for (String key : new String[] {"weight", "loss_weight"}) {
      JsonNode weight = m.path(key);
      if (weight.isNumber() && weight.asDouble() != 0 && weight.asDouble() != 1) {
        throw new RowError(where + ": " + key + " is " + weight + "; only 0 (not learnt) and 1 are supported");
      }
      trained &= !weight.isNumber() || weight.asDouble() != 0;
    }
    JsonNode calls = m.path("tool_calls");
    if (role == Role.ASSISTANT && calls.isArray() && !calls.isEmpty()) {
      StringBuilder functions = new StringBuilder("[");
      for (JsonNode call : calls) {
        JsonNode function = call.path("function");
        if (!function.path("name").isTextual()) {
          throw new RowError(where + ": a tool call must have function.name");
        }
        functions.append(functions.length() > 1 ? "," : "").append(function);
      }
      return new Message(Role.FUNCTION, functions.append(']').toString(), "", trained);
    }
    return new Message(role, content(m, where), "", trained);
  }

  /** A string, or OpenAI's list of parts where all are text. */
  private String content(JsonNode m, String where) {
    JsonNode content = field(m, tags.content(), "value", "content", where);
    if (content.isTextual()) {
      return content.asText();
    }
    if (content.isNull()) {
      return "";
    }
    if (!content.isArray()) {
      throw new RowError(where + ": the content must be a string");
    }
    StringBuilder text = new StringBuilder();
    for (JsonNode part : content) {
      JsonNode value = part.has("text") ? part.get("text") : part.path("value");
      if (!part.path("type").asText("text").equals("text") || !value.isTextual()) {
        throw new RowError(
            where + ": content of type " + part.path("type").asText("?") + " is not supported, only text is");
      }
      text.append(value.asText());
    }
    return text.toString();
  }

  private static JsonNode field(JsonNode m, String name, String first, String second, String where) {
    JsonNode value = name != null ? m.path(name) : m.has(first) ? m.get(first) : m.path(second);
    if (value.isMissingNode()) {
      throw new RowError(where + " has no field " + (name != null ? name : first + " or " + second));
    }
    return value;
  }

  private String tools(JsonNode row) {
    JsonNode tools = columns.tools() == null ? row.path("") : row.path(columns.tools());
    if (tools.isTextual()) {
      return tools.asText();
    }
    return tools.isContainerNode() && !tools.isEmpty() ? tools.toString() : "";
  }

  private static String required(JsonNode row, String column) {
    JsonNode value = column == null ? row.path("") : row.path(column);
    if (!value.isTextual()) {
      throw new RowError(
          value.isMissingNode()
              ? "there is no field " + column
              : column + " must be a string, not " + value.getNodeType().name().toLowerCase(Locale.ROOT));
    }
    return value.asText();
  }

  private static String optional(JsonNode row, String column) {
    return column == null || !row.hasNonNull(column) ? "" : required(row, column);
  }

  private static Example tokens(JsonNode row) {
    int[] ids = ints(row, "input_ids", null);
    int[] labels = ints(row, "labels", ids);
    int[] counted = new int[ids.length];
    Arrays.setAll(counted, i -> i);
    int[] positions = ints(row, "position_ids", counted);
    int[] mask = ints(row, "attention_mask", ones(ids.length));
    for (int[] other : List.of(labels, positions, mask)) {
      if (other.length != ids.length) {
        throw new RowError(
            "input_ids has " + ids.length + " entries, but labels, position_ids or attention_mask has " + other.length);
      }
    }
    for (int i = 0; i < ids.length; i++) {
      if (positions[i] < 0 || labels[i] < 0 && labels[i] != Example.IGNORED) {
        throw new RowError("position_ids must not be negative, labels must be token ids or " + Example.IGNORED);
      }
    }
    int[] kept = IntStream.range(0, ids.length).filter(i -> mask[i] != 0).toArray();
    if (kept.length == 0) {
      throw new RowError("the row has no tokens");
    }
    return new Example(pick(ids, kept), pick(labels, kept), pick(positions, kept));
  }

  private static int[] ones(int n) {
    int[] ones = new int[n];
    Arrays.fill(ones, 1);
    return ones;
  }

  private static int[] pick(int[] values, int[] at) {
    return Arrays.stream(at).map(i -> values[i]).toArray();
  }

  private static int[] ints(JsonNode row, String column, int[] otherwise) {
    JsonNode list = row.path(column);
    if (otherwise != null && (list.isMissingNode() || list.isNull())) {
      return otherwise;
    }
    if (!list.isArray()) {
      throw new RowError(column + " must be a list of whole numbers");
    }
    int[] values = new int[list.size()];
    for (int i = 0; i < values.length; i++) {
      if (!list.get(i).isInt()) {
        throw new RowError(column + "[" + i + "] is " + list.get(i) + ", not a whole number");
      }
      values[i] = list.get(i).asInt();
    }
    return values;
  }
}
