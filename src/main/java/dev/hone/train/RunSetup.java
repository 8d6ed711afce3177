package dev.hone.train;

import dev.hone.config.Moments;
import dev.hone.config.Sizes;
import dev.hone.config.TrainConfig;
import dev.hone.config.UserError;
import dev.hone.data.Batches;
import dev.hone.data.Example;
import dev.hone.engine.AdapterStart;
import dev.hone.engine.Adapters;
import dev.hone.engine.Model;
import dev.hone.engine.Storage;
import dev.hone.format.PeftAdapter;
import dev.hone.format.PeftConfig;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.device.Devices;
import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.model.Tuning;
import dev.hone.plan.Buffer;
import dev.hone.plan.Plan;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.function.Consumer;
import java.util.zip.CRC32C;

/** A run made ready: the model opened with what trains on it, the data in batches, the steps counted. */
final class RunSetup implements AutoCloseable {
  private final TrainConfig config;
  private final RunInputs inputs;
  private final Kernels kernels;
  private final Batching batching;
  private final Batches batches;
  private final Batches evaluation;
  private final int totalSteps;
  private final PeftConfig peft;
  private final Tuning tuning;
  private final StepShape step;
  private final List<String> reasons;
  private final String beside;
  private final RunBase base;
  private final Model model;
  private final Map<String, String> fingerprint;
  private final Snapshot.Start start;

  /**
   * Reads the weights; what trains starts fresh, from an adapter or from a checkpoint, as the config says.
   *
   * @param note hears what takes long
   * @throws UserError when no device serves or the run does not fit
   */
  static RunSetup open(TrainConfig config, RunInputs inputs, Consumer<String> note) {
    boolean full = config.method() == TrainConfig.Method.FULL;
    Devices.Use use = full ? Devices.Use.FULL_TRAINING : Devices.Use.ADAPTERS_OR_GENERATION;
    Kernels kernels = Devices.open(config.machine().device(), config.machine().threads(), use, RunPlan.computeDtype(config));
    try {
      return new RunSetup(config, inputs, kernels, note);
    } catch (RuntimeException | Error e) {
      kernels.close();
      throw e;
    }
  }

  private RunSetup(TrainConfig config, RunInputs inputs, Kernels kernels, Consumer<String> note) {
    this.config = config;
    this.inputs = inputs;
    this.kernels = kernels;
    ModelSpec spec = inputs.spec();
    PeftAdapter adapter = config.model().adapter().map(folder -> read(folder, spec)).orElse(null);
    boolean full = config.method() == TrainConfig.Method.FULL;
    peft = full ? null : adapter == null ? NewAdapter.config(config) : adapter.config();
    tuning = peft == null ? new Tuning.Full() : Adapters.tuning(spec, peft, dropout(adapter));
    Placer.Placed placed = new Placer(config, inputs, kernels, tuning, storage()).place(note);
    batching = placed.batching();
    batches = inputs.batches(batching);
    evaluation = inputs.evaluationBatches(batching);
    totalSteps = config.schedule().maxSteps().orElseGet(() -> Math.toIntExact(batches.stepsFor(config.schedule().epochs())));
    step = placed.step();
    reasons = placed.reasons();
    beside = placed.beside();
    fingerprint = fingerprint();
    base = RunBase.open(config, inputs, storage(), placed, note);
    Model opened = null;
    try {
      opened = base.model(kernels, tuning, note);
      model = opened;
      start = start(adapter);
    } catch (RuntimeException | Error e) {
      if (opened != null) {
        opened.close();
      }
      base.close();
      throw e;
    }
  }

  private static PeftAdapter read(Path folder, ModelSpec spec) {
    return PeftAdapter.read(folder, Arena.ofAuto(), spec.linears());
  }

  /** An adapter that is continued keeps its dropout unless the YAML gives one. */
  private float dropout(PeftAdapter continued) {
    boolean given = config.origins().containsKey("lora_dropout");
    return (float) (continued == null || given ? config.lora().dropout() : continued.config().dropout());
  }

  private Storage storage() {
    return switch (config.model().quantization()) {
      case NONE -> Storage.AS_STORED;
      case NF4 -> Storage.NF4;
      case NF4_DOUBLE -> Storage.NF4_DOUBLE_QUANTISED;
      case INT8 -> Storage.INT8;
    };
  }

  private Snapshot.Start start(PeftAdapter adapter) {
    if (config.output().resumeFrom().isPresent()) {
      Path checkpoint = config.output().resumeFrom().get();
      Snapshot.Start resumed = Snapshot.read(checkpoint, model.parameters(), fingerprint);
      if (resumed.step() > totalSteps) {
        throw UserError.of(
            "%s has done %d steps and this run is to end after %d; raise %s",
            checkpoint, resumed.step(), totalSteps,
            config.schedule().maxSteps().isPresent() ? "max_steps" : "num_train_epochs");
      }
      return resumed;
    }
    if (adapter != null) {
      Adapters.load(adapter, model.parameters());
    } else if (tuning instanceof Tuning.Lora lora) {
      AdapterStart.fill(model.parameters(), lora, config.seed());
    }
    return Snapshot.Start.fresh();
  }

