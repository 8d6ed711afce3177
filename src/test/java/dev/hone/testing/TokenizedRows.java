package dev.hone.testing;

import dev.hone.format.SafetensorsFile;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.Random;
import java.util.stream.Collectors;

/** Datasets of {@code input_ids} and {@code labels}, which need no tokenizer. */
public final class TokenizedRows {
  private TokenizedRows() {}

  /** The rows of a golden folder's train_data.safetensors without their padding, in order: 40 micro-batches of 2. */
  public static Path golden(Path goldenFolder, Path file) {
    try (Arena arena = Arena.ofConfined()) {
      SafetensorsFile data = SafetensorsFile.open(goldenFolder.resolve("train_data.safetensors"), arena);
      int width = (int) data.shape("input_ids")[2];
      long[] ids = data.longs("input_ids");
      long[] labels = data.longs("labels");
      long[] mask = data.longs("attention_mask");
      StringBuilder text = new StringBuilder();
      for (int from = 0; from < ids.length; from += width) {
        int n = 0;
        while (n < width && mask[from + n] != 0) {
          n++;
        }
        text.append(row(Arrays.copyOfRange(ids, from, from + n), Arrays.copyOfRange(labels, from, from + n)));
      }
      return Files.writeString(file, text);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** Random rows of {@code least} to {@code most} tokens below {@code vocab}, of which the first two are not learnt. */
  public static Path random(Path file, int rows, int least, int most, int vocab, long seed) {
    Random random = new Random(seed);
    StringBuilder text = new StringBuilder();
    for (int r = 0; r < rows; r++) {
      long[] ids = random.longs(random.nextInt(least, most + 1), 0, vocab).toArray();
      long[] labels = ids.clone();
      Arrays.fill(labels, 0, 2, -100);
      text.append(row(ids, labels));
    }
    try {
      return Files.writeString(file, text);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private static String row(long[] ids, long[] labels) {
    return "{\"input_ids\": " + list(ids) + ", \"labels\": " + list(labels) + "}\n";
  }

  private static String list(long[] values) {
    return Arrays.stream(values).mapToObj(Long::toString).collect(Collectors.joining(", ", "[", "]"));
  }
}
