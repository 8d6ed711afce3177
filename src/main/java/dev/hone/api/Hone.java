package dev.hone.api;

import dev.hone.config.DeviceChoice;
import dev.hone.config.TrainConfig;
import dev.hone.engine.Storage;
import dev.hone.generate.Assistant;
import dev.hone.tensor.DType;
import dev.hone.train.TrainListener;
import dev.hone.train.Trainer;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Hone inside another JVM program: the command line does nothing that these methods do not do. The program must run with
 * {@code --enable-native-access=ALL-UNNAMED}. Mistakes in settings and files come as {@link dev.hone.config.UserError} with a message
 * of one line; nothing is printed.
 */
public final class Hone {
  private Hone() {}

  /**
   * Trains as a YAML file says and returns when the result is written, or a checkpoint after the listener asked to stop.
   *
   * @param yaml settings; docs/config.md lists the keys
   * @param overrides settings that win over the file's
   * @param listener hears progress on the calling thread; {@code new TrainListener() {}} hears nothing
   */
  public static TrainListener.Finished train(Path yaml, Map<String, String> overrides, TrainListener listener) {
    List<String> settings = overrides.entrySet().stream().map(e -> e.getKey() + "=" + e.getValue()).toList();
    return new Trainer(TrainConfig.load(yaml, settings), listener).run();
  }

  /**
   * Opens a model for conversations and continuations, on a card where there is one, else on the CPU in f32; the
   * template is chosen by the model.
   *
   * @param model folder of a Hugging Face model
   * @param adapter folder of a PEFT adapter, such as the output_dir of a run
   */
  public static Assistant open(Path model, Optional<Path> adapter) {
    DeviceChoice automatic = DeviceChoice.parse("auto").orElseThrow();
    return Assistant.open(
        new Assistant.Options(
            model, adapter, Optional.empty(), Storage.AS_STORED, Optional.empty(), DType.F32, 0, automatic, 0),
        true);
  }
}
