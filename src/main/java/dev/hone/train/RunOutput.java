package dev.hone.train;

import dev.hone.config.TrainConfig;
import dev.hone.config.UserError;
import dev.hone.engine.Adapters;
import dev.hone.engine.BaseModel;
import dev.hone.engine.FullWeights;
import dev.hone.engine.Parameters;
import dev.hone.format.AtomicFiles;
import dev.hone.format.PeftConfig;
import dev.hone.kernel.Kernels;
import dev.hone.model.Tuning;
import dev.hone.text.Tokenizer;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/**
 * The output folder of a run. Every file appears whole or not at all, and checkpoints appear as whole folders, so that an interrupted
 * or failing save leaves what was there.
 */
final class RunOutput {
  private static final String CHECKPOINT = "checkpoint-";

  private final TrainConfig config;
  private final Path directory;
  private final BaseModel base;
  private final Tuning tuning;
  private final PeftConfig peft;
  private final Parameters parameters;
  private final Map<String, String> fingerprint;
  private final Kernels kernels;

  /** @param peft null with full fine-tuning */
  RunOutput(
      TrainConfig config, BaseModel base, Tuning tuning, PeftConfig peft, Parameters parameters,
      Map<String, String> fingerprint, Kernels kernels) {
    this.config = config;
    this.directory = config.output().directory();
    this.base = base;
    this.tuning = tuning;
    this.peft = peft;
    this.parameters = parameters;
    this.fingerprint = fingerprint;
    this.kernels = kernels;
  }

  /**
   * Refuses a folder that holds a result, unless the run goes on with it or may replace it.
   *
   * @throws UserError also when the folder is the base model's
   */
  static void requireFree(TrainConfig config) {
    Path directory = config.output().directory();
    try {
      // A built-in shape has no folder.
      boolean folders = config.model().like().isEmpty() && Files.exists(directory);
      if (folders && Files.isSameFile(directory, config.model().directory())) {
        throw UserError.of(
            "%s: output_dir is the model's own folder; choose another one", config.where("output_dir"));
      }
    } catch (IOException e) {
      throw new UserError(directory + " cannot be read: " + e.getMessage(), e);
    }
    if (config.output().resumeFrom().isPresent()) {
      return;
    }
    if (config.output().overwrite()) {
      requireKept(config, "model_name_or_path", config.model().directory());
      config.model().adapter().ifPresent(adapter -> requireKept(config, "adapter_name_or_path", adapter));
      return;
    }
    for (String result : List.of("adapter_model.safetensors", "model.safetensors")) {
      if (Files.exists(directory.resolve(result))) {
        throw UserError.of(
            "%s: output_dir %s already holds %s of an earlier run; choose another folder or set overwrite_output_dir: true",
            config.where("output_dir"), directory, result);
      }
    }
    List<Path> checkpoints = checkpoints(directory);
    if (!checkpoints.isEmpty()) {
      throw UserError.of(
          "%s: output_dir %s already holds %s of an earlier run; continue it with --resume, choose another folder or set"
              + " overwrite_output_dir: true",
          config.where("output_dir"), directory, checkpoints.getLast().getFileName());
    }
  }

  /** A run must not begin with the removal of the checkpoint that it is to begin with. */
  private static void requireKept(TrainConfig config, String key, Path input) {
    Path whole = input.toAbsolutePath().normalize();
    for (Path checkpoint : checkpoints(config.output().directory())) {
      if (whole.startsWith(checkpoint.toAbsolutePath().normalize())) {
        throw UserError.of(
            "%s: %s is %s, which overwrite_output_dir would remove; choose another output_dir",
            config.where(key), key, input);
      }
    }
  }

