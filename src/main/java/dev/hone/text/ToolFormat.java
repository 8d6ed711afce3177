package dev.hone.text;

import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import java.util.ArrayList;
import java.util.List;

/**
 * How tools are described in the system message and how an assistant calls them. The strings are those the models were
 * trained with (the Llama 3.1, Mistral v3 and Qwen 2.5 chat templates) and, for {@link #DEFAULT}, LLaMA-Factory's.
 */
public enum ToolFormat {
  DEFAULT {
    @Override
    String describe(List<JsonNode> tools) {
      StringBuilder text = new StringBuilder();
      List<String> names = new ArrayList<>();
      for (JsonNode wrapped : tools) {
        JsonNode tool = unwrap(wrapped);
        String name = tool.path("name").asText();
        names.add(name);
        text.append("> Tool Name: ").append(name);
        text.append("\nTool Description: ").append(tool.path("description").asText()).append("\nTool Args:\n");
        JsonNode parameters = tool.path("parameters");
        parameters
            .path("properties")
            .properties()
            .forEach(p -> text.append(argument(p.getKey(), p.getValue(), parameters.path("required"))));
        text.append('\n');
      }
      return "You have access to the following tools:\n"
          + text
          + "Use the following format if using a tool:\n```\n"
          + "Action: tool name (one of ["
          + String.join(", ", names)
          + "])\n"
          + "Action Input: the input to the tool, in a JSON format representing the kwargs "
          + "(e.g. ```{\"input\": \"hello world\", \"num_beams\": 5}```)\n```\n";
    }

    @Override
    String write(List<JsonNode> calls) {
      return lines(
          calls.stream()
              .map(
                  c ->
                      "Action: "
                          + c.path("name").asText()
                          + "\nAction Input: "
                          + SpacedJson.write(form(c, "arguments").path("arguments")))
              .toList());
    }
  },
  LLAMA3 {
    @Override
    String describe(List<JsonNode> tools) {
      // The published template's date when none is given: a run must not depend on the day it is made.
      StringBuilder text =
          new StringBuilder(
              "Cutting Knowledge Date: December 2023\n"
                  + "Today Date: 26 Jul 2024\n\n"
                  + "You have access to the following functions. To call a function, please respond with JSON for a"
                  + " function call. Respond in the format {\"name\": function name, \"parameters\": dictionary of"
                  + " argument name and its value}. Do not use variables.\n\n");
      tools.forEach(tool -> text.append(SpacedJson.writeIndented(wrap(tool), 4)).append("\n\n"));
      return text.toString();
    }

    @Override
    String write(List<JsonNode> calls) {
      List<JsonNode> renamed = calls.stream().map(c -> form(c, "parameters")).toList();
      return renamed.size() == 1 ? SpacedJson.write(renamed.getFirst()) : SpacedJson.write(list(renamed));
    }
  },
  MISTRAL {
    @Override
    String describe(List<JsonNode> tools) {
      return "[AVAILABLE_TOOLS] "
          + SpacedJson.write(list(tools.stream().map(ToolFormat::wrap).toList()))
          + "[/AVAILABLE_TOOLS]";
    }

    @Override
    String write(List<JsonNode> calls) {
      return SpacedJson.write(list(calls.stream().map(c -> form(c, "arguments")).toList()));
    }
  },
  QWEN {
    @Override
    String describe(List<JsonNode> tools) {
      StringBuilder text =
          new StringBuilder(
              "\n\n# Tools\n\nYou may call one or more functions to assist with the user query."
                  + "\n\nYou are provided with function signatures within <tools></tools> XML tags:\n<tools>");
      tools.forEach(tool -> text.append('\n').append(SpacedJson.write(wrap(tool))));
      return text
          + "\n</tools>\n\nFor each function call, return a json object with function name and arguments within "
          + "<tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, "
          + "\"arguments\": <args-json-object>}\n</tool_call>";
    }

    @Override
    String write(List<JsonNode> calls) {
      return lines(
          calls.stream()
              .map(c -> "<tool_call>\n" + SpacedJson.write(form(c, "arguments")) + "\n</tool_call>")
              .toList());
    }
  };

  private static final ObjectMapper JSON = new ObjectMapper();

  abstract String describe(List<JsonNode> tools);

  abstract String write(List<JsonNode> calls);

  /**
   * The text that tells the model of its tools; {@code json} is a list of descriptions, empty text for an empty list.
   */
  public String describe(String json) {
    List<JsonNode> tools = items(json, "tools");
    return tools.isEmpty() ? "" : describe(tools);
  }

  /** The text of a tool call; {@code json} is {"name": ..., "arguments": {...}} or a list of such. */
  public String call(String json) {
    List<JsonNode> calls = items(json, "the function call");
    for (JsonNode call : calls) {
      if (!call.path("name").isTextual() || call.path("arguments").isMissingNode()) {
        throw new IllegalArgumentException("a function call must have \"name\" and \"arguments\"");
      }
    }
    return write(calls);
  }

  private static List<JsonNode> items(String json, String what) {
    try {
      JsonNode tree = JSON.readTree(json);
      List<JsonNode> items = new ArrayList<>();
      if (tree.isArray()) {
        tree.forEach(items::add);
      } else {
        items.add(tree);
      }
      if (!items.stream().allMatch(JsonNode::isObject)) {
        throw new IllegalArgumentException(what + " must be JSON objects");
      }
      return items;
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException(what + " is not valid JSON: " + TokenizerFiles.reason(e), e);
    }
  }

  private static String argument(String name, JsonNode schema, JsonNode required) {
    boolean must = false;
    for (JsonNode r : required) {
      must |= r.asText().equals(name);
    }
    List<String> values = new ArrayList<>();
    schema.path("enum").forEach(v -> values.add(v.asText()));
    return "  - "
        + name
        + " ("
        + schema.path("type").asText()
        + (must ? ", required" : "")
        + "): "
        + schema.path("description").asText()
        + (values.isEmpty() ? "" : ", should be one of [" + String.join(", ", values) + "]")
        + (schema.path("items").isEmpty()
            ? ""
            : ", where each item should be " + schema.path("items").path("type").asText())
        + "\n";
  }

  private static JsonNode unwrap(JsonNode tool) {
    return tool.path("type").asText().equals("function") ? tool.path("function") : tool;
  }

  private static JsonNode wrap(JsonNode tool) {
    return tool.path("type").asText().equals("function")
        ? tool
        : JsonNodeFactory.instance.objectNode().put("type", "function").set("function", tool);
  }

  private static JsonNode form(JsonNode call, String argumentsName) {
    ObjectNode renamed = JsonNodeFactory.instance.objectNode().put("name", call.path("name").asText());
    JsonNode arguments = call.path("arguments");
    return renamed.set(argumentsName, arguments.isTextual() ? parsed(arguments.asText()) : arguments);
  }

  /** OpenAI's tool calls carry their arguments as a string of JSON. */
  private static JsonNode parsed(String json) {
    try {
      return JSON.readTree(json);
    } catch (JsonProcessingException e) {
      throw new IllegalArgumentException(
          "the arguments of a function call are not valid JSON: " + TokenizerFiles.reason(e), e);
    }
  }

  private static JsonNode list(List<JsonNode> items) {
    return JsonNodeFactory.instance.arrayNode().addAll(items);
  }

  private static String lines(List<String> lines) {
    return String.join("\n", lines);
  }
}
