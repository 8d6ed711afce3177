package dev.hone.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.nio.file.attribute.PosixFilePermissions;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** The launcher in a copy of its own, with JDKs that are shell scripts. */
class LauncherTest {
  @TempDir Path folder;
  private Path launcher;

  private record Result(int code, String out, String err) {}

  @BeforeEach
  void copyOfTheLauncher() throws IOException {
    assumeTrue(Files.isExecutable(Path.of("/bin/sh")), "needs /bin/sh; hone.cmd is the launcher here");
    folder = folder.toRealPath();
    launcher = folder.resolve("checkout/hone");
    Files.createDirectories(launcher.getParent());
    Files.copy(Path.of(System.getProperty("hone.root", "."), "hone"), launcher);
    launcher.toFile().setExecutable(true);
  }

  /** A JDK whose java prints its arguments, one a line. */
  private Path jdk(String path, String release) throws IOException {
    Path home = folder.resolve(path);
    script(home.resolve("bin/java"), "for a; do echo \"$a\"; done");
    script(home.resolve("bin/javac"), "exit 0");
    Files.writeString(home.resolve("release"), "IMPLEMENTOR=\"X\"\nJAVA_VERSION=\"" + release + "\"\n");
    return home;
  }

  private static void script(Path file, String body) throws IOException {
    Files.createDirectories(file.getParent());
    Files.writeString(file, "#!/bin/sh\n" + body + "\n");
    Files.setPosixFilePermissions(file, PosixFilePermissions.fromString("rwxr-xr-x"));
  }

  /** Runs the launcher with nothing but {@code environment} and the tools of /bin and /usr/bin. */
  private Result run(Map<String, String> environment, String... arguments) throws IOException, InterruptedException {
    List<String> command = new ArrayList<>(List.of("/bin/sh", launcher.toString()));
    command.addAll(List.of(arguments));
    ProcessBuilder builder = new ProcessBuilder(command).directory(folder.toFile());
    builder.redirectOutput(folder.resolve("out").toFile()).redirectError(folder.resolve("err").toFile());
    builder.environment().clear();
    builder.environment().put("PATH", tools().toString());
    builder.environment().put("HONE_JVM_DIRS", folder.resolve("jvm").toString());
    builder.environment().putAll(environment);
    Process process = builder.start();
    assertThat(process.waitFor(60, TimeUnit.SECONDS)).as("the launcher ends").isTrue();
    return new Result(process.exitValue(), read("out"), read("err"));
  }

  private String read(String name) throws IOException {
    return Files.readString(folder.resolve(name), StandardCharsets.UTF_8).strip();
  }

  /** A PATH with the few tools that the launcher needs and no java, mvn, cmake or compiler. */
  private Path tools() throws IOException {
    Path bin = folder.resolve("tools");
    if (!Files.isDirectory(bin)) {
      Files.createDirectory(bin);
      for (String tool : List.of("sed", "dirname", "readlink", "find", "printf", "cat", "mkdir", "touch", "grep",
          "tail", "tee")) {
        for (String place : List.of("/usr/bin/", "/bin/")) {
          if (Files.isExecutable(Path.of(place + tool))) {
            script(bin.resolve(tool), "exec " + place + tool + " \"$@\"");
            break;
          }
        }
      }
    }
    return bin;
  }

  @Test
  void prefersJavaHome() throws Exception {
    Path home = jdk("mine", "25.0.1");
    jdk("jvm/jdk-26", "26");
    assertThat(run(Map.of("JAVA_HOME", home.toString()), "jdk")).isEqualTo(new Result(0, home.toString(), ""));
  }

  @Test
  void passesOverAnOldJavaHomeForTheNewestOfTheUsualFolders() throws Exception {
    Path old = jdk("old", "17.0.2");
    jdk("jvm/a", "25.0.3");
    Path newest = jdk("jvm/b", "26-ea");
    jdk("jvm/c", "21.0.1");
    assertThat(run(Map.of("JAVA_HOME", old.toString()), "jdk").out()).isEqualTo(newest.toString());
  }

  @Test
  void takesTheJavaOnPathThroughItsSymbolicLink() throws Exception {
    Path home = jdk("elsewhere", "25");
    Files.createSymbolicLink(tools().resolve("java"), home.resolve("bin/java"));
    assertThat(run(Map.of(), "jdk").out()).isEqualTo(home.toString());
  }

  @Test
  void asksTheJvmWhereThereIsNoReleaseFile() throws Exception {
    Path home = jdk("jvm/plain", "1");
    Files.delete(home.resolve("release"));
    script(home.resolve("bin/java"), "echo 'openjdk version \"25.0.2\" 2026-01-20' >&2");
    assertThat(run(Map.of(), "jdk").out()).isEqualTo(home.toString());
  }

  @Test
  void aRuntimeWithoutCompilerIsNotEnough() throws Exception {
    Path home = jdk("jvm/jre", "25.0.1");
    Files.delete(home.resolve("bin/javac"));
    Result result = run(Map.of(), "train", "x.yaml");
    assertThat(result.code()).isEqualTo(1);
    assertThat(result.err()).matches("hone: no JDK >= 25 found; install one with: .+, or set JAVA_HOME");
  }

