package dev.hone.testing;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;

/**
 * hone.h as its text says: functions, enum constants and structs. It knows the C that the header uses and no more.
 *
 * @param functions name to result and parameters
 * @param constants enum constants and defines to values
 * @param structs name to fields
 */
public record HoneHeader(Map<String, Function> functions, Map<String, Integer> constants, Map<String,
    List<Field>> structs) {

  /** What a C type is to a binding. */
  public enum Type {
    ADDRESS(8),
    JAVA_INT(4),
    JAVA_LONG(8),
    JAVA_FLOAT(4);

    public final int bytes;

    Type(int bytes) {
      this.bytes = bytes;
    }

    static Type of(String c) {
      return switch (c.replaceAll("\\bconst\\b", "").strip()) {
        case String s when s.endsWith("*") -> ADDRESS;
        case "int32_t" -> JAVA_INT;
        case "int64_t", "uint64_t" -> JAVA_LONG;
        case "float" -> JAVA_FLOAT;
        default -> throw new IllegalArgumentException("hone.h: unknown type `" + c + "`");
      };
    }
  }

  public record Function(Type result, List<Type> parameters) {}

  /** @param count 1, or the length of an array */
  public record Field(String name, Type type, int count) {}

  private static final Pattern FUNCTION = Pattern.compile("HONE_API\\s+([\\w\\s]+?[\\s*]+)(hone_\\w+)\\s*\\(([^)]*)\\)\\s*;");
  private static final Pattern STRUCT = Pattern.compile("typedef\\s+struct\\s+(\\w+)\\s*\\{([^}]*)}");
  private static final Pattern FIELD = Pattern.compile("([\\w\\s]+?[\\s*]+)(\\w+)(?:\\[(\\d+)])?\\s*;");
  private static final Pattern CONSTANT = Pattern.compile("(?:#define\\s+)?\\b(HONE_[A-Z0-9_]+)\\s*(?:=|\\s)\\s*(\\d+)");

  /** Parses src/main/c/hone.h of this checkout. */
  public static HoneHeader read() throws IOException {
    String text = Files.readString(Path.of(System.getProperty("hone.root", "."), "src/main/c/hone.h"))
        .replaceAll("(?s)/\\*.*?\\*/", " ");
    Map<String, Function> functions = new LinkedHashMap<>();
    FUNCTION.matcher(text).results().forEach(m -> functions.put(m.group(2), function(m)));
    Map<String, Integer> constants = new LinkedHashMap<>();
    CONSTANT.matcher(text).results().forEach(m -> constants.put(m.group(1), Integer.valueOf(m.group(2))));
    Map<String, List<Field>> structs = new LinkedHashMap<>();
    STRUCT.matcher(text).results().forEach(m -> structs.put(m.group(1), fields(m.group(2))));
    return new HoneHeader(functions, constants, structs);
  }

  private static Function function(MatchResult m) {
    List<Type> parameters = new ArrayList<>();
    for (String parameter : m.group(3).split(",")) {
      if (!parameter.strip().equals("void")) {
        parameters.add(Type.of(parameter.strip().replaceFirst("\\w+$", "").strip()));
      }
    }
    return new Function(Type.of(m.group(1).strip()), List.copyOf(parameters));
  }

  private static List<Field> fields(String body) {
    return FIELD.matcher(body).results()
        .map(m -> new Field(m.group(2), Type.of(m.group(1).strip()), m.group(3) == null ? 1
        : Integer.parseInt(m.group(3))))
        .toList();
  }
}
