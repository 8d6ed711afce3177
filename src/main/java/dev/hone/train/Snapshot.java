package dev.hone.train;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.hone.config.Moments;
import dev.hone.config.UserError;
import dev.hone.engine.Parameters;
import dev.hone.format.AtomicFiles;
import dev.hone.format.SafetensorsFile;
import dev.hone.format.SafetensorsWriter;
import dev.hone.format.StoredType;
import dev.hone.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * What a run needs to go on bit for bit: the trained values and AdamW's moments as they are kept ({@code optimizer.safetensors}), and
 * how far it had come ({@code trainer_state.json}). Data order and dropout are functions of the seed and the step, so the step and a
 * fingerprint of what they depend on are all the random state there is; the fingerprint lies in the safetensors metadata.
 */
final class Snapshot {
  private static final String OPTIMIZER = "optimizer.safetensors";
  private static final String STATE = "trainer_state.json";
  private static final String FIRST_MOMENT = ".exp_avg";
  private static final String SECOND_MOMENT = ".exp_avg_sq";
  private static final String MAXIMA = ".absmax";
  private static final String OPTIM = "optim";
  private static final String UNLOGGED_STEPS = "unlogged steps";
  private static final String UNLOGGED_LOSS = "unlogged loss";
  private static final String LOSS_SCALE = "loss scale";
  private static final String LOSS_SCALE_STEPS = "steps since the loss scale changed";
  private static final ObjectMapper JSON = new ObjectMapper();

  private Snapshot() {}

  /** The steps since the last logged one: their number and the sum of their losses. */
  record Unlogged(int steps, double loss) {
    static final Unlogged NONE = new Unlogged(0, 0);
  }

  /** Where a resumed run begins. */
  record Start(int step, ArrayNode history, Unlogged unlogged, LossScale.State scale) {
    static Start fresh() {
      return new Start(0, JSON.createArrayNode(), Unlogged.NONE, LossScale.State.NONE);
    }
  }

  /** How far a run has come; as JSON in transformers' spelling, which has no place for {@code unlogged} and {@code scale}. */
  record Progress(
      int step, int totalSteps, double epoch, double epochs, int batch, int loggingSteps, ArrayNode history,
      Unlogged unlogged, LossScale.State scale) {
    String json() {
      ObjectNode state = JSON.createObjectNode();
      state.put("epoch", epoch).put("global_step", step).put("is_hyper_param_search", false);
      state.put("is_local_process_zero", true).put("is_world_process_zero", true);
      state.set("log_history", history);
      state.put("logging_steps", loggingSteps).put("max_steps", totalSteps);
      state.put("num_train_epochs", (int) Math.ceil(epochs)).put("train_batch_size", batch);
      state.putNull("best_metric").putNull("best_model_checkpoint").putNull("trial_name").putNull("trial_params");
      return state.toPrettyString() + "\n";
    }
  }

  static void writeState(Path folder, Progress progress) {
    AtomicFiles.writeText(folder.resolve(STATE), progress.json());
  }

  static void writeOptimizer(Path folder, Parameters parameters, Map<String, String> fingerprint, Progress progress) {
    SafetensorsWriter writer = new SafetensorsWriter();
    fingerprint.forEach(writer::metadata);
    writer.metadata(UNLOGGED_STEPS, Integer.toString(progress.unlogged.steps()));
    writer.metadata(UNLOGGED_LOSS, Double.toString(progress.unlogged.loss()));
    if (!progress.scale.equals(LossScale.State.NONE)) {
      writer.metadata(LOSS_SCALE, Float.toString(progress.scale.value()));
      writer.metadata(LOSS_SCALE_STEPS, Integer.toString(progress.scale.stepsSinceChange()));
    }
    writer.metadata(OPTIM, parameters.moments().optim());
    parameters.all().forEach(p -> stored(p).forEach(writer::add));
    writer.write(folder.resolve(OPTIMIZER));
  }

