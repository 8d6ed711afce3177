package dev.hone.train;

import dev.hone.config.Placement;
import dev.hone.config.Sizes;
import dev.hone.config.TrainConfig;
import dev.hone.config.UserError;
import dev.hone.data.Batches;
import dev.hone.data.Example;
import dev.hone.engine.Decoder;
import dev.hone.engine.Model;
import dev.hone.engine.Storage;
import dev.hone.engine.UncachedBase;
import dev.hone.kernel.Accelerator;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.Tuning;
import dev.hone.plan.CardSpec;
import dev.hone.plan.Layout;
import dev.hone.plan.Planner;
import dev.hone.plan.StepShape;
import dev.hone.plan.TrainingPlan;
import dev.hone.tensor.DType;
import java.util.List;
import java.util.function.Consumer;
import java.util.stream.IntStream;

/** Decides where a run keeps what, from its settings, its longest rows and the device, before any weight is read. */
final class Placer {
  /** What a driver takes for the code of kernels when they are loaded, and for fragments, beside the arena. */
  private static final long RESERVE = 64 << 20;

  /**
   * The decision.
   *
   * @param reasons why, a line for each choice; empty on the CPU
   * @param beside what else of the card's memory is taken, measured, in words; empty on the CPU
   */
  record Placed(Batching batching, StepShape step, Layout layout, List<String> reasons, String beside) {}

  private final TrainConfig config;
  private final RunInputs inputs;
  private final ModelSpec spec;
  private final Kernels kernels;
  private final Tuning tuning;
  private final Storage storage;

  Placer(TrainConfig config, RunInputs inputs, Kernels kernels, Tuning tuning, Storage storage) {
    this.config = config;
    this.inputs = inputs;
    spec = inputs.spec();
    this.kernels = kernels;
    this.tuning = tuning;
    this.storage = storage;
  }

  /**
   * @param note hears of settings that have no effect here
   * @throws UserError when the run does not fit; it says what would make it fit
   */
  Placed place(Consumer<String> note) {
    List<Batching> ways = Batching.of(config);
    List<StepShape> steps = ways.stream().map(this::step).toList();
    return kernels.accelerator().map(card -> onCard(card, ways, steps)).orElseGet(() -> onCpu(ways, steps, note));
  }

  private StepShape step(Batching batching) {
    Batches batches = inputs.batches(batching);
    Batches evaluation = inputs.evaluationBatches(batching);
    Batches.Extent train = batches.longest();
    Batches.Extent held = evaluation == null ? train : evaluation.longest();
    int positions = Math.max(train.longestDocument(), held.longestDocument());
    if (positions > spec.maxPositions()) {
      throw UserError.of(
          "%s: a row has %d tokens and the model was made for %d; lower cutoff_len, or stretch it with rope_scaling",
          config.where("cutoff_len"), positions, spec.maxPositions());
    }
    DType compute = kernels.computeDtype(RunPlan.computeDtype(config));
    return new StepShape(
        compute, false, Math.max(train.tokens(), held.tokens()), Math.max(train.documents(), held.documents()), positions,
        config.optimizer().moments());
  }

  private Placed onCard(Accelerator card, List<Batching> ways, List<StepShape> steps) {
    StepShape step = steps.getFirst();
    Placement fixed = config.machine().fixed();
    if (config.model().layerCache().isEmpty()) {
      fixed = withoutCache(fixed);
    }
    Planner planner =
        new Planner(
            spec, tuning, UncachedBase.bytes(inputs.base(), storage, step.compute()), needs(), CardSpec.of(card),
            limits(card, step), fixed);
    Planner.Choice choice = planner.require(steps, config.source().toString());
    kernels.limitReplays(planner.graphBytes(choice), probeBytes(step));
    Batching batching = ways.get(steps.indexOf(choice.step().withRecompute(false)));
    String beside =
        "%s that the context and other programs have, of %s"
            .formatted(Sizes.text(card.memory() - card.free()), Sizes.text(card.memory()));
    return new Placed(batching, choice.step(), choice.layout(), planner.reasons(choice), beside);
  }

