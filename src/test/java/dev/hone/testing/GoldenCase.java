package dev.hone.testing;

import dev.hone.data.MicroBatch;
import dev.hone.format.SafetensorsFile;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;

/** The inputs of one golden folder: the cases of forward.safetensors and the micro-batches of train_data.safetensors. */
public final class GoldenCase {
  /** The names of the cases. */
  public static final List<String> NAMES = List.of("plain", "padded", "packed");

  private GoldenCase() {}

  /** One case as a stream of documents without padding. */
  public static MicroBatch batch(SafetensorsFile forward, String name) {
    long[] ids = forward.longs(name + ".input_ids");
    long[] labels = forward.longs(name + ".labels");
    if (name.equals("packed")) {
      return Golden.packed(ids, labels, forward.longs(name + ".position_ids"));
    }
    long[] shape = forward.shape(name + ".input_ids");
    return Golden.rows(ids, labels, forward.longs(name + ".attention_mask"), (int) shape[0], (int) shape[1]);
  }

  /** Rows of a padded (B,T,V) tensor that are tokens, as the stream has them. */
  public static float[] unpadded(SafetensorsFile forward, String name, String tensor) {
    float[] all = forward.floats(name + "." + tensor);
    if (name.equals("packed")) {
      return all;
    }
    long[] mask = forward.longs(name + ".attention_mask");
    int width = all.length / mask.length;
    int kept = 0;
    for (long m : mask) {
      kept += m != 0 ? 1 : 0;
    }
    float[] out = new float[kept * width];
    int at = 0;
    for (int t = 0; t < mask.length; t++) {
      if (mask[t] != 0) {
        System.arraycopy(all, t * width, out, at++ * width, width);
      }
    }
    return out;
  }

  /** The 40 micro-batches of two rows. */
  public static List<MicroBatch> training(Path folder) {
    try (Arena arena = Arena.ofConfined()) {
      SafetensorsFile data = SafetensorsFile.open(folder.resolve("train_data.safetensors"), arena);
      long[] shape = data.shape("input_ids");
      int batches = (int) shape[0];
      int rows = (int) shape[1];
      int width = (int) shape[2];
      long[] ids = data.longs("input_ids");
      long[] labels = data.longs("labels");
      long[] mask = data.longs("attention_mask");
      List<MicroBatch> out = new ArrayList<>();
      for (int b = 0; b < batches; b++) {
        int from = b * rows * width;
        int to = from + rows * width;
        out.add(
            Golden.rows(
                java.util.Arrays.copyOfRange(ids, from, to),
                java.util.Arrays.copyOfRange(labels, from, to),
                java.util.Arrays.copyOfRange(mask, from, to),
                rows,
                width));
      }
      return out;
    }
  }
}
