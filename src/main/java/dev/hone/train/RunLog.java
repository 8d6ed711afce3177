package dev.hone.train;

import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.ArrayNode;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.hone.config.UserError;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;

/**
 * What a run writes down about itself: {@code trainer_log.jsonl} as LLaMA-Factory writes it, one line a logging step, and the
 * {@code log_history} of transformers' {@code trainer_state.json}. Losses and norms have full double precision.
 */
final class RunLog {
  static final String LOG = "trainer_log.jsonl";
  static final String DEVICE = "device.log";
  private static final ObjectMapper JSON = new ObjectMapper();

  private final Path file;
  private final int totalSteps;
  private final ArrayNode history = JSON.createArrayNode();
  private final List<LossPlot.Point> training = new ArrayList<>();
  private final List<LossPlot.Point> evaluation = new ArrayList<>();

  /** @param history rows of an earlier part of this run, when it is resumed; else empty */
  RunLog(Path directory, int totalSteps, ArrayNode history) {
    file = directory.resolve(LOG);
    this.totalSteps = totalSteps;
    StringBuilder kept = new StringBuilder();
    history.forEach(row -> keep(row.deepCopy()));
    try {
      if (!history.isEmpty() && Files.exists(file)) {
        int last = history.get(history.size() - 1).path("step").asInt();
        for (String line : Files.readAllLines(file)) {
          if (JSON.readTree(line).path("current_steps").asInt() <= last) {
            kept.append(line).append('\n');
          }
        }
      }
      Files.writeString(file, kept);
    } catch (IOException e) {
      throw unwritable(e);
    }
  }

  /** The averages over the steps since the last line. */
  void step(int step, double epoch, double loss, double gradNorm, double lr, Duration elapsed, Duration left, double tokensPerSecond) {
    ObjectNode row = JSON.createObjectNode();
    row.put("epoch", epoch).put("grad_norm", gradNorm).put("learning_rate", lr).put("loss", loss).put("step", step);
    keep(row);
    ObjectNode line = line(step, epoch, elapsed, left);
    line.put("loss", loss).put("lr", lr).put("grad_norm", gradNorm).put("throughput", tokensPerSecond);
    append(line);
  }

  void evaluation(int step, double epoch, double loss, Duration took, int rows, Duration elapsed, Duration left) {
    ObjectNode row = JSON.createObjectNode();
    double seconds = took.toNanos() / 1e9;
    row.put("epoch", epoch).put("eval_loss", loss).put("eval_runtime", seconds);
    row.put("eval_samples_per_second", seconds > 0 ? rows / seconds : 0).put("step", step);
    keep(row);
    ObjectNode line = line(step, epoch, elapsed, left);
    line.put("eval_loss", loss);
    append(line);
  }

  private ObjectNode line(int step, double epoch, Duration elapsed, Duration left) {
    ObjectNode line = JSON.createObjectNode();
    line.put("current_steps", step).put("total_steps", totalSteps).put("epoch", epoch);
    line.put("percentage", Math.round(10000.0 * step / totalSteps) / 100.0);
    line.put("elapsed_time", clock(elapsed)).put("remaining_time", clock(left));
    return line;
  }

  private void keep(ObjectNode row) {
    history.add(row);
    int step = row.path("step").asInt();
    if (row.has("loss")) {
      training.add(new LossPlot.Point(step, row.get("loss").asDouble()));
    } else if (row.has("eval_loss")) {
      evaluation.add(new LossPlot.Point(step, row.get("eval_loss").asDouble()));
    }
  }

  private void append(ObjectNode line) {
    try {
      Files.writeString(file, JSON.writeValueAsString(line) + "\n", StandardCharsets.UTF_8, StandardOpenOption.APPEND);
    } catch (IOException e) {
      throw unwritable(e);
    }
  }

  private UserError unwritable(IOException e) {
    return new UserError(file + " cannot be written: " + e.getMessage() + "; make room or choose another output_dir", e);
  }

  /** What the device decided by itself, in {@value #DEVICE}; nothing where it decided nothing. */
  void remarks(List<String> lines) {
    if (lines.isEmpty()) {
      return;
    }
    Path device = file.resolveSibling(DEVICE);
    try {
      Files.write(device, lines);
    } catch (IOException e) {
      throw new UserError(device + " cannot be written: " + e.getMessage() + "; make room or choose another output_dir", e);
    }
  }

  ArrayNode history() {
    return history;
  }

  void plot(Path png) {
    if (!training.isEmpty()) {
      LossPlot.write(png, training, evaluation);
    }
  }

  /** h:mm:ss, as Python prints a timedelta. */
  static String clock(Duration d) {
    return "%d:%02d:%02d".formatted(d.toHours(), d.toMinutesPart(), d.toSecondsPart());
  }
}
