package dev.hone.testing;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.hone.config.TrainConfig;
import dev.hone.format.SafetensorsFile;
import dev.hone.train.TrainListener;
import dev.hone.train.Trainer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/** A run of the trainer as a user starts it, from a YAML file, with everything it told written down. */
public final class TrainingRun {
  private static final ObjectMapper JSON = new ObjectMapper();

  private final Path folder;
  private final Map<String, String> settings = new LinkedHashMap<>();

  /** What one run told. */
  public static final class Told implements TrainListener {
    public Planned plan;
    public final List<StepReport> steps = new ArrayList<>();
    public final List<EvalReport> evaluations = new ArrayList<>();
    public final List<ProbeReport> probes = new ArrayList<>();
    public final List<Path> saved = new ArrayList<>();
    public final List<String> warnings = new ArrayList<>();
    public Finished end;
    private int polls;
    private final int stopAtPoll;

    private Told(int stopAtPoll) {
      this.stopAtPoll = stopAtPoll;
    }

    @Override
    public void planned(Planned p) {
      plan = p;
    }

    @Override
    public void step(StepReport step) {
      steps.add(step);
    }

    @Override
    public void evaluated(EvalReport evaluation) {
      evaluations.add(evaluation);
    }

    @Override
    public void probed(ProbeReport report) {
      probes.add(report);
    }

    @Override
    public void saved(Path path) {
      saved.add(path);
    }

    @Override
    public void warning(String line) {
      warnings.add(line);
    }

    @Override
    public void finished(Finished finished) {
      end = finished;
    }

    @Override
    public boolean stopRequested() {
      return stopAtPoll >= 0 && polls++ >= stopAtPoll;
    }

    /** The loss of every step, in their order. */
    public List<Double> losses() {
      return steps.stream().map(StepReport::loss).toList();
    }
  }

  /**
   * A run whose YAML will lie in {@code folder}: LoRA on {@code model}, on the CPU with one thread, nothing logged but each
   * step, no plot, no checkpoints, output in {@code folder/out}.
   */
  public TrainingRun(Path folder, Path model, Path dataset) {
    this.folder = folder;
    with("model_name_or_path", model.toAbsolutePath());
    with("dataset", dataset.toAbsolutePath());
    with("output_dir", folder.resolve("out").toAbsolutePath());
    with("device", "cpu").with("threads", 1).with("logging_steps", 1).with("save_strategy", "no").with("plot_loss", false);
    with("per_device_train_batch_size", 2);
  }

  /** The 20 steps of a committed golden model, with the settings that its reference was made with. */
  public static TrainingRun golden(Path folder, String model) {
    Path base = Golden.committed(model);
    Path rows = TokenizedRows.golden(base.resolve("golden"), folder.resolve("rows.jsonl"));
    return new TrainingRun(folder, base, rows)
        .with("adapter_name_or_path", base.resolve("golden/adapter_init").toAbsolutePath())
        .with("disable_shuffling", true)
        .with("gradient_accumulation_steps", 2)
        .with("learning_rate", "5e-3")
        .with("lr_scheduler_type", "cosine")
        .with("warmup_steps", 3)
        .with("weight_decay", 0.01)
        .with("max_grad_norm", 1.0)
        .with("num_train_epochs", 1);
  }

  /** A copy with the same settings that writes to {@code folder/name}. */
  public TrainingRun to(String name) {
    TrainingRun copy = copy();
    return copy.with("output_dir", folder.resolve(name).toAbsolutePath());
  }

  private TrainingRun copy() {
    TrainingRun copy = new TrainingRun(folder, Path.of("model"), Path.of("dataset"));
    copy.settings.clear();
    copy.settings.putAll(settings);
    return copy;
  }

  /** Sets a key; null removes it. */
  public TrainingRun with(String key, Object value) {
    if (value == null) {
      settings.remove(key);
    } else {
      settings.put(key, value.toString());
    }
    return this;
  }

  public Path output() {
    return Path.of(settings.get("output_dir"));
  }

  /** Writes the YAML and gives its place. */
  public Path yaml() {
    StringBuilder text = new StringBuilder();
    settings.forEach((key, value) -> text.append(key).append(": ").append(value).append('\n'));
    try {
      return Files.writeString(folder.resolve("run.yaml"), text);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  public Told run() {
    return stopAt(-1);
  }

  /**
   * Runs until the trainer asks for the {@code poll}th time, from 0, whether to stop: it asks before each micro-batch.
   */
  public Told stopAt(int poll) {
    Told told = new Told(poll);
    new Trainer(TrainConfig.load(yaml(), List.of()), told).run();
    return told;
  }

  /** The lines of trainer_log.jsonl. */
  public List<JsonNode> log() {
    try {
      List<JsonNode> lines = new ArrayList<>();
      for (String line : Files.readAllLines(output().resolve("trainer_log.jsonl"))) {
        lines.add(JSON.readTree(line));
      }
      return lines;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** All float tensors of a safetensors file by name. */
  public static Map<String, float[]> tensors(Path file) {
    try (Arena arena = Arena.ofConfined()) {
      SafetensorsFile opened = SafetensorsFile.open(file, arena);
      Map<String, float[]> tensors = new TreeMap<>();
      opened.names().forEach(name -> tensors.put(name, opened.floats(name)));
      return tensors;
    }
  }

  public static byte[] bytes(Path file) {
    try {
      return Files.readAllBytes(file);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
