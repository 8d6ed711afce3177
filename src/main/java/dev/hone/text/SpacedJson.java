package dev.hone.text;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.node.TextNode;
import java.util.Iterator;
import java.util.Map;

/**
 * JSON with a space after {@code :} and {@code ,}, as Python's json.dumps writes it and as tool prompts were trained.
 */
final class SpacedJson {
  private SpacedJson() {}

  static String write(JsonNode node) {
    StringBuilder out = new StringBuilder();
    write(node, out, -1, 0);
    return out.toString();
  }

  /** One field or item a line. */
  static String writeIndented(JsonNode node, int indent) {
    StringBuilder out = new StringBuilder();
    write(node, out, indent, 0);
    return out.toString();
  }

  private static void write(JsonNode node, StringBuilder out, int indent, int depth) {
    if (node.isObject()) {
      open(out, '{', indent, depth, node.isEmpty());
      for (Iterator<Map.Entry<String, JsonNode>> i = node.properties().iterator(); i.hasNext(); ) {
        Map.Entry<String, JsonNode> field = i.next();
        out.append(TextNode.valueOf(field.getKey())).append(": ");
        write(field.getValue(), out, indent, depth + 1);
        between(out, indent, depth, i.hasNext());
      }
      out.append('}');
    } else if (node.isArray()) {
      open(out, '[', indent, depth, node.isEmpty());
      for (Iterator<JsonNode> i = node.elements(); i.hasNext(); ) {
        write(i.next(), out, indent, depth + 1);
        between(out, indent, depth, i.hasNext());
      }
      out.append(']');
    } else {
      out.append(node);
    }
  }

  private static void open(StringBuilder out, char bracket, int indent, int depth, boolean empty) {
    out.append(bracket);
    if (indent >= 0 && !empty) {
      newline(out, indent * (depth + 1));
    }
  }

  private static void between(StringBuilder out, int indent, int depth, boolean more) {
    if (more) {
      out.append(indent >= 0 ? "," : ", ");
    }
    if (indent >= 0) {
      newline(out, indent * (more ? depth + 1 : depth));
    }
  }

  private static void newline(StringBuilder out, int spaces) {
    out.append('\n').append(" ".repeat(spaces));
  }
}