  /** Only blobs of a file can travel again and again. */
  private Placement withoutCache(Placement fixed) {
    if (fixed.weights() == Placement.Weights.STREAMED || fixed.residentLayers().isPresent()
        || fixed.head() == Placement.Where.HOST) {
      throw UserError.of(
          "%s: what streams comes from the layer cache; leave out layer_cache: false, or keep weights and head on the device",
          config.where("layer_cache"));
    }
    return fixed.withResident();
  }

  private Planner.Ops needs() {
    return new Planner.Ops() {
      @Override
      public long crossEntropyBytes(StepShape shape, Layout layout) {
        return Model.crossEntropyBytes(kernels, spec, tuning, shape, layout);
      }

      @Override
      public long workspaceBytes(StepShape shape) {
        return kernels.workspaceBytes(TrainingPlan.largest(spec, tuning, shape));
      }
    };
  }

  /** What is free, or less where a limit is set; what answers to probe_dataset take beside the run is put aside. */
  private Planner.Limits limits(Accelerator card, StepShape step) {
    Placement set = config.machine().placement();
    long taken = card.memory() - card.free();
    long room = card.free() - Math.min(RESERVE, card.free() / 64);
    long vram = set.vramLimit().orElse(card.memory());
    if (set.vramLimit().isPresent()) {
      room = Math.min(room, vram - Math.min(taken, CardSpec.CONTEXT));
    }
    room -= probeBytes(step);
    long ram = set.ramLimit().orElseGet(Placer::physicalMemory);
    return new Planner.Limits(vram, vram - room, ram, set.pinnedLimit().orElse(ram / 2));
  }

  /** Device memory that answers to probe_dataset take beside the run, when they are made. */
  private long probeBytes(StepShape step) {
    if (inputs.probes().isEmpty()) {
      return 0;
    }
    int longest = inputs.probes().stream().mapToInt(Example::length).max().orElseThrow();
    return Decoder.bytesBeside(kernels, spec, step.compute(), step.tokens(), longest + 1);
  }

  private static long physicalMemory() {
    try (CpuKernels host = new CpuKernels()) {
      return host.memoryBytes();
    }
  }

  /**
   * On the CPU the base stays where it is mapped; what is left to decide is whether activations are kept, and how many rows a
   * micro-batch has: of those that fit the preferred.
   */
  private Placed onCpu(List<Batching> ways, List<StepShape> steps, Consumer<String> note) {
    config.machine().placement().forCardsOnly().ifPresent(
        key -> note.accept(config.where(key) + ": " + key + " is for a card; this run is on the CPU, where it changes nothing"));
    long memory = Math.min(kernels.memoryBytes(), config.machine().placement().ramLimit().orElse(Long.MAX_VALUE));
    TrainConfig.Recompute recompute = config.machine().recomputes();
    int way = IntStream.range(0, ways.size())
        .filter(i -> bytes(steps.get(i).withRecompute(recompute != TrainConfig.Recompute.OFF)) <= memory).findFirst().orElse(0);
    StepShape keep = steps.get(way);
    StepShape step = switch (recompute) {
      case ON -> requireRoom(keep.withRecompute(true), memory);
      case OFF -> requireRoom(keep, memory);
      // Half of the memory is left to weights, page cache and the person's other programs.
      case AUTO -> bytes(keep) <= memory / 2 ? keep : requireRoom(keep.withRecompute(true), memory);
    };
    return new Placed(ways.get(way), step, Layout.outside(step.recompute()), List.of(), "");
  }

  private StepShape requireRoom(StepShape shape, long memory) {
    long bytes = bytes(shape);
    if (bytes > memory) {
      throw UserError.of(
          "%s: one step needs %s of buffers and the limit is %s of memory; lower per_device_train_batch_size (now %d)%s"
              + " or cutoff_len (now %d)",
          config.source(), Sizes.text(bytes), Sizes.text(memory), config.schedule().batch(),
          (config.schedule().autoBatch() ? "" : ", set auto_find_batch_size: true")
              + (shape.recompute() ? "" : ", set gradient_checkpointing: true"), config.data().cutoffLength());
    }
    return shape;
  }

  private long bytes(StepShape shape) {
    return Model.plan(kernels, spec, tuning, shape).arenaBytes();
  }
}
