package dev.hone.config;

import dev.hone.config.TrainConfig.ComputeDtype;
import dev.hone.config.TrainConfig.Method;
import dev.hone.config.TrainConfig.Overlong;
import dev.hone.config.TrainConfig.Quantization;
import dev.hone.config.TrainConfig.Recompute;
import dev.hone.config.TrainConfig.RopeScaling;
import dev.hone.config.TrainConfig.Scheduler;
import dev.hone.config.TrainConfig.Stage;
import dev.hone.config.TrainConfig.Strategy;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.TreeMap;
import java.util.stream.Stream;

/** Turns checked {@link Settings} into a {@link TrainConfig}: what depends on two keys, on defaults or on files. */
final class TrainConfigReader {
  private final Path yaml;
  private final Settings settings;
  private final Locations locations;
  private final List<String> notes;

  TrainConfigReader(Path yaml, List<String> overrides) {
    this.yaml = yaml;
    this.settings = Settings.read(yaml, overrides);
    Path file = yaml.toAbsolutePath();
    this.locations = new Locations(Path.of("").toAbsolutePath(), file.getParent());
    this.notes = new ArrayList<>(settings.idle());
  }

  TrainConfig read() {
    Stage stage = settings.get(Keys.STAGE).equals("pt") ? Stage.PT : Stage.SFT;
    Method method = settings.get(Keys.FINETUNING_TYPE).equals("full") ? Method.FULL : Method.LORA;
    TrainConfig.Model model = model();
    checkMethod(method, model);
    return new TrainConfig(
        yaml, stage, method, model, lora(), data(stage), optimizer(), schedule(), output(), evaluation(), machine(),
        settings.get(Keys.SEED), List.copyOf(notes), origins(), locations);
  }

  private TrainConfig.Model model() {
    Optional<String> like = like();
    Path directory = like.map(name -> Path.of("like-" + name)).orElseGet(this::modelFolder);
    Optional<Path> adapter = settings.find(Keys.ADAPTER).map(text -> {
      Path folder = locations.locate(text);
      if (!Files.isDirectory(folder)) {
        throw settings.mistake(Keys.ADAPTER, "adapter_name_or_path: %s is not a folder%s", folder,
            text.contains(",") ? "; give one adapter only" : "; give the folder of a PEFT adapter");
      }
      return folder;
    });
    Quantization quantization =
        switch (settings.get(Keys.QUANTIZATION_BIT)) {
          case "4" -> settings.get(Keys.DOUBLE_QUANTIZATION) ? Quantization.NF4_DOUBLE : Quantization.NF4;
          case "8" -> Quantization.INT8;
          default -> Quantization.NONE;
        };
    Optional<Path> cache =
        settings.get(Keys.LAYER_CACHE)
            ? Optional.of(settings.find(Keys.LAYER_CACHE_DIR)
                .map(text -> locations.workingDirectory().resolve(text).normalize())
                .orElseGet(CacheFolder::find))
            : Optional.empty();
    String compute = settings.find(Keys.COMPUTE_DTYPE).orElse(settings.get(Keys.BF16) ? "bf16" : "fp32");
    return new TrainConfig.Model(
        directory,
        like,
        cache,
        adapter,
        quantization,
        constant(ComputeDtype.class, compute),
        settings.find(Keys.ROPE_SCALING).map(text -> constant(RopeScaling.class, text)),
        settings.get(Keys.FROM_SCRATCH));
  }

  /** The name behind like:, of a built-in shape. */
  private Optional<String> like() {
    String text = settings.get(Keys.MODEL);
    return text.startsWith("like:") ? Optional.of(text.substring("like:".length())) : Optional.empty();
  }

  private Path modelFolder() {
    String text = settings.get(Keys.MODEL);
    Path folder = locations.locate(text);
    if (Files.isDirectory(folder)) {
      return folder;
    }
    return HubCache.find(text)
        .orElseThrow(() -> settings.mistake(Keys.MODEL,
            "model_name_or_path: no folder %s, and %s is not in the Hugging Face cache; download the model and give its folder",
            folder, text));
  }

