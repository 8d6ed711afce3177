package dev.hone.cli;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import java.io.BufferedReader;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.TimeUnit;
import org.junit.jupiter.api.Test;

/** Ctrl-C in a process of its own. */
class InterruptTest {

  /** A run that goes on until it is asked to stop, then saves. */
  static final class Program {
    public static void main(String[] args) throws InterruptedException {
      try (Interrupt interrupt = new Interrupt()) {
        System.out.println("running");
        while (!interrupt.requested()) {
          Thread.sleep(5);
        }
        Thread.sleep(200);
        System.out.println("saved");
      }
      System.exit(Main.INTERRUPTED);
    }
  }

  @Test
  void savesBeforeTheProcessEndsWith130() throws Exception {
    assumeTrue(Files.isExecutable(Path.of("/bin/kill")), "needs /bin/kill to send the signal of Ctrl-C");
    Process process = new ProcessBuilder(
        Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-cp",
        System.getProperty("java.class.path"),
        Program.class.getName()).start();
    try (BufferedReader out = process.inputReader()) {
      assertThat(out.readLine()).isEqualTo("running");
      new ProcessBuilder("/bin/kill", "-INT", Long.toString(process.pid())).start().waitFor();
      assertThat(out.readLine()).isEqualTo("saved");
      assertThat(process.waitFor(60, TimeUnit.SECONDS)).isTrue();
      assertThat(process.exitValue()).isEqualTo(Main.INTERRUPTED);
    } finally {
      process.destroyForcibly();
    }
  }

  @Test
  void leavesNothingBehindWhenTheRunEnds() {
    Interrupt interrupt = new Interrupt();
    interrupt.close();
    assertThat(interrupt.requested()).isFalse();
    interrupt.close();
    assertThat(interrupt.requested()).as("closing twice is harmless").isFalse();
  }
}
