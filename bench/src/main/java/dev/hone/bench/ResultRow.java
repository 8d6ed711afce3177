package dev.hone.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/** A row of a CSV file of bench/results, by the names of its header. Fields may be quoted; no line ends inside one. */
record ResultRow(Map<String, String> fields) {

  static List<ResultRow> of(Path csv) throws IOException {
    List<String> lines = Files.readAllLines(csv);
    List<String> names = split(lines.getFirst());
    List<ResultRow> rows = new ArrayList<>();
    for (String line : lines.subList(1, lines.size())) {
      List<String> values = split(line);
      if (values.size() != names.size()) {
        throw new IOException(csv + ": " + values.size() + " fields, want " + names.size() + ": " + line);
      }
      Map<String, String> fields = new HashMap<>();
      for (int i = 0; i < names.size(); i++) {
        fields.put(names.get(i), values.get(i));
      }
      rows.add(new ResultRow(fields));
    }
    return rows;
  }

  String text(String name) {
    return fields.get(name);
  }

  double number(String name) {
    return Double.parseDouble(fields.get(name));
  }

  /** Whose figures they are: rows of two machines are never compared. */
  String machine() {
    return text("cpu") + ", " + text("threads") + " threads";
  }

  private static List<String> split(String line) {
    List<String> fields = new ArrayList<>();
    StringBuilder field = new StringBuilder();
    boolean quoted = false;
    for (int i = 0; i < line.length(); i++) {
      char c = line.charAt(i);
      if (c == '"' && quoted && i + 1 < line.length() && line.charAt(i + 1) == '"') {
        field.append(c);
        i++;
      } else if (c == '"') {
        quoted = !quoted;
      } else if (c == ',' && !quoted) {
        fields.add(field.toString());
        field.setLength(0);
      } else {
        field.append(c);
      }
    }
    fields.add(field.toString());
    return fields;
  }
}
