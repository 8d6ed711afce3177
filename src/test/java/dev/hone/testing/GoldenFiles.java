package dev.hone.testing;

import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.GZIPInputStream;
import org.junit.jupiter.api.Assumptions;

/**
 * Finds the reference files that are not committed: beside the clone in ../shared/golden, or where HONE_GOLDEN says.
 */
public final class GoldenFiles {
  private GoldenFiles() {}

  /** The file or folder below the golden folder; the test is skipped with a reason where it is absent. */
  public static Path find(String name) {
    String given = System.getenv("HONE_GOLDEN");
    Path root =
        given != null ? Path.of(given) : Path.of(System.getProperty("hone.root", ".")).resolve("../shared/golden");
    Path path = root.resolve(name).normalize();
    if (!Files.exists(path)) {
      System.out.println("skipped: " + path + " is not there (set HONE_GOLDEN to the folder of reference data)");
    }
    Assumptions.assumeTrue(Files.exists(path), () -> path + " is not there");
    return path;
  }

  /** The bytes of a file, unpacked when its name ends in .gz. */
  public static byte[] read(Path file) {
    try (InputStream in = Files.newInputStream(file)) {
      return file.toString().endsWith(".gz") ? new GZIPInputStream(in).readAllBytes() : in.readAllBytes();
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
