package dev.hone.engine;

import dev.hone.format.Checkpoint;
import dev.hone.format.HfConfig;
import dev.hone.kernel.Kernels;
import dev.hone.model.Architectures;
import dev.hone.model.BuiltInShapes;
import dev.hone.model.ModelSpec;
import dev.hone.plan.BlobBytes;
import dev.hone.tensor.Quant;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.nio.file.Path;

/** A Hugging Face model directory, opened: what its config says and where its weights come from. */
public final class BaseModel implements WeightSource, AutoCloseable {
  private final Path folder;
  private final HfConfig config;
  private final ModelSpec spec;
  private final Arena arena;
  private final WeightSource weights;

  private final String fingerprint;

  private BaseModel(Path folder, HfConfig config, String fingerprint, Weights weights) {
    this.folder = folder;
    this.config = config;
    spec = Architectures.of(config);
    arena = Arena.ofShared();
    this.weights = weights.open(spec, arena);
    this.fingerprint = this.weights instanceof Stored stored ? stored.checkpoint.fingerprint() : fingerprint;
  }

  /** Opens a source whose tensors live in the arena. */
  private interface Weights {
    WeightSource open(ModelSpec spec, Arena arena);
  }

  /**
   * Maps a model directory's weights.
   *
   * @throws dev.hone.config.UserError when files are missing or broken or the architecture is not supported
   */
  public static BaseModel open(Path folder) {
    return new BaseModel(folder, HfConfig.read(folder), "", (spec, arena) -> new Stored(Checkpoint.open(folder, arena)));
  }

  /** A random start for the config.json of a folder that needs no weights. */
  public static BaseModel random(Path folder, long seed) {
    HfConfig config = HfConfig.read(folder);
    return new BaseModel(
        folder, config, "random " + seed,
        (spec, arena) -> new RandomWeights(arena, seed, deviation(config), spec.normWeightOffset()));
  }

  /**
   * A model of a built-in shape with random NF4 weights, in memory only.
   *
   * @param shape a name of {@link BuiltInShapes}
   */
  public static BaseModel like(Kernels kernels, String shape, long seed) {
    HfConfig config = BuiltInShapes.config(shape);
    return new BaseModel(
        Path.of("like-" + shape), config, "like " + shape + " " + seed,
        (spec, arena) -> new RandomNf4Weights(kernels, arena, seed, deviation(config), spec.normWeightOffset()));
  }

  static float deviation(HfConfig config) {
    return (float) config.number("initializer_range", 0.02);
  }

  /** Tells these weights from others; see {@link Checkpoint#fingerprint}. */
  public String fingerprint() {
    return fingerprint;
  }

  private record Stored(Checkpoint checkpoint) implements WeightSource {
    @Override
    public Tensor tensor(String name, long... shape) {
      return checkpoint.tensor(name, shape);
    }

    @Override
    public Tensor weight(String name, long out, long in) {
      return checkpoint.weight(name, out, in);
    }
  }

  public Path folder() {
    return folder;
  }

  public HfConfig config() {
    return config;
  }

  public ModelSpec spec() {
    return spec;
  }

  /** The form in which a linear layer's weight is stored. */
  BlobBytes.Form form(String name, long out, long in) {
    if (weights instanceof RandomNf4Weights) {
      return BlobBytes.Form.NF4_DOUBLE;
    }
    Quant quant = weights instanceof Stored ? weights.weight(name, out, in).quant() : null;
    return quant == null ? BlobBytes.Form.STORED : quant.isDouble() ? BlobBytes.Form.NF4_DOUBLE : BlobBytes.Form.NF4;
  }

  @Override
  public Tensor tensor(String name, long... shape) {
    return weights.tensor(name, shape);
  }

  @Override
  public Tensor weight(String name, long out, long in) {
    return weights.weight(name, out, in);
  }

  @Override
  public boolean isMapped() {
    return weights instanceof Stored;
  }

  @Override
  public void close() {
    arena.close();
  }
}