  private void checkMethod(Method method, TrainConfig.Model model) {
    if (method == Method.FULL) {
      if (model.quantization() != Quantization.NONE) {
        throw settings.mistake(Keys.QUANTIZATION_BIT,
            "quantization_bit %s needs finetuning_type lora; quantised weights cannot be trained in full",
            settings.get(Keys.QUANTIZATION_BIT));
      }
      if (model.adapter().isPresent()) {
        throw settings.mistake(Keys.ADAPTER, "adapter_name_or_path needs finetuning_type lora");
      }
      noteUnused("finetuning_type is full", Keys.LORA_RANK, Keys.LORA_ALPHA, Keys.LORA_DROPOUT, Keys.LORA_TARGET,
          Keys.USE_RSLORA);
    } else if (model.fromScratch()) {
      throw settings.mistake(Keys.FROM_SCRATCH,
          "train_from_scratch needs finetuning_type full: an adapter on random weights learns nothing");
    } else if (model.adapter().isPresent()) {
      noteUnused("the adapter of adapter_name_or_path brings its own", Keys.LORA_RANK, Keys.LORA_ALPHA,
          Keys.LORA_TARGET,
          Keys.USE_RSLORA);
    }
    if (model.quantization() == Quantization.NONE || model.quantization() == Quantization.INT8) {
      noteUnused("quantization_bit is not 4", Keys.DOUBLE_QUANTIZATION);
    }
    if (model.like().isPresent() && (method == Method.FULL || model.fromScratch())) {
      throw settings.mistake(Keys.MODEL, "model_name_or_path: %s has random NF4 weights, which cannot be trained in full; use"
          + " finetuning_type lora", settings.get(Keys.MODEL));
    }
  }

  private void noteUnused(String why, Key<?>... keys) {
    for (Key<?> key : keys) {
      if (settings.isGiven(key)) {
        notes.add(settings.origin(key.name()) + ": " + key.name() + " has no effect: " + why);
      }
    }
  }

  private TrainConfig.Lora lora() {
    int rank = settings.get(Keys.LORA_RANK);
    List<String> targets = settings.get(Keys.LORA_TARGET);
    if (targets.size() > 1 && (targets.contains("all") || targets.contains("all-linear"))) {
      throw settings.mistake(Keys.LORA_TARGET, "lora_target: `all` stands alone; want all or a list of layer names");
    }
    boolean all = targets.equals(List.of("all")) || targets.equals(List.of("all-linear"));
    return new TrainConfig.Lora(
        rank,
        settings.find(Keys.LORA_ALPHA).orElse(2.0 * rank),
        settings.get(Keys.LORA_DROPOUT),
        all ? List.of() : targets,
        settings.get(Keys.USE_RSLORA));
  }

  private TrainConfig.Data data(Stage stage) {
    List<String> evaluation = settings.find(Keys.EVAL_DATASET).orElse(List.of());
    double valSize = settings.get(Keys.VAL_SIZE);
    if (valSize > 0 && !evaluation.isEmpty()) {
      throw settings.mistake(Keys.VAL_SIZE, "val_size and eval_dataset exclude each other; keep one");
    }
    if (valSize >= 1 && (valSize != Math.rint(valSize) || valSize > Integer.MAX_VALUE)) {
      throw settings.mistake(Keys.VAL_SIZE, "val_size is `%s`; want a share below 1 or a whole count of rows", valSize);
    }
    boolean neat = settings.get(Keys.NEAT_PACKING);
    boolean packing = neat || settings.find(Keys.PACKING).orElse(stage == Stage.PT);
    if (neat && settings.find(Keys.PACKING).equals(Optional.of(false))) {
      throw settings.mistake(Keys.NEAT_PACKING, "neat_packing: true contradicts packing: false; keep one");
    }
    return new TrainConfig.Data(
        settings.get(Keys.DATASET),
        evaluation,
        settings.find(Keys.PROBE_DATASET).orElse(List.of()),
        locations.locate(settings.get(Keys.DATASET_DIR)),
        settings.find(Keys.DATASET_FORMAT),
        settings.find(Keys.TEMPLATE),
        settings.get(Keys.CUTOFF_LEN),
        constant(Overlong.class, settings.get(Keys.OVERLONG)),
        packing,
        settings.get(Keys.TRAIN_ON_PROMPT),
        settings.get(Keys.MASK_HISTORY),
        optional(Keys.MAX_SAMPLES),
        valSize < 1 ? valSize : 0,
        valSize < 1 ? 0 : (int) valSize,
        !settings.get(Keys.DISABLE_SHUFFLING),
        settings.find(Keys.DATA_SEED).orElse(settings.get(Keys.SEED)));
  }

