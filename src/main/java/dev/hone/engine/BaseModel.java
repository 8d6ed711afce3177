package dev.hone.engine;

import dev.hone.format.Checkpoint;
import dev.hone.format.HfConfig;
import dev.hone.model.Architectures;
import dev.hone.model.ModelSpec;
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

  private BaseModel(Path folder, HfConfig config, boolean fromScratch, long seed) {
    this.folder = folder;
    this.config = config;
    spec = Architectures.of(config);
    arena = Arena.ofShared();
    if (fromScratch) {
      float deviation = (float) config.number("initializer_range", 0.02);
      weights = new RandomWeights(arena, seed, deviation, spec.normWeightOffset());
    } else {
      weights = new Stored(Checkpoint.open(folder, arena));
    }
  }

  /**
   * Maps a model directory's weights.
   *
   * @throws dev.hone.config.UserError when files are missing or broken or the architecture is not supported
   */
  public static BaseModel open(Path folder) {
    return new BaseModel(folder, HfConfig.read(folder), false, 0);
  }

  /** A random start for the config.json of a folder that needs no weights. */
  public static BaseModel random(Path folder, long seed) {
    return new BaseModel(folder, HfConfig.read(folder), true, seed);
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

  @Override
  public Tensor tensor(String name, long... shape) {
    return weights.tensor(name, shape);
  }

  @Override
  public Tensor weight(String name, long out, long in) {
    return weights.weight(name, out, in);
  }

  @Override
  public void close() {
    arena.close();
  }
}
