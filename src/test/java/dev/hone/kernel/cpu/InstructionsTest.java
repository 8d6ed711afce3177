package dev.hone.kernel.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.TimeUnit;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.assertj.core.api.SoftAssertions;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/**
 * The AVX2 kernels execute no more instructions than they did: a guard against slow code that a busy machine cannot upset, since
 * callgrind counts instructions and not time. Counts are given for each eight multiply-adds, which one instruction can do.
 */
class InstructionsTest {
  /**
   * What gcc 12 makes of the ops of instructions.c, and a seventh more, within which compilers differ. The product alone takes 1.9 (of
   * 21 instructions 12 multiply); packing and storing weigh more here than in a model, the shapes being small.
   */
  private static final Map<String, Double> LIMITS =
      Map.of(
          "forward_f32", 3.7, "input_f32", 2.9, "weight_f32", 3.4, "forward_bf16", 4.5, "input_bf16", 3.9,
          "forward_nf4", 5.1, "input_nf4", 5.3, "lora", 6.1, "attention", 5.9);

  private static final double TOKENS = 64;
  private static final double IN = 192;
  private static final double OUT = 150;
  private static final double RANK = 16;
  private static final double HEADS = 4;
  private static final double DIM = 48;

  @Test
  void opsExecuteNoMoreInstructionsThanTheyDid(@TempDir Path folder) throws Exception {
    Path library = CpuKernels.libraryPath();
    assumeTrue(library.toString().endsWith(".so"), "skipped: valgrind runs ELF programs only");
    assumeTrue(System.getProperty("os.arch").equals("amd64"), "skipped: the counts are of AVX2 code");
    assumeTrue(runs("valgrind", "--version"), "skipped: there is no valgrind here");
    assumeTrue(runs("cc", "--version"), "skipped: there is no C compiler here");
    Path program = folder.resolve("instructions");
    run(folder, "cc", "-std=c17", "-Wall", "-Wextra", "-Werror", "-O2", "-Isrc/main/c", "-o", program.toString(),
        "src/test/c/instructions.c", library.toString(), "-Wl,-rpath," + library.getParent());
    Path counts = folder.resolve("callgrind.out");
    run(folder, "valgrind", "--tool=callgrind", "--collect-atstart=no", "--toggle-collect=measured_*",
        "--callgrind-out-file=" + counts, program.toString());

    Map<String, Double> each = new TreeMap<>();
    inclusive(Files.readAllLines(counts)).forEach((op, count) -> each.put(op, 8 * count / multiplyAdds(op)));
    assertThat(each.keySet()).isEqualTo(LIMITS.keySet());
    System.out.printf("instructions for eight multiply-adds: %s%n", each);
    SoftAssertions softly = new SoftAssertions();
    LIMITS.forEach((op, limit) -> softly.assertThat(each.get(op)).as(op).isLessThanOrEqualTo(limit));
    softly.assertAll();
  }

  /** Of the products alone, attention's causal half. */
  private static double multiplyAdds(String op) {
    return switch (op) {
      case "lora" -> 6 * RANK * TOKENS * (IN + OUT) / 2;
      case "attention" -> 7 * HEADS * DIM * TOKENS * TOKENS / 2;
      default -> TOKENS * IN * OUT;
    };
  }

  private static final Pattern FUNCTION = Pattern.compile("(c?)fn=\\((\\d+)\\)(?: (.*))?");
  private static final Pattern COST = Pattern.compile("[-+*\\d]\\S* (\\d+)");

  /**
   * Instructions of each measured_* function and all it calls, of a file in callgrind's format: below its `fn=` stand lines of
   * its own cost and, each after a `calls=`, lines of a callee's. A name is written once, and its number from then on.
   */
  private static Map<String, Double> inclusive(List<String> lines) {
    Map<String, String> names = new HashMap<>();
    Map<String, Double> counts = new TreeMap<>();
    String current = "";
    for (String line : lines) {
      Matcher function = FUNCTION.matcher(line);
      Matcher cost = COST.matcher(line);
      if (function.matches()) {
        if (function.group(3) != null) {
          names.put(function.group(2), function.group(3));
        }
        current = function.group(1).isEmpty() ? names.get(function.group(2)) : current;
      } else if (current.startsWith("measured_") && cost.matches()) {
        counts.merge(current.substring("measured_".length()), Double.parseDouble(cost.group(1)), Double::sum);
      }
    }
    return counts;
  }

  private static boolean runs(String... command) throws InterruptedException {
    try {
      return new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(ProcessBuilder.Redirect.DISCARD)
          .start().waitFor() == 0;
    } catch (IOException e) {
      return false; // not on PATH
    }
  }

  private static void run(Path folder, String... command) throws IOException, InterruptedException {
    Path log = folder.resolve("log");
    Process process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log.toFile()).start();
    boolean ended = process.waitFor(10, TimeUnit.MINUTES);
    assertThat(ended && process.exitValue() == 0).as(() -> String.join(" ", command) + "\n" + read(log)).isTrue();
  }

  private static String read(Path log) {
    try {
      return Files.readString(log);
    } catch (IOException e) {
      return e.toString();
    }
  }
}
