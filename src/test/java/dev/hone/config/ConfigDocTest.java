package dev.hone.config;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.stream.Collectors;
import org.junit.jupiter.api.Test;

/** docs/config.md has the table of settings that the code has. {@code -Dhone.docs=write} brings it up to date. */
class ConfigDocTest {
  private static final String BEGIN = "<!-- begin: written by ConfigDocTest from dev.hone.config.Keys -->\n";
  private static final String END = "<!-- end -->\n";

  @Test
  void theTableOfTheDocumentationIsTheTableOfTheCode() throws IOException {
    Path doc = Path.of(System.getProperty("hone.root", "."), "docs/config.md");
    String text = Files.readString(doc);
    int begin = text.indexOf(BEGIN) + BEGIN.length();
    int end = text.indexOf(END);
    assertThat(text).contains(BEGIN, END);
    if ("write".equals(System.getProperty("hone.docs"))) {
      Files.writeString(doc, text.substring(0, begin) + table() + text.substring(end));
      return;
    }
    assertThat(text.substring(begin, end)).as("run mvn test -Dtest=ConfigDocTest -Dhone.docs=write").isEqualTo(table());
  }

  @Test
  void everyDefaultIsOfItsOwnKind() {
    assertThat(Keys.all().values()).filteredOn(k -> k.standard() != null && k.status() == Key.Status.HONOURED)
        .isNotEmpty().allSatisfy(k -> assertThat(k.standardValue()).as(k.name()).isPresent());
  }

  @Test
  void otherToolsSpellingsAreNotKeysThemselves() {
    assertThat(Keys.all().keySet()).doesNotContainAnyElementsOf(OtherKeys.SPELLINGS.keySet());
  }

  private static String table() {
    StringBuilder out = new StringBuilder();
    for (Key.Group group : Key.Group.values()) {
      List<Key<?>> keys = Keys.all().values().stream().filter(k -> k.group() == group).collect(Collectors.toList());
      out.append("\n## ").append(group.title).append("\n\n");
      switch (group) {
        case NO_EFFECT -> idle(out, keys);
        case REFUSED -> refused(out, keys);
        default -> honoured(out, keys);
      }
    }
    return out.append('\n').toString();
  }

  private static void honoured(StringBuilder out, List<Key<?>> keys) {
    out.append("| key | default | value | meaning |\n|---|---|---|---|\n");
    for (Key<?> key : keys) {
      out.append("| `%s` | %s | %s | %s |\n".formatted(
          key.name(), standard(key), key.kind().want(), key.meaning()));
    }
  }

  private static String standard(Key<?> key) {
    if (List.of(Keys.MODEL, Keys.DATASET, Keys.OUTPUT_DIR).contains(key)) {
      return "*required*";
    }
    return key.standard() == null ? "" : "`" + key.standard() + "`";
  }

  private static void idle(StringBuilder out, List<Key<?>> keys) {
    out.append("| keys | why |\n|---|---|\n");
    Map<String, List<Key<?>>> byReason =
        keys.stream().collect(Collectors.groupingBy(Key::meaning, LinkedHashMap::new, Collectors.toList()));
    byReason.forEach((why, names) -> out.append("| %s | %s |\n".formatted(
        names.stream().map(k -> "`" + k.name() + "`").collect(Collectors.joining(", ")), why)));
  }

  private static void refused(StringBuilder out, List<Key<?>> keys) {
    out.append("| key | accepted only as | why, and what to do |\n|---|---|---|\n");
    for (Key<?> key : keys) {
      out.append("| `%s` | %s | %s |\n".formatted(
          key.name(), key.standard() == null ? "`null`" : "`" + key.standard() + "` or `null`", key.meaning()));
    }
  }
}
