package dev.hone.kernel.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.DynamicTest.dynamicTest;

import dev.hone.testing.StandIn;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.DynamicTest;
import org.junit.jupiter.api.TestFactory;

/** The stand-in driver's own tests, of src/test/driver/tests: every opcode against the host's arithmetic. */
class StandInDriverTest {

  /** The program beside the driver prints a line a test: {@code ok NAME} or {@code FAILED NAME: WHY}. */
  @TestFactory
  List<DynamicTest> tests() throws IOException, InterruptedException {
    Path program = StandIn.library().resolveSibling("standin_tests");
    Process process = new ProcessBuilder(program.toString()).redirectErrorStream(true).start();
    String output = new String(process.getInputStream().readAllBytes(), StandardCharsets.UTF_8);
    int status = process.waitFor();
    List<DynamicTest> all = new ArrayList<>();
    for (String line : output.lines().toList()) {
      String name = line.replaceFirst("^(ok|FAILED) ", "").replaceFirst(":.*", "");
      all.add(dynamicTest(name, () -> assertThat(line).startsWith("ok ")));
    }
    all.add(dynamicTest("all have run", () -> assertThat(status).as(output).isZero()));
    return all;
  }
}
