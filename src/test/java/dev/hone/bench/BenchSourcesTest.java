package dev.hone.bench;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.File;
import java.io.IOException;
import java.io.StringWriter;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Stream;
import javax.tools.JavaCompiler;
import javax.tools.StandardJavaFileManager;
import javax.tools.ToolProvider;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The benches are built by their own profile only; here they are compiled against the classes of today. */
class BenchSourcesTest {
  private static final Path ROOT = Path.of(System.getProperty("hone.root", "."));

  @TempDir
  private Path classes;

  /** JMH where Maven keeps it, once {@code -P bench} was built on this machine. */
  private static Path jmh() throws IOException {
    Matcher version = Pattern.compile("<jmh.version>(.*?)</jmh.version>").matcher(Files.readString(ROOT.resolve("pom.xml")));
    assertThat(version.find()).isTrue();
    Path repository =
        Path.of(System.getProperty("maven.repo.local", Path.of(System.getProperty("user.home"), ".m2", "repository").toString()));
    return repository.resolve("org/openjdk/jmh/jmh-core/%1$s/jmh-core-%1$s.jar".formatted(version.group(1)));
  }

  @Test
  void theBenchesCompile() throws IOException {
    Path jmh = jmh();
    if (!Files.exists(jmh)) {
      System.out.println("skipped: no JMH at " + jmh + "; mvn -P bench package fetches it");
    }
    assumeTrue(Files.exists(jmh), "no JMH");
    JavaCompiler compiler = ToolProvider.getSystemJavaCompiler();
    StringWriter said = new StringWriter();
    try (StandardJavaFileManager files = compiler.getStandardFileManager(null, null, null);
        Stream<Path> found = Files.walk(ROOT.resolve("bench/src/main/java"))) {
      List<Path> sources = found.filter(path -> path.toString().endsWith(".java")).toList();
      assertThat(sources).hasSizeGreaterThan(5);
      // Surefire's class path is a jar that names the entries.
      String path = String.join(
          File.pathSeparator, ROOT.resolve("target/classes").toString(), System.getProperty("surefire.test.class.path",
              System.getProperty("java.class.path")), jmh.toString());
      List<String> options = List.of("-proc:none", "-d", classes.toString(), "-classpath", path);
      boolean compiled =
          compiler.getTask(said, files, null, options, null, files.getJavaFileObjectsFromPaths(sources)).call();
      assertThat(compiled).as(said.toString()).isTrue();
    }
  }
}