  private TrainConfig.Optimizer optimizer() {
    String optim = settings.get(Keys.OPTIM);
    Moments moments = Moments.of(optim);
    if (optim.startsWith("paged")) {
      notes.add(
          settings.origin("optim") + ": optim " + optim + " is " + moments.optim() + " here; optimizer_placement says where its states lie");
    }
    return new TrainConfig.Optimizer(
        settings.get(Keys.LEARNING_RATE),
        settings.get(Keys.BETA1),
        settings.get(Keys.BETA2),
        settings.get(Keys.EPSILON),
        settings.get(Keys.WEIGHT_DECAY),
        settings.get(Keys.MAX_GRAD_NORM),
        settings.get(Keys.LABEL_SMOOTHING),
        moments);
  }

  private TrainConfig.Schedule schedule() {
    double warmupSteps = settings.get(Keys.WARMUP_STEPS);
    if (warmupSteps > 1 && (warmupSteps != Math.rint(warmupSteps) || warmupSteps > Integer.MAX_VALUE)) {
      throw settings.mistake(Keys.WARMUP_STEPS, "warmup_steps is `%s`; want a whole number, or a share below 1",
          warmupSteps);
    }
    int maxSteps = settings.get(Keys.MAX_STEPS);
    return new TrainConfig.Schedule(
        settings.get(Keys.TRAIN_BATCH),
        settings.get(Keys.ACCUMULATION),
        settings.get(Keys.AUTO_BATCH),
        settings.get(Keys.EPOCHS),
        maxSteps > 0 ? OptionalInt.of(maxSteps) : OptionalInt.empty(),
        constant(Scheduler.class, settings.get(Keys.LR_SCHEDULER)),
        settings.get(Keys.WARMUP_RATIO),
        warmupSteps);
  }

  private TrainConfig.Output output() {
    Path directory = locations.workingDirectory().resolve(settings.get(Keys.OUTPUT_DIR)).normalize();
    if (Files.exists(directory) && !Files.isDirectory(directory)) {
      throw settings.mistake(Keys.OUTPUT_DIR, "output_dir: %s is a file; give a folder", directory);
    }
    return new TrainConfig.Output(
        directory,
        settings.get(Keys.OVERWRITE),
        settings.get(Keys.LOGGING_STEPS),
        settings.get(Keys.LOGGING_FIRST_STEP),
        constant(Strategy.class, settings.get(Keys.SAVE_STRATEGY)),
        settings.get(Keys.SAVE_STEPS),
        optional(Keys.SAVE_TOTAL_LIMIT),
        settings.get(Keys.SAVE_ONLY_MODEL),
        settings.get(Keys.PLOT_LOSS),
        settings.find(Keys.RESUME).flatMap(text -> resume(text, directory)));
  }

  private Optional<Path> resume(String text, Path output) {
    if (text.equalsIgnoreCase("false")) {
      return Optional.empty();
    }
    if (!text.equalsIgnoreCase("true")) {
      Path checkpoint = locations.locate(text);
      if (!Files.isDirectory(checkpoint)) {
        throw settings.mistake(Keys.RESUME,
            "resume_from_checkpoint: %s is not a folder; give a checkpoint-N folder or true",
            checkpoint);
      }
      return Optional.of(checkpoint);
    }
    return Optional.of(newestCheckpoint(output).orElseThrow(() -> settings.mistake(Keys.RESUME,
        "resume_from_checkpoint: %s holds no checkpoint-N; remove the key to start anew", output)));
  }

