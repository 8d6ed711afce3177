package dev.hone.train;

import dev.hone.config.Placement;
import dev.hone.config.Rivalry;
import dev.hone.config.TrainConfig;
import dev.hone.config.UserError;
import dev.hone.engine.Adapters;
import dev.hone.engine.Model;
import dev.hone.format.HfConfig;
import dev.hone.format.PeftConfig;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.kernel.cuda.CudaKernels;
import dev.hone.model.Architectures;
import dev.hone.model.BuiltInShapes;
import dev.hone.model.ModelSpec;
import dev.hone.model.Tuning;
import dev.hone.plan.BlobBytes;
import dev.hone.plan.CardSpec;
import dev.hone.plan.Layout;
import dev.hone.plan.Plan;
import dev.hone.plan.Planner;
import dev.hone.plan.StepShape;
import dev.hone.plan.TrainingPlan;
import dev.hone.tensor.DType;
import java.util.List;

/** A run planned from its settings and the model's config.json alone: nothing else is read. */
public final class RunPlan {
  private final TrainConfig config;
  private final ModelSpec spec;
  private final Tuning tuning;
  private final List<StepShape> steps;

  /** @throws UserError when the model's shape or an adapter cannot be read */
  public RunPlan(TrainConfig config) {
    this.config = config;
    HfConfig model =
        config.model().like().map(BuiltInShapes::config).orElseGet(() -> HfConfig.read(config.model().directory()));
    spec = Architectures.of(model);
    tuning =
        config.method() == TrainConfig.Method.FULL
            ? new Tuning.Full()
            : Adapters.tuning(
                spec, config.model().adapter().map(PeftConfig::read).orElseGet(() -> NewAdapter.config(config)),
                (float) config.lora().dropout());
    int length = config.data().cutoffLength();
    steps = Batching.of(config).stream()
        .map(b -> new StepShape(DType.BF16, true, Math.multiplyExact(b.rows(), length), b.rows(), length))
        .map(shape -> shape.withMoments(config.optimizer().moments())).toList();
  }

  /** The dtype of activations that a file asks for; what the device makes of it, it says itself. */
  static DType computeDtype(TrainConfig config) {
    return switch (config.model().computeDtype()) {
      case FP32 -> DType.F32;
      case BF16 -> DType.BF16;
      case FP16 -> DType.F16;
    };
  }

  public ModelSpec spec() {
    return spec;
  }

  public Tuning tuning() {
    return tuning;
  }

  /** The largest micro-batch that the settings allow: rows of cutoff_len. */
  public StepShape step() {
    return steps.getFirst();
  }

  /** The micro-batches that auto_find_batch_size chooses from, the preferred first; one without it. */
  public List<StepShape> steps() {
    return steps;
  }

  /** The base's pieces as a card gets them. */
  public BlobBytes blobs() {
    BlobBytes.Form form =
        config.model().like().isPresent()
            ? BlobBytes.Form.NF4_DOUBLE
            : switch (config.model().quantization()) {
              case NONE -> BlobBytes.Form.STORED;
              case NF4 -> BlobBytes.Form.NF4;
              case NF4_DOUBLE -> BlobBytes.Form.NF4_DOUBLE;
              case INT8 -> BlobBytes.Form.INT8;
            };
    return BlobBytes.of(spec, form, DType.BF16);
  }

  /** What CUDA graphs may take beside a placement; 0 where no pass of the run can be one, since something travels beside it. */
  public long graphBytes(Planner planner, Planner.Choice choice) {
    Layout layout = choice.layout();
    boolean decodes = !config.data().probeDatasets().isEmpty();
    boolean travels = layout.weightsTravel(spec.layers()) || !choice.plan().offloaded().isEmpty() && !decodes;
    boolean off = config.machine().device().rivalry().graphs() == Rivalry.Use.NEVER;
    return travels || off ? 0 : planner.graphBytes(choice);
  }

  /** The search for a placement on a card. */
  public Planner planner(CardSpec card, Planner.Limits limits, Placement fixed) {
    if (tuning instanceof Tuning.Full) {
      throw UserError.of("%s: a card trains adapters, not whole weights; use finetuning_type: lora, or plan without a card",
          config.where("finetuning_type"));
    }
    return new Planner(spec, tuning, blobs(), cardOps(spec, tuning), card, limits, fixed);
  }

  /** What the ops of a card want besides their operands. */
  public static Planner.Ops cardOps(ModelSpec spec, Tuning tuning) {
    return new Planner.Ops() {
      @Override
      public long crossEntropyBytes(StepShape shape, Layout layout) {
        return CudaKernels.crossEntropyScratchOf(shape.tokens(), spec.hidden(), spec.vocab(), layout.head());
      }

      @Override
      public long workspaceBytes(StepShape shape) {
        return CudaKernels.workspaceOf(TrainingPlan.largest(spec, tuning, shape));
      }
    };
  }

  /** The buffers of training on the CPU, recomputing or not. */
  public Plan onCpu(boolean recompute) {
    StepShape step = step();
    try (CpuKernels kernels = new CpuKernels()) {
      DType compute = kernels.computeDtype(computeDtype(config));
      StepShape shape = new StepShape(compute, recompute, step.tokens(), step.documents(), step.positions(), step.moments());
      return Model.plan(kernels, spec, tuning, shape);
    }
  }
}
