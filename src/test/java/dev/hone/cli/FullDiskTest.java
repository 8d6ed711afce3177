package dev.hone.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.hone.testing.TrainingRun;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;

/**
 * {@code hone train} where the disk does not take what it writes: one line that names the file and what is missing,
 * and no half of a file. Two kinds of disk: one on which no file may grow beyond a limit (RLIMIT_FSIZE, which every
 * user may set), so that writing stops in the middle; and a tmpfs that is too small, in a mount namespace of its own.
 */
class FullDiskTest {
  /** In blocks of 512 bytes, or of 1024 by some shells: less than each of the files, more than all other ones. */
  private static final int LIMIT = 32;

  @TempDir
  private Path folder;

  /** What a run writes, and what its message must say. */
  private enum Written {
    ADAPTER("out/adapter_model.safetensors"),
    CHECKPOINT("out/checkpoint-1"),
    CACHE("out/cache/llama-");

    private final String path;

    Written(String path) {
      this.path = path;
    }

    TrainingRun run(Path folder) {
      TrainingRun run = TrainingRun.golden(folder, "models/llama").with("max_steps", 1);
      return switch (this) {
        case ADAPTER -> run;
        case CHECKPOINT -> run.with("save_strategy", "steps").with("save_steps", 1);
        case CACHE ->
            run.with("quantization_bit", 4).with("layer_cache_dir", folder.resolve("out/cache").toAbsolutePath());
      };
    }
  }

  private record Outcome(int code, List<String> lines) {}

  /** Runs {@code script} with the command of the run as its arguments from $1 on. */
  private Outcome train(List<String> shell, String script, Path output, TrainingRun run)
      throws IOException, InterruptedException {
    List<String> command = new ArrayList<>(shell);
    command.addAll(List.of("sh", "-c", script, output.toAbsolutePath().toString()));
    command.addAll(List.of(
        Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-XX:-UsePerfData", "-XX:+UseSerialGC",
        "--enable-native-access=ALL-UNNAMED", "-cp", System.getProperty("java.class.path"), Main.class.getName(), "train",
        run.yaml().toString()));
    Process process = new ProcessBuilder(command).redirectErrorStream(true).start();
    String said = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    return new Outcome(process.waitFor(), said.lines().toList());
  }

  private static String error(Outcome outcome) {
    assertThat(outcome.code).as(String.join("\n", outcome.lines)).isEqualTo(Main.USER_ERROR);
    List<String> errors = outcome.lines.stream().filter(line -> line.startsWith("hone: ")).toList();
    assertThat(errors).hasSize(1);
    assertThat(outcome.lines).noneMatch(line -> line.contains("Exception") || line.startsWith("\tat "));
    return errors.getFirst();
  }

  @ParameterizedTest
  @EnumSource
  void writingStopsInTheMiddle(Written written) throws Exception {
    assumeTrue(Files.isExecutable(Path.of("/bin/sh")), "skipped: no /bin/sh to limit the size of files with");
    Outcome outcome = train(List.of(), "ulimit -f " + LIMIT + "; exec \"$@\"", folder, written.run(folder));
    String error = error(outcome);
    System.out.println(error);
    assertThat(error)
        .contains("cannot write " + folder.resolve(written.path).toAbsolutePath(), "File too large")
        .containsPattern("; [0-9.]+ [KM]iB of [0-9.]+ [KM]iB are missing");
    try (Stream<Path> left = Files.walk(folder.resolve("out"))) {
      assertThat(left.map(p -> p.getFileName().toString()))
          .noneMatch(name -> name.matches(".*\\.(tmp|safetensors|hone)") || name.startsWith("checkpoint"));
    }
  }

  @ParameterizedTest
  @EnumSource
  void aSmallDiskIsFoundOutBeforeItIsWritten(Written written) throws Exception {
    Path disk = Files.createDirectories(folder.resolve("out"));
    String mount = "mount -t tmpfs -o size=32k none \"$0\"";
    Process allowed =
        new ProcessBuilder("sh", "-c", "unshare -rm sh -c '" + mount + "' " + disk).redirectErrorStream(true).start();
    String said = new String(allowed.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
    assumeTrue(allowed.waitFor() == 0, () -> "skipped: no tmpfs in a mount namespace for this user: " + said);
    Outcome outcome =
        train(
            List.of("unshare", "-rm"), mount + " && \"$@\"; code=$?; find \"$0\" -type f; exit $code", disk,
            written.run(folder));
    String error = error(outcome);
    System.out.println(error);
    assertThat(error)
        .contains("cannot write " + folder.resolve(written.path).toAbsolutePath(), "the disk has ")
        .containsPattern("; [0-9.]+ [KM]iB of [0-9.]+ [KM]iB are missing");
    assertThat(outcome.lines.stream().filter(line -> line.startsWith("/")).map(Path::of)) // what find found
        .allMatch(path -> path.endsWith("trainer_log.jsonl"));
  }

  /**
   * The same run on the same limits with room enough, so that the two tests above fail for want of room and nothing
   * else.
   */
  @Test
  void thereIsNothingElseInTheWay() throws Exception {
    assumeTrue(Files.isExecutable(Path.of("/bin/sh")), "skipped: no /bin/sh to limit the size of files with");
    Outcome outcome = train(List.of(), "ulimit -f 100000; exec \"$@\"", folder, Written.CACHE.run(folder));
    assertThat(outcome.code).as(String.join("\n", outcome.lines)).isZero();
    assertThat(folder.resolve("out/adapter_model.safetensors")).exists();
  }
}
