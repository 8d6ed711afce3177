package dev.hone.train;

import dev.hone.config.TrainConfig;
import dev.hone.config.UserError;
import dev.hone.data.Batches;
import dev.hone.data.DataOptions;
import dev.hone.data.DatasetSource;
import dev.hone.data.Example;
import dev.hone.data.Form;
import dev.hone.data.TrainingData;
import dev.hone.engine.BaseModel;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.RopeSpec;
import dev.hone.text.Tokenizer;
import java.util.List;
import java.util.Optional;

/** The files a run reads, opened and checked: the base model, its tokenizer and the data as tokens. */
public final class RunInputs implements AutoCloseable {
  private final TrainConfig config;
  private final BaseModel base;
  private final ModelSpec spec;
  private final Tokenizer tokenizer;
  private final TrainingData data;
  private final List<Example> probes;

  /**
   * Opens everything a run needs.
   *
   * @throws UserError for whatever is wrong with the model's files or the data
   */
  public static RunInputs open(TrainConfig config) {
    BaseModel base = base(config);
    Tokenizer tokenizer = null;
    try {
      tokenizer = Tokenizer.in(base.folder()) ? Tokenizer.open(base.folder()) : null;
      return new RunInputs(config, base, tokenizer);
    } catch (RuntimeException | Error e) {
      base.close();
      if (tokenizer != null) {
        tokenizer.close();
      }
      throw e;
    }
  }

  private static BaseModel base(TrainConfig config) {
    TrainConfig.Model model = config.model();
    if (model.like().isPresent()) {
      try (CpuKernels kernels = new CpuKernels()) {
        return BaseModel.like(kernels, model.like().get(), config.seed());
      }
    }
    return model.fromScratch() ? BaseModel.random(model.directory(), config.seed()) : BaseModel.open(model.directory());
  }

  private RunInputs(TrainConfig config, BaseModel base, Tokenizer tokenizer) {
    this.config = config;
    this.base = base;
    this.tokenizer = tokenizer;
    TrainConfig.Data settings = config.data();
    spec = stretched(base.spec(), config.model().ropeScaling(), settings.cutoffLength());
    data = TrainingData.load(
        sources(settings.datasets()), sources(settings.evalDatasets()), options(settings), tokenizer, spec.vocab());
    probes = settings.probeDatasets().isEmpty() ? List.of() : probes(settings);
  }

  private List<DatasetSource> sources(List<String> names) {
    return DatasetSource.resolve(names, config.data().directory(), config::locate);
  }

  private DataOptions options(TrainConfig.Data settings) {
    return new DataOptions(
        config.stage() == TrainConfig.Stage.PT ? DataOptions.Stage.PT : DataOptions.Stage.SFT,
        settings.format().flatMap(Form::named),
        settings.template(),
        settings.cutoffLength(),
        DataOptions.Overlong.valueOf(settings.overlong().name()),
        settings.packing(),
        false,
        settings.trainOnPrompt(),
        settings.maskHistory(),
        settings.maxSamples(),
        settings.evalShare(),
        settings.evalCount(),
        settings.shuffleSeed());
  }

  private List<Example> probes(TrainConfig.Data settings) {
    if (tokenizer == null) {
      throw UserError.of(
          "%s: probe_dataset needs a tokenizer, and %s has no tokenizer.json", config.where("probe_dataset"), base.folder());
    }
    DataOptions options =
        DataOptions.of(DataOptions.Stage.SFT).withCutoff(settings.cutoffLength(), DataOptions.Overlong.CUT);
    Optional<String> template = settings.template();
    DataOptions named = template.isPresent() ? options.withTemplate(template.get()) : options;
    return TrainingData.load(sources(settings.probeDatasets()), List.of(), named, tokenizer, spec.vocab()).train();
  }

  /** The spec with LLaMA-Factory's rope_scaling on it, where the cutoff is longer than the model was made for. */
  private static ModelSpec stretched(ModelSpec spec, Optional<TrainConfig.RopeScaling> scaling, int cutoff) {
    double factor = Math.ceil((double) cutoff / spec.maxPositions());
    if (scaling.isEmpty() || factor <= 1) {
      return spec;
    }
    int original = spec.maxPositions();
    RopeSpec.Scaling how =
        switch (scaling.get()) {
          case LINEAR -> new RopeSpec.Scaling.Linear(factor);
          case DYNAMIC -> new RopeSpec.Scaling.Dynamic(factor, original);
          case YARN -> new RopeSpec.Scaling.Yarn(factor, original, 32, 1, 0.1 * Math.log(factor) + 1, true);
          case LLAMA3 -> new RopeSpec.Scaling.Llama3(factor, 1, 4, original);
        };
    return spec.withRope(new RopeSpec(spec.rope().theta(), spec.rope().rotaryDims(), how), (int) (original * factor));
  }

  public BaseModel base() {
    return base;
  }

  /** The model's shape, with the run's rope_scaling. */
  public ModelSpec spec() {
    return spec;
  }

  /** Null when the model directory has none. */
  public Tokenizer tokenizer() {
    return tokenizer;
  }

  public TrainingData data() {
    return data;
  }

  /** Rows of probe_dataset, empty none. */
  public List<Example> probes() {
    return probes;
  }

  Batches batches(Batching batching) {
    return new Batches(
        data.train(), batching.rows(), batching.accumulation(), config.data().shuffle(), config.data().shuffleSeed());
  }

  /** Null when there is nothing to evaluate. */
  Batches evaluationBatches(Batching batching) {
    return data.evaluation().isEmpty() ? null : Batches.inOrder(data.evaluation(), batching.evaluationRows());
  }

  @Override
  public void close() {
    if (tokenizer != null) {
      tokenizer.close();
    }
    base.close();
  }
}
