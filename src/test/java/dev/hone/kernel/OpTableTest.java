package dev.hone.kernel;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.testing.HoneHeader;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Set;
import java.util.TreeSet;
import java.util.regex.MatchResult;
import java.util.regex.Pattern;
import org.junit.jupiter.api.Test;

/** kernels/README.md lists every function of hone.h, with the file that has it and tests that exist. */
class OpTableTest {
  private static final Path ROOT = Path.of(System.getProperty("hone.root", "."));
  private static final Path C = ROOT.resolve("src/main/c");

  private static Set<String> names(String text, String pattern) {
    Set<String> found = new TreeSet<>();
    Pattern.compile(pattern).matcher(text).results().map(MatchResult::group).forEach(found::add);
    return found;
  }

  @Test
  void everyFunctionIsListed() throws IOException {
    String table = Files.readString(ROOT.resolve("kernels/README.md")).split("\n## ", 2)[0]; // device symbols come after it
    assertThat(names(table, "hone_\\w+"))
        .isEqualTo(new TreeSet<>(HoneHeader.read().functions().keySet()));
  }

  @Test
  void theFilesOfEachRowHaveItsFunctionsAndTests() throws IOException {
    List<String> rows = Files.readAllLines(ROOT.resolve("kernels/README.md")).stream()
        .filter(line -> line.startsWith("|") && line.contains("hone_")).toList();
    assertThat(rows).hasSizeGreaterThan(10);
    Set<String> tests = testNames();
    for (String row : rows) {
      String[] cells = row.split("\\|");
      Set<String> functions = names(cells[2] + cells[3], "hone_\\w+");
      assertThat(names(Files.readString(C.resolve(cells[4].strip())), "hone_\\w+")).as(row).containsAll(functions);
      assertThat(tests).as(row).containsAll(List.of(cells[5].strip().split(", ")));
    }
  }

  private static Set<String> testNames() throws IOException {
    try (var files = Files.walk(ROOT.resolve("src/test/java"))) {
      Set<String> names = new TreeSet<>();
      files.filter(Files::isRegularFile).forEach(f -> names.add(f.getFileName().toString().replace(".java", "")));
      return names;
    }
  }
}