  /** Makes the folder, so that a run that cannot write learns it before it trains. */
  void prepare() {
    AtomicFiles.writeText(directory.resolve(".hone"), "");
    try {
      Files.delete(directory.resolve(".hone"));
      if (config.output().overwrite() && config.output().resumeFrom().isEmpty()) {
        for (Path checkpoint : checkpoints(directory)) {
          delete(checkpoint);
        }
      }
    } catch (IOException e) {
      throw new UserError(directory + " cannot be written: " + e.getMessage(), e);
    }
  }

  /** Writes checkpoint-N and removes the oldest ones over the limit. */
  Path checkpoint(Snapshot.Progress progress) {
    Path target = directory.resolve(CHECKPOINT + progress.step());
    try {
      AtomicFiles.writeFolder(
          target,
          folder -> {
            writeModel(folder);
            if (!config.output().saveOnlyModel()) {
              Snapshot.writeOptimizer(folder, parameters, fingerprint, progress);
            }
            Snapshot.writeState(folder, progress);
          });
    } catch (UserError e) {
      throw unsaved(progress, e);
    }
    config.output().saveTotalLimit().ifPresent(limit -> {
      // A run resumed from an older checkpoint may find newer ones: the one just written must not make room for them.
      List<Path> others = checkpoints(directory).stream().filter(p -> !p.equals(target)).toList();
      for (Path old : others.subList(0, Math.max(0, others.size() - (limit - 1)))) {
        delete(old);
      }
    });
    return target;
  }

  /** Writes the result into the output folder itself. */
  void result(Snapshot.Progress progress, RunLog log) {
    try {
      writeModel(directory);
      Snapshot.writeState(directory, progress);
    } catch (UserError e) {
      throw unsaved(progress, e);
    }
    if (config.output().plotLoss()) {
      log.plot(directory.resolve("training_loss.png"));
    }
  }

  /** What failed, and what is left of the run. */
  private UserError unsaved(Snapshot.Progress progress, UserError failure) {
    List<Path> kept = checkpoints(directory);
    String rest =
        kept.isEmpty()
            ? "; the run ends at step %d without a checkpoint".formatted(progress.step())
            : "; the run ends at step %d: make room, then --resume goes on from %s"
                .formatted(progress.step(), kept.getLast().getFileName());
    return new UserError(failure.getMessage() + rest, failure);
  }

  private void writeModel(Path folder) {
    switch (tuning) {
      case Tuning.Lora lora -> Adapters.save(folder, peft, lora, parameters);
      case Tuning.Full full -> {
        FullWeights.save(folder.resolve("model.safetensors"), base, parameters, kernels);
        copy(List.of("config.json", "generation_config.json"), folder);
      }
      case Tuning.None none -> throw new IllegalStateException("nothing was trained");
    }
    copy(Tokenizer.FILES, folder);
  }

  private void copy(List<String> names, Path folder) {
    for (String name : names) {
      Path source = base.folder().resolve(name);
      if (Files.exists(source)) {
        try {
          AtomicFiles.writeBytes(folder.resolve(name), Files.readAllBytes(source));
        } catch (IOException e) {
          throw new UserError(source + " cannot be copied: " + e.getMessage(), e);
        }
      }
    }
  }

  private static List<Path> checkpoints(Path directory) {
    if (!Files.isDirectory(directory)) {
      return List.of();
    }
    try (Stream<Path> entries = Files.list(directory)) {
      return entries
          .filter(p -> p.getFileName().toString().matches(CHECKPOINT + "\\d{1,9}") && Files.isDirectory(p))
          .sorted(Comparator.comparingInt(p -> Integer.parseInt(p.getFileName().toString().substring(CHECKPOINT.length()))))
          .toList();
    } catch (IOException e) {
      throw new UserError(directory + " cannot be read: " + e.getMessage(), e);
    }
  }

  private static void delete(Path folder) {
    try (Stream<Path> all = Files.walk(folder)) {
      for (Path path : all.sorted(Comparator.reverseOrder()).toList()) {
        Files.delete(path);
      }
    } catch (IOException e) {
      throw new UserError(folder + " cannot be removed: " + e.getMessage(), e);
    }
  }
}
