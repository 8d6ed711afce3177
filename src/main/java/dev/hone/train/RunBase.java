package dev.hone.train;

import dev.hone.config.Sizes;
import dev.hone.config.TrainConfig;
import dev.hone.engine.BaseBlobs;
import dev.hone.engine.LayerCache;
import dev.hone.engine.MappedBase;
import dev.hone.engine.Model;
import dev.hone.engine.Storage;
import dev.hone.engine.UncachedBase;
import dev.hone.engine.WeightSource;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.Tuning;
import dev.hone.plan.Layout;
import dev.hone.tensor.DType;
import java.util.function.Consumer;

/** The base of a run as its placement wants it: in a file of blobs, made on the way to a card, or read where it is mapped. */
final class RunBase implements AutoCloseable {
  /** Memory of a run beside its buffers and its base: Java, tokenizer, rows, libhone. Measured 190 to 215 MB. */
  private static final long OUTSIDE = 256L << 20;

  private final TrainConfig config;
  private final RunInputs inputs;
  private final Storage storage;
  private final Placer.Placed placed;
  private final LayerCache cache;

  private RunBase(TrainConfig config, RunInputs inputs, Storage storage, Placer.Placed placed, LayerCache cache) {
    this.config = config;
    this.inputs = inputs;
    this.storage = storage;
    this.placed = placed;
    this.cache = cache;
  }

  /**
   * Opens the layer cache where one is wanted: of a quantised base, and of whatever travels to a card.
   *
   * @param note hears that a cache is being made
   */
  static RunBase open(
      TrainConfig config, RunInputs inputs, Storage storage, Placer.Placed placed, Consumer<String> note) {
    Layout layout = placed.layout();
    boolean onCard = layout.weights() == Layout.Weights.ARENA;
    boolean travels = onCard && (layout.streams(inputs.spec().layers()) || !layout.head());
    LayerCache cache = null;
    if (config.model().layerCache().isPresent() && (storage != Storage.AS_STORED || travels)) {
      try (CpuKernels host = new CpuKernels()) {
        DType matrices = onCard ? placed.step().compute() : null;
        cache = LayerCache.open(host, inputs.base(), storage, matrices, config.model().layerCache().get(), note);
      }
    }
    return new RunBase(config, inputs, storage, placed, cache);
  }

  /** Opens the model on this base, which must stay open as long as that. */
  Model model(Kernels kernels, Tuning tuning, Consumer<String> note) {
    Layout layout = placed.layout();
    if (layout.weights() == Layout.Weights.OUTSIDE) {
      WeightSource source = cache == null ? inputs.base() : cache;
      return Model.open(kernels, inputs.spec(), paged(source, kernels, tuning, note), tuning, storage, placed.step());
    }
    BaseBlobs blobs = cache == null ? new UncachedBase(inputs.base(), storage, placed.step().compute()) : cache;
    return Model.open(kernels, inputs.spec(), blobs, tuning, storage, placed.step(), layout);
  }

  /** A mapped base with its pages let go of and read ahead where memory does not take them all. */
  private WeightSource paged(WeightSource source, Kernels kernels, Tuning tuning, Consumer<String> note) {
    boolean readWhereMapped =
        source.isMapped() && tuning instanceof Tuning.Lora && (cache != null || storage == Storage.AS_STORED);
    if (!readWhereMapped) {
      return source;
    }
    long memory = config.machine().placement().ramLimit().orElse(kernels.memoryBytes() / 4 * 3);
    long buffers = Model.plan(kernels, inputs.spec(), tuning, placed.step()).arenaBytes();
    MappedBase mapped = new MappedBase(source, inputs.spec(), memory - buffers - OUTSIDE);
    if (mapped.residentLayers() < inputs.spec().layers()) {
      note.accept(
          "the base's %s do not fit in %s beside the step: %d of %d layers stay in memory, the others are read as they are needed"
              .formatted(
                  Sizes.text(mapped.mappedBytes()), Sizes.text(memory), mapped.residentLayers(), inputs.spec().layers()));
    }
    return mapped;
  }

  @Override
  public void close() {
    if (cache != null) {
      cache.close();
    }
  }
}