  private static Optional<Path> newestCheckpoint(Path output) {
    if (!Files.isDirectory(output)) {
      return Optional.empty();
    }
    try (Stream<Path> entries = Files.list(output)) {
      return entries
          .filter(p -> p.getFileName().toString().matches("checkpoint-\\d{1,9}") && Files.isDirectory(p))
          .max(Comparator.comparingInt(p -> Integer.parseInt(p.getFileName().toString().substring("checkpoint-".length()))));
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  private TrainConfig.Evaluation evaluation() {
    boolean hasData = settings.find(Keys.EVAL_DATASET).isPresent() || settings.get(Keys.VAL_SIZE) > 0;
    String strategy = settings.find(Keys.EVAL_STRATEGY)
        .orElse(settings.isGiven(Keys.EVAL_STEPS) && hasData ? "steps" : hasData ? "epoch" : "no");
    if (!hasData && !strategy.equals("no")) {
      throw settings.mistake(Keys.EVAL_STRATEGY,
          "eval_strategy is `%s` but nothing is there to evaluate; set val_size or eval_dataset",
          strategy);
    }
    if (!hasData) {
      noteUnused("there is no evaluation data", Keys.EVAL_STEPS);
    }
    return new TrainConfig.Evaluation(
        constant(Strategy.class, strategy),
        settings.find(Keys.EVAL_STEPS).orElse(settings.get(Keys.LOGGING_STEPS)),
        settings.get(Keys.EVAL_BATCH));
  }

  private TrainConfig.Machine machine() {
    Optional<Boolean> on = settings.find(Keys.GRADIENT_CHECKPOINTING);
    Optional<Boolean> off = settings.find(Keys.NO_GRADIENT_CHECKPOINTING);
    if (on.isPresent() && on.equals(off)) {
      throw settings.mistake(Keys.NO_GRADIENT_CHECKPOINTING,
          "disable_gradient_checkpointing contradicts gradient_checkpointing; keep one");
    }
    Recompute recompute = on.or(() -> off.map(b -> !b)).map(b -> b ? Recompute.ON : Recompute.OFF)
        .orElse(Recompute.AUTO);
    DeviceChoice device = settings.get(Keys.DEVICE)
        .withRivalry(Rivalry.of(settings.get(Keys.CUDA_PRODUCTS), settings.get(Keys.CUDA_KERNELS), settings.get(Keys.CUDA_GRAPHS)));
    return new TrainConfig.Machine(
        settings.find(Keys.CUDA_DRIVER).map(device::withDriver).orElse(device), settings.get(Keys.THREADS), recompute,
        placement(recompute));
  }

  private Placement placement(Recompute recompute) {
    Placement.Activations activations = constant(Placement.Activations.class, settings.get(Keys.ACTIVATION_PLACEMENT));
    boolean again = activations == Placement.Activations.RECOMPUTE || activations == Placement.Activations.OFFLOAD;
    if (activations != Placement.Activations.AUTO && recompute != Recompute.AUTO && again != (recompute == Recompute.ON)) {
      throw settings.mistake(Keys.ACTIVATION_PLACEMENT,
          "activation_placement: %s contradicts gradient_checkpointing; keep one", settings.get(Keys.ACTIVATION_PLACEMENT));
    }
    Placement.Weights weights = constant(Placement.Weights.class, settings.get(Keys.WEIGHT_PLACEMENT));
    OptionalInt layers = optional(Keys.RESIDENT_LAYERS);
    if (layers.isPresent() && weights == Placement.Weights.RESIDENT) {
      throw settings.mistake(Keys.RESIDENT_LAYERS, "resident_layers contradicts weight_placement: resident; keep one");
    }
    return new Placement(
        weights, layers, activations,
        constant(Placement.Where.class, settings.get(Keys.HEAD_PLACEMENT)),
        constant(Placement.Where.class, settings.get(Keys.EMBEDDING_PLACEMENT)),
        constant(Placement.Where.class, settings.get(Keys.OPTIMIZER_PLACEMENT)),
        bytes(Keys.VRAM_LIMIT), bytes(Keys.RAM_LIMIT), bytes(Keys.PINNED_LIMIT));
  }

  private OptionalLong bytes(Key<Long> key) {
    return settings.find(key).map(OptionalLong::of).orElse(OptionalLong.empty());
  }

  private Map<String, Origin> origins() {
    Map<String, Origin> places = new TreeMap<>();
    for (String name : Keys.all().keySet()) {
      Origin origin = settings.origin(name);
      if (settings.isGiven(Keys.all().get(name))) {
        places.put(name, origin);
      }
    }
    return Map.copyOf(places);
  }

  private OptionalInt optional(Key<Integer> key) {
    return settings.find(key).map(OptionalInt::of).orElse(OptionalInt.empty());
  }

  private static <E extends Enum<E>> E constant(Class<E> type, String text) {
    return Enum.valueOf(type, text.toUpperCase(Locale.ROOT));
  }
}