  /** What the order of the data and the dropout masks follow from, beside the step. */
  private Map<String, String> fingerprint() {
    return Map.of(
        "seed", Long.toString(config.seed()),
        "data_seed", Long.toString(config.data().shuffleSeed()),
        "disable_shuffling", Boolean.toString(!config.data().shuffle()),
        "per_device_train_batch_size", Integer.toString(batching.rows()),
        "gradient_accumulation_steps", Integer.toString(batching.accumulation()),
        "dataset checksum", checksum(inputs.data().train()));
  }

  private static String checksum(List<Example> rows) {
    CRC32C crc = new CRC32C();
    byte[] four = new byte[4];
    for (Example row : rows) {
      for (int[] values : List.of(row.ids(), row.labels())) {
        for (int value : values) {
          four[0] = (byte) value;
          four[1] = (byte) (value >> 8);
          four[2] = (byte) (value >> 16);
          four[3] = (byte) (value >> 24);
          crc.update(four);
        }
      }
    }
    return Long.toHexString(crc.getValue());
  }

  /** What a person should know before the first step. */
  List<String> summary() {
    ModelSpec spec = inputs.spec();
    List<String> lines = new ArrayList<>();
    long trained = ParameterShape.trained(spec, tuning).stream().mapToLong(ParameterShape::elements).sum();
    lines.add(
        format(
            "model    %s: %s, %s parameters, linear layers %s, activations %s",
            inputs.base().folder().getFileName(), spec.architecture(), count(spec.parameters()),
            switch (config.model().quantization()) {
              case NONE -> "as stored";
              case NF4 -> "in NF4";
              case NF4_DOUBLE -> "in double-quantised NF4";
              case INT8 -> "in int8";
            },
            activations()));
    lines.add(
        format(
            "trains   %s, %s parameters (%.2f %% of the model)%s",
            peft == null ? "everything" : "LoRA r " + peft.rank() + ", alpha " + trim(peft.alpha()), count(trained),
            100.0 * trained / spec.parameters(), step.moments() == Moments.EIGHT_BIT ? ", AdamW's moments in 8 bits" : ""));
    lines.add("data     " + inputs.data().report().summary()
        + inputs.data().template().map(t -> "; template " + t.name()).orElse(""));
    lines.add(
        format(
            "steps    %d of %d x %d rows%s, %.2f epochs", totalSteps, batching.accumulation(), batching.rows(),
            config.schedule().autoBatch() ? " (auto_find_batch_size)" : "", batches.epochAfter(totalSteps)));
    lines.add("memory   " + Sizes.text(model.plan().arenaBytes()) + " of buffers: " + kinds(model.plan()) + hostStates(model.plan())
        + (step.recompute() ? "; activations recomputed in backward" : "")
        + (beside.isEmpty() ? "" : "; beside " + beside));
    if (!reasons.isEmpty()) {
      lines.add("places   " + String.join("; ", reasons));
    }
    lines.add("device   " + kernels.describe());
    lines.addAll(model.remarks());
    return lines;
  }

  /** The activations' dtype; with a word when it is not the one asked for. */
  private String activations() {
    DType asked = RunPlan.computeDtype(config);
    boolean other = config.origins().containsKey("compute_dtype") && step.compute() != asked;
    return step.compute() + (other ? " (compute_dtype " + (asked == DType.F16 ? "fp16 is for cards)" : "is for the CPU)") : "");
  }

  private static String kinds(Plan plan) {
    List<String> parts = new ArrayList<>();
    plan.bytesByKind().forEach((kind, bytes) -> {
      if (bytes > 0) {
        parts.add(kind.title() + " " + Sizes.text(bytes));
      }
    });
    return String.join(", ", parts);
  }

  private static String hostStates(Plan plan) {
    long bytes = plan.host().stream().filter(b -> b.kind() == Buffer.Kind.OPTIMIZER).mapToLong(Plan.HostBuffer::bytes).sum();
    return bytes > 0 ? "; " + Sizes.text(bytes) + " of " + Buffer.Kind.OPTIMIZER.title() + " on the host" : "";
  }

  private static String trim(double value) {
    return value == Math.rint(value) ? Long.toString((long) value) : Double.toString(value);
  }

  private static String count(long n) {
    return n < 1_000_000 ? format("%.1fK", n / 1e3) : n < 1_000_000_000 ? format("%.1fM", n / 1e6) : format("%.2fB", n / 1e9);
  }

  private static String format(String pattern, Object... values) {
    return String.format(Locale.ROOT, pattern, values);
  }

  Kernels kernels() {
    return kernels;
  }

  /** The dtype of the activations. */
  DType computeDtype() {
    return step.compute();
  }

  Model model() {
    return model;
  }

  Batching batching() {
    return batching;
  }

  Batches batches() {
    return batches;
  }

  /** Null when there is nothing to evaluate. */
  Batches evaluationBatches() {
    return evaluation;
  }

  int totalSteps() {
    return totalSteps;
  }

  Snapshot.Start start() {
    return start;
  }

  RunOutput output() {
    return new RunOutput(config, inputs.base(), tuning, peft, model.parameters(), fingerprint, kernels);
  }

  @Override
  public void close() {
    model.close();
    base.close();
    kernels.close();
  }
}
