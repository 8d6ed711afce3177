package dev.hone.config;

import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.OptionalInt;

/**
 * A checked training run: what {@code hone train FILE.yaml} does. docs/config.md describes every key.
 *
 * @param source the YAML, as the user named it
 * @param stage what the rows teach
 * @param method which weights learn
 * @param lora the adapters; unused with {@link Method#FULL}
 * @param notes lines for the user: keys that have no effect, with where and why
 * @param origins place of each key that was given, for {@link #where}
 * @param locations what relative dataset paths are relative to
 */
public record TrainConfig(
    Path source,
    Stage stage,
    Method method,
    Model model,
    Lora lora,
    Data data,
    Optimizer optimizer,
    Schedule schedule,
    Output output,
    Evaluation evaluation,
    Machine machine,
    long seed,
    List<String> notes,
    Map<String, Origin> origins,
    Locations locations) {

  /** What the rows teach: continued pre-training on every token, or supervised fine-tuning on answers. */
  public enum Stage {
    PT,
    SFT
  }

  /** Which weights learn. */
  public enum Method {
    LORA,
    FULL
  }

  /** How the linear layers of the base are kept in memory. */
  public enum Quantization {
    /** As stored in the checkpoint. */
    NONE,
    /** NF4 in blocks of 64 with f32 maxima. */
    NF4,
    /** NF4 with 8-bit maxima. */
    NF4_DOUBLE,
    /** Signed bytes with an f32 scale a row. */
    INT8
  }

  /** Dtype of activations. */
  public enum ComputeDtype {
    FP32,
    BF16,
    FP16
  }

  /**
   * LLaMA-Factory's rope_scaling; the factor is ceil(cutoff_len / max_position_embeddings), and 1 or less means none.
   */
  public enum RopeScaling {
    LINEAR,
    DYNAMIC,
    YARN,
    LLAMA3
  }

  /** Shape of the learning rate. */
  public enum Scheduler {
    LINEAR,
    COSINE,
    /** No warm-up either, as in transformers. */
    CONSTANT,
    CONSTANT_WITH_WARMUP
  }

  /** When something recurring happens. */
  public enum Strategy {
    NO,
    STEPS,
    EPOCH
  }

  /** What becomes of a row that is longer than the cutoff. */
  public enum Overlong {
    /** As in LLaMA-Factory: the longer of prompt and answer loses its end. */
    CUT,
    CUT_END,
    DROP,
    ERROR
  }

  /** Whether a layer's inner activations are computed again in backward. */
  public enum Recompute {
    /** The plan decides by the memory there is. */
    AUTO,
    ON,
    OFF
  }

  /**
   * The base.
   *
   * @param directory a folder that exists; of a built-in shape only a name
   * @param like the name of a built-in shape, whose weights are random; else empty
   * @param layerCache folder of the quantised bases; empty: none are kept
   * @param adapter a PEFT adapter to continue, whose settings replace {@link Lora}'s rank, alpha, targets and rslora
   * @param fromScratch random weights instead of the folder's
   */
  public record Model(
      Path directory,
      Optional<String> like,
      Optional<Path> layerCache,
      Optional<Path> adapter,
      Quantization quantization,
      ComputeDtype computeDtype,
      Optional<RopeScaling> ropeScaling,
      boolean fromScratch) {}

  /**
   * New adapters.
   *
   * @param targets names such as q_proj; empty means all linear layers but the head
   */
  public record Lora(int rank, double alpha, double dropout, List<String> targets, boolean rslora) {
    /** Factor on the adapter's output: alpha / r, or alpha / sqrt(r) with rsLoRA. */
    public double scale() {
      return rslora ? alpha / Math.sqrt(rank) : alpha / rank;
    }

    public boolean allTargets() {
      return targets.isEmpty();
    }
  }

  /**
   * Rows and how they become tokens.
   *
   * @param datasets files or names of {@code dataset_info.json}; {@link TrainConfig#locate} finds files
   * @param probeDatasets rows answered before and after training; empty none
   * @param directory of dataset_info.json; need not exist when all datasets are files
   * @param format alpaca, messages, sharegpt, text or tokenized; empty: recognised from the fields
   * @param template empty: chosen by the model
   * @param evalShare share of the rows kept for evaluation, 0 none
   * @param evalCount rows kept for evaluation, 0 none; at most one of the two is set
   * @param shuffleSeed of the order of the rows
   */
  public record Data(
      List<String> datasets,
      List<String> evalDatasets,
      List<String> probeDatasets,
      Path directory,
      Optional<String> format,
      Optional<String> template,
      int cutoffLength,
      Overlong overlong,
      boolean packing,
      boolean trainOnPrompt,
      boolean maskHistory,
      OptionalInt maxSamples,
      double evalShare,
      int evalCount,
      boolean shuffle,
      long shuffleSeed) {
    public boolean hasEvaluation() {
      return !evalDatasets.isEmpty() || evalShare > 0 || evalCount > 0;
    }
  }

  /** AdamW and what comes before it. A maxGradNorm of 0 does not clip. */
  public record Optimizer(
      double learningRate, double beta1, double beta2, double epsilon, double weightDecay, double maxGradNorm,
      double labelSmoothing, Moments moments) {}

  /**
   * Length of the run and shape of the learning rate.
   *
   * @param batch rows of a micro-batch
   * @param accumulation micro-batches of a step
   * @param autoBatch whether batch and accumulation may change where their product stays
   * @param epochs used when maxSteps is empty
   * @param warmupSteps 0: by warmupRatio; below 1: a share itself
   */
  public record Schedule(
      int batch, int accumulation, boolean autoBatch, double epochs, OptionalInt maxSteps, Scheduler scheduler, double warmupRatio,
      double warmupSteps) {
    /** Steps that rise from 0, of a run of {@code totalSteps}. */
    public int warmup(int totalSteps) {
      if (scheduler == Scheduler.CONSTANT) {
        return 0;
      }
      if (warmupSteps >= 1) {
        return (int) warmupSteps;
      }
      return (int) Math.ceil(totalSteps * (warmupSteps > 0 ? warmupSteps : warmupRatio));
    }
  }

  /**
   * What is written and when.
   *
   * @param directory may not exist yet
   * @param overwrite whether a run that is already there may be replaced
   * @param resumeFrom a checkpoint folder that exists
   */
  public record Output(
      Path directory,
      boolean overwrite,
      int loggingSteps,
      boolean logFirstStep,
      Strategy saveStrategy,
      int saveSteps,
      OptionalInt saveTotalLimit,
      boolean saveOnlyModel,
      boolean plotLoss,
      Optional<Path> resumeFrom) {
    /** Whether step {@code step} (from 1) of {@code totalSteps} gets a line in the log; the last one does. */
    public boolean logs(int step, int totalSteps) {
      return step % loggingSteps == 0 || step == totalSteps || (logFirstStep && step == 1);
    }
  }

  /** When the evaluation data are evaluated, in steps with {@link Strategy#STEPS}; never without such data. */
  public record Evaluation(Strategy strategy, int steps, int batch) {}

  /** Where to compute and what lies where. Threads of the CPU; 0: one for each core. */
  public record Machine(DeviceChoice device, int threads, Recompute recompute, Placement placement) {
    /** What is fixed of a placement on a card; gradient_checkpointing fixes what becomes of activations. */
    public Placement fixed() {
      if (placement.activations() != Placement.Activations.AUTO || recompute == Recompute.AUTO) {
        return placement;
      }
      return placement.withActivations(
          recompute == Recompute.ON ? Placement.Activations.RECOMPUTE : Placement.Activations.KEEP);
    }

    /** Whether the CPU recomputes activations. */
    public Recompute recomputes() {
      return switch (placement.activations()) {
        case KEEP -> Recompute.OFF;
        case RECOMPUTE -> Recompute.ON;
        case AUTO, OFFLOAD, SAVE_ALL -> recompute;
      };
    }
  }

  /**
   * Reads, checks and resolves a YAML.
   *
   * @param yaml the file
   * @param overrides {@code key=value} each; they win over the file
   * @throws UserError for every mistake in them, with file and line
   */
  public static TrainConfig load(Path yaml, List<String> overrides) {
    return new TrainConfigReader(yaml, overrides).read();
  }

  /** {@code file:line} of a key, or the file when the key is not given: for messages about its value. */
  public String where(String key) {
    Origin origin = origins.get(key);
    return origin == null ? source.toString() : origin.toString();
  }

  /** The file or folder meant by a path of this YAML: relative to the working directory, else to the YAML's folder. */
  public Path locate(String path) {
    return locations.locate(path);
  }
}
