package dev.hone.testing;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import org.junit.jupiter.api.Assumptions;

/**
 * Reference numbers of transformers + PEFT: those made by this project's own scripts are resources of the tests; the others lie
 * beside the clone where they lie at all.
 */
public final class Golden {
  private static final ObjectMapper JSON = new ObjectMapper();

  private Golden() {}

  /** A folder of the committed set, such as {@code models/llama}. */
  public static Path committed(String folder) {
    return root().resolve("src/test/resources/golden").resolve(folder);
  }

  /** A file or folder of the set beside the clone; the test is skipped, with the reason, where it is absent. */
  public static Path beside(String path) {
    String override = System.getenv("HONE_GOLDEN");
    Path golden = override == null ? root().resolve("../shared/golden") : Path.of(override);
    Path found = golden.resolve(path).normalize();
    Assumptions.assumeTrue(
        Files.exists(found), () -> "skipped: " + path + " is not committed and not beside the clone (HONE_GOLDEN)");
    return found;
  }

  public static Path root() {
    return Path.of(System.getProperty("hone.root", ".")).toAbsolutePath();
  }

  public static JsonNode json(Path file) {
    try {
      return JSON.readTree(file.toFile());
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The rows of a right-padded batch as documents: padding is what {@code mask} marks with 0. */
  public static MicroBatch rows(long[] ids, long[] labels, long[] mask, int rows, int width) {
    List<Example> examples = new ArrayList<>();
    for (int r = 0; r < rows; r++) {
      int n = 0;
      while (n < width && mask[r * width + n] != 0) {
        n++;
      }
      int[] rowIds = new int[n];
      int[] rowLabels = new int[n];
      for (int t = 0; t < n; t++) {
        rowIds[t] = (int) ids[r * width + t];
        rowLabels[t] = (int) labels[r * width + t];
      }
      examples.add(Example.of(rowIds, rowLabels));
    }
    return MicroBatch.of(examples);
  }

  /** One packed row whose documents begin where positions restart. */
  public static MicroBatch packed(long[] ids, long[] labels, long[] positions) {
    return MicroBatch.of(List.of(new Example(ints(ids), ints(labels), ints(positions))));
  }

  private static int[] ints(long[] values) {
    int[] out = new int[values.length];
    for (int i = 0; i < out.length; i++) {
      out[i] = Math.toIntExact(values[i]);
    }
    return out;
  }
}
