package dev.hone.testing;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/** What of this process is in memory, as Linux counts it. */
public final class Residency {
  private static final Path STATUS = Path.of("/proc/self/status");
  private static final Path MAPPINGS = Path.of("/proc/self/smaps");

  private Residency() {}

  /** Whether the system tells. */
  public static boolean isKnown() {
    return Files.isReadable(STATUS) && Files.isReadable(MAPPINGS);
  }

  /** Bytes in a row of /proc/self/status, such as VmHWM or RssAnon. */
  public static long status(String row) {
    return lines(STATUS).stream().filter(line -> line.startsWith(row + ":")).mapToLong(Residency::bytes).findFirst()
        .orElseThrow();
  }

  /** Bytes of the mappings of a file that this process has in memory. */
  public static long of(Path file) {
    long bytes = 0;
    boolean inside = false;
    for (String line : lines(MAPPINGS)) {
      if (line.matches("[0-9a-f]+-[0-9a-f]+ .*")) {
        inside = line.endsWith(" " + file.toAbsolutePath());
      } else if (inside && line.startsWith("Rss:")) {
        bytes += bytes(line);
      }
    }
    return bytes;
  }

  private static long bytes(String line) {
    return Long.parseLong(line.replaceAll("\\D", "")) * 1024;
  }

  private static List<String> lines(Path path) {
    try {
      return Files.readAllLines(path);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