  @Test
  void namesWhatTheBuildMisses() throws Exception {
    jdk("jvm/j", "25");
    Files.writeString(launcher.resolveSibling("pom.xml"), "<project/>");
    Result result = run(Map.of(), "doctor");
    assertThat(result.code()).isEqualTo(1);
    assertThat(result.err()).startsWith("hone: missing: Maven, CMake, make, a C compiler; install with: ")
        .doesNotContain("\n");
  }

  @Test
  void saysWhichCommandInstalls() throws Exception {
    jdk("jvm/j", "25");
    Files.writeString(launcher.resolveSibling("pom.xml"), "<project/>");
    script(tools().resolve("apt-get"), "exit 0");
    assertThat(run(Map.of(), "doctor").err()).endsWith("install with: sudo apt install maven cmake make gcc libc6-dev");
    Files.delete(tools().resolve("apt-get"));
    script(tools().resolve("dnf"), "exit 0");
    assertThat(run(Map.of(), "doctor").err()).endsWith("install with: sudo dnf install maven cmake make gcc");
  }

  @Test
  void buildsOnceAndAgainOnlyWhenSourcesAreNewer() throws Exception {
    Path home = jdk("jvm/j", "25");
    Path root = launcher.getParent();
    Files.writeString(root.resolve("pom.xml"), "<project/>");
    Files.writeString(root.resolve("CMakeLists.txt"), "");
    Path source = root.resolve("src/main/java/A.java");
    Files.createDirectories(source.getParent());
    Files.writeString(source, "");
    for (String tool : List.of("cmake", "make", "cc")) {
      script(tools().resolve(tool), "exit 0");
    }
    script(tools().resolve("mvn"), "echo \"$JAVA_HOME $*\" >>" + folder
        + "/mvn.log; mkdir -p target; touch target/hone.jar");

    Result first = run(Map.of(), "train", "a b.yaml");
    assertThat(first.code()).isZero();
    assertThat(first.err()).isEqualTo("hone: building (first use) ...");
    assertThat(first.out().lines()).endsWith("-jar", root + "/target/hone.jar", "train", "a b.yaml")
        .contains("--enable-native-access=ALL-UNNAMED");
    assertThat(read("mvn.log")).isEqualTo(home + " -B -ntp -Dmaven.test.skip=true package");

    assertThat(run(Map.of(), "train").err()).as("nothing changed").isEmpty();

    Files.setLastModifiedTime(source, FileTime.fromMillis(System.currentTimeMillis() + 60_000));
    assertThat(run(Map.of(), "train").err()).isEqualTo("hone: building (sources are newer) ...");
  }

  @Test
  void showsTheOutputOfABuildThatFails() throws Exception {
    jdk("jvm/j", "25");
    Files.writeString(launcher.resolveSibling("pom.xml"), "<project/>");
    for (String tool : List.of("cmake", "make", "cc")) {
      script(tools().resolve(tool), "exit 0");
    }
    script(tools().resolve("mvn"), "echo 'cannot find symbol'; exit 1");
    Result result = run(Map.of(), "train");
    assertThat(result.code()).isEqualTo(1);
    assertThat(result.err()).contains("cannot find symbol").contains("hone: the build failed");
  }

  @Test
  void verifyEndsWithTheSummaryAndTheRunnersStatus() throws Exception {
    jdk("jvm/j", "25");
    for (String tool : List.of("cmake", "make", "cc", "c++")) {
      script(tools().resolve(tool), "exit 0");
    }
    script(tools().resolve("mvn"),
        "echo '[INFO] Tests run: 2, Failures: 0, Errors: 0, Skipped: 0, Time elapsed: 0.1 s'\n"
        + "echo '[ERROR] Tests run: 7, Failures: 1, Errors: 0, Skipped: 0'\necho '[INFO] BUILD FAILURE'\nexit 3");
    Result result = run(Map.of(), "verify");
    assertThat(result.code()).isEqualTo(3);
    assertThat(result.out()).endsWith("Tests run: 7, Failures: 1, Errors: 0, Skipped: 0");
  }

  @Test
  void worksThroughASymbolicLinkFromAnotherFolder() throws Exception {
    jdk("jvm/j", "25");
    Path jar = launcher.resolveSibling("target/hone.jar");
    Files.createDirectories(jar.getParent());
    Files.createFile(jar);
    Path library = launcher.resolveSibling("target/classes/native/linux-x86_64/libhone.so");
    Files.createDirectories(library.getParent());
    Files.createFile(library);
    Path link = Files.createSymbolicLink(folder.resolve("link"), Path.of("checkout/hone"));
    launcher = link;
    Result result = run(Map.of("HONE_JAVA_OPTS", "-Xmx1g -Da=b"), "doctor");
    assertThat(result.out().lines())
        .containsExactly("-XX:+UseSerialGC", "-Xmn8m", "-Xshare:auto", "--enable-native-access=ALL-UNNAMED",
            "-Dhone.library=" + library, "-Xmx1g", "-Da=b", "-jar", jar.toString(), "doctor");
  }
}