  /** A parameter's tensors by their names in the file. */
  private static Map<String, Tensor> stored(Parameters.Parameter p) {
    Map<String, Tensor> all = new LinkedHashMap<>();
    all.put(p.name(), p.value());
    add(all, p.name() + FIRST_MOMENT, p.m());
    add(all, p.name() + SECOND_MOMENT, p.v());
    return all;
  }

  private static void add(Map<String, Tensor> all, String name, Parameters.Moment moment) {
    all.put(name, moment.stored());
    if (moment.absmax() != null) {
      all.put(name + MAXIMA, moment.absmax());
    }
  }

  /**
   * Restores a checkpoint into the parameters.
   *
   * @throws UserError when it is incomplete, or belongs to a run with other settings: going on would not continue it
   */
  static Start read(Path folder, Parameters parameters, Map<String, String> fingerprint) {
    Path stateFile = folder.resolve(STATE);
    if (!Files.exists(stateFile) || !Files.exists(folder.resolve(OPTIMIZER))) {
      throw UserError.of(
          "%s is no checkpoint to resume from: it lacks %s; give a checkpoint-N folder of an earlier run",
          folder, Files.exists(stateFile) ? OPTIMIZER : STATE);
    }
    try (Arena arena = Arena.ofConfined()) {
      SafetensorsFile file = SafetensorsFile.open(folder.resolve(OPTIMIZER), arena);
      fingerprint.forEach((key, want) -> requireSame(folder, key, file.metadata().get(key), want));
      requireSame(
          folder, OPTIM, file.metadata().getOrDefault(OPTIM, Moments.F32.optim()), parameters.moments().optim());
      requireSameTensors(folder, file, parameters);
      for (Parameters.Parameter p : parameters.all()) {
        stored(p).forEach((name, tensor) ->
            tensor.copyFrom(Tensor.of(arena, name, tensor.dtype(), file.bytes(name), tensor.shape())));
      }
      JsonNode state = JSON.readTree(stateFile.toFile());
      Unlogged unlogged =
          new Unlogged(
              Integer.parseInt(file.metadata().getOrDefault(UNLOGGED_STEPS, "0")),
              Double.parseDouble(file.metadata().getOrDefault(UNLOGGED_LOSS, "0")));
      LossScale.State scale =
          new LossScale.State(
              Float.parseFloat(file.metadata().getOrDefault(LOSS_SCALE, "0")),
              Integer.parseInt(file.metadata().getOrDefault(LOSS_SCALE_STEPS, "0")));
      return new Start(state.path("global_step").asInt(), state.withArray("log_history"), unlogged, scale);
    } catch (IOException e) {
      throw new UserError(stateFile + " cannot be read: " + e.getMessage(), e);
    }
  }

  /** The checkpoint's trained tensors must be this run's, in the same shapes: another rank or target list has others. */
  private static void requireSameTensors(Path folder, SafetensorsFile file, Parameters parameters) {
    Set<String> stored = new TreeSet<>(file.names());
    for (Parameters.Parameter p : parameters.all()) {
      stored(p).forEach((name, tensor) -> {
        if (!stored.remove(name)) {
          throw UserError.of("%s has no %s, which this run trains; resume with the same settings", folder, name);
        }
        StoredType type = StoredType.of(tensor.dtype());
        if (file.type(name) != type || !Arrays.equals(file.shape(name), tensor.shape())) {
          throw UserError.of(
              "%s has %s as %s %s, this run trains it as %s %s; resume with the same settings",
              folder, name, file.type(name), Arrays.toString(file.shape(name)), type, Arrays.toString(tensor.shape()));
        }
      });
    }
    if (!stored.isEmpty()) {
      throw UserError.of(
          "%s has trained %s, which this run does not; resume with the same settings", folder, stored.iterator().next());
    }
  }

  private static void requireSame(Path folder, String key, String had, String want) {
    if (!want.equals(had)) {
      throw UserError.of(
          "%s was made with %s %s, this run has %s; resume with the same settings, or start a new run", folder, key, had, want);
    }
  }
}
