package dev.hone.config;

import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.api.lowlevel.Compose;
import org.snakeyaml.engine.v2.common.ScalarStyle;
import org.snakeyaml.engine.v2.exceptions.Mark;
import org.snakeyaml.engine.v2.exceptions.MarkedYamlEngineException;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;
import org.snakeyaml.engine.v2.nodes.MappingNode;
import org.snakeyaml.engine.v2.nodes.Node;
import org.snakeyaml.engine.v2.nodes.NodeTuple;
import org.snakeyaml.engine.v2.nodes.ScalarNode;
import org.snakeyaml.engine.v2.nodes.SequenceNode;

/**
 * The keys of one YAML file and of the command line that overrides it, each with its place, checked against {@link
 * Keys}.
 */
final class Settings {
  private record Given(Value value, Origin origin) {}

  private final String file;
  private final Map<String, Given> given = new LinkedHashMap<>();

  private Settings(String file) {
    this.file = file;
  }

  /**
   * Reads and checks a file.
   *
   * @param overrides {@code key=value} each, in YAML's spelling; they win over the file
   * @throws UserError for a file that cannot be read, a key that is unknown, twice, refused or of the wrong type
   */
  static Settings read(Path path, List<String> overrides) {
    Settings settings = new Settings(path.toString());
    settings.addFile(path);
    settings.addOverrides(overrides);
    settings.given.forEach(settings::check);
    return settings;
  }

  private void addFile(Path path) {
    if (!Files.isRegularFile(path)) {
      throw UserError.of("%s: no such file; give the path of a YAML file", file);
    }
    Node root;
    try (InputStream in = Files.newInputStream(path)) {
      LoadSettings marked = LoadSettings.builder().setLabel(file).setUseMarks(true).setAllowNonScalarKeys(true).build();
      root = new Compose(marked).composeInputStream(in).orElse(null);
    } catch (IOException e) {
      throw new UserError(file + ": cannot be read: " + e.getMessage(), e);
    } catch (YamlEngineException e) {
      throw notYaml(file, e);
    }
    if (root == null) {
      throw UserError.of("%s: the file is empty; give at least model_name_or_path, dataset and output_dir", file);
    }
    if (!(root instanceof MappingNode mapping)) {
      throw UserError.of("%s: want `key: value` lines", origin(root));
    }
    for (NodeTuple tuple : mapping.getValue()) {
      Origin origin = origin(tuple.getKeyNode());
      String name = tuple.getKeyNode() instanceof ScalarNode s ? s.getValue() : "";
      if (name.isEmpty()) {
        throw UserError.of("%s: want a `key: value` line with a plain key", origin);
      }
      put(name, new Given(value(tuple.getValueNode()), origin));
    }
  }

  private void addOverrides(List<String> overrides) {
    Settings line = new Settings(Origin.COMMAND_LINE);
    for (String override : overrides) {
      int at = override.indexOf('=');
      if (at <= 0) {
        throw UserError.of("command line: `%s`: want key=value, such as learning_rate=1e-4", override);
      }
      Node node;
      try {
        node = new Compose(LoadSettings.builder().build()).composeString(override.substring(at + 1)).orElse(null);
      } catch (YamlEngineException e) {
        throw notYaml("command line: " + override, e);
      }
      Value value = node == null ? new Value.Scalar("", false) : value(node);
      line.put(override.substring(0, at).strip(), new Given(value, new Origin(Origin.COMMAND_LINE, 0, 0)));
    }
    given.putAll(line.given);
  }

  private void put(String typed, Given setting) {
    String name = Keys.canonical(typed);
    Given first = given.putIfAbsent(name, setting);
    if (first != null) {
      throw UserError.of("%s: %s is given twice%s; keep one", setting.origin, typed,
          first.origin.line() > 0 ? ", first on line " + first.origin.line() : "");
    }
  }

  private void check(String name, Given setting) {
    Key<?> key = Keys.all().get(name);
    if (key == null) {
      throw UserError.of("%s: %s", setting.origin, Keys.unknown(name));
    }
    if (setting.value.isNull()) {
      return;
    }
    if (key.status() == Key.Status.REFUSED) {
      if (!setting.value.toString().equalsIgnoreCase(key.standard())) {
        throw UserError.of("%s: %s is not supported: %s", setting.origin, name, key.meaning());
      }
    } else if (key.kind().parse(setting.value).isEmpty()) {
      throw UserError.of("%s: %s is `%s`; want %s", setting.origin, name, setting.value, key.kind().want());
    }
  }

  /** The value given, or the default; empty when there is neither. */
  <T> Optional<T> find(Key<T> key) {
    return isGiven(key) ? key.kind().parse(given.get(key.name()).value) : key.standardValue();
  }

  /** The value given, or the default, of a key that has one or must be given. */
  <T> T get(Key<T> key) {
    return find(key).orElseThrow(() -> UserError.of("%s: %s is missing: %s", file, key.name(), key.meaning()));
  }

  /** Whether the key has a value in the file or on the command line; null is no value. */
  boolean isGiven(Key<?> key) {
    Given setting = given.get(key.name());
    return setting != null && !setting.value.isNull();
  }

  /** Where the key is given; the file alone when it is not. */
  Origin origin(String name) {
    Given setting = given.get(name);
    return setting == null ? new Origin(file, 0, 0) : setting.origin;
  }

  /** A mistake in a key's value, with its place. */
  UserError mistake(Key<?> key, String format, Object... args) {
    return UserError.of("%s: %s", origin(key.name()), format.formatted(args));
  }

  /** One line for every key given that has no effect, with the reason. */
  List<String> idle() {
    List<String> lines = new ArrayList<>();
    given.forEach((name, setting) -> {
      Key<?> key = Keys.all().get(name);
      if (key.status() == Key.Status.NO_EFFECT && !setting.value.isNull()) {
        lines.add(setting.origin + ": " + name + " has no effect: " + key.meaning());
      }
    });
    return lines;
  }

  private static Value value(Node node) {
    return switch (node) {
      case ScalarNode s -> new Value.Scalar(s.getValue(), s.getScalarStyle() != ScalarStyle.PLAIN);
      case SequenceNode s when s.getValue().stream().allMatch(ScalarNode.class::isInstance) ->
          new Value.Items(s.getValue().stream().map(n -> ((ScalarNode) n).getValue()).toList());
      default -> new Value.Nested();
    };
  }

  private Origin origin(Node node) {
    return node.getStartMark().map(m -> new Origin(file, m.getLine() + 1, m.getColumn() + 1))
        .orElse(new Origin(file, 0, 0));
  }

  private static UserError notYaml(String where, YamlEngineException e) {
    if (e instanceof MarkedYamlEngineException marked) {
      Optional<Mark> mark = marked.getProblemMark();
      String place = mark.map(m -> ":" + (m.getLine() + 1) + ":" + (m.getColumn() + 1)).orElse("");
      return new UserError(where + place + ": not valid YAML: " + marked.getProblem(), e);
    }
    return new UserError(where + ": not valid YAML: " + e.getMessage().lines().findFirst().orElse(""), e);
  }
}
