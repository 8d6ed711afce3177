package dev.hone.kernel.cuda.redist;

import dev.hone.kernel.NativeException;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.function.Consumer;

/**
 * Whether a rival runs instead of a shipped kernel, for each piece of work: measured when the work is first met, then
 * kept, in this run and, in a file of one card and driver, for later ones. What is measured is no work of the run, so
 * the run's results are the same from its first launch on, and in later runs.
 *
 * <p>Both run in turn, {@value #ROUNDS} times after {@value #WARM} to warm up; the rival must beat the shipped kernel's
 * median by {@value #MARGIN_PERCENT} %, which is more than two equal kernels differ by.
 */
public final class Choices {
  private static final int WARM = 2;
  private static final int ROUNDS = 7;
  private static final int MARGIN_PERCENT = 3;

  /** Does the work once on the card and says how long that took, in microseconds. */
  @FunctionalInterface
  public interface Timed {
    double run();
  }

  /** What was measured; microseconds. */
  private record Measured(boolean rival, double shippedTime, double rivalTime) {
    String line(String key) {
      return String.format(Locale.ROOT, "%s\t%s\t%.3f\t%.3f%n", key, rival ? "rival" : "shipped", shippedTime,
          rivalTime);
    }
  }

  private final Path file;
  private final Consumer<String> log;
  private final Map<String, Measured> known = new TreeMap<>();
  private final Set<String> failed = new HashSet<>();
  private final Set<String> told = new HashSet<>();

  /**
   * Reads what earlier runs measured.
   *
   * @param folder of the cache
   * @param card and driver, in words: what was measured on another does not count
   * @param log told of each choice, in one line
   */
  public Choices(Path folder, String card, Consumer<String> log) {
    this.log = log;
    file = folder.resolve("choices").resolve(card.replaceAll("[^\\w.-]+", "_") + ".tsv");
    known.putAll(read(file));
  }

  /**
   * Whether the rival runs. A rival that fails while it is measured does not.
   *
   * @param work names the work and the versions of both: what differs in anything that matters for speed must have
   *     another name
   * @param rival its name, for the log
   * @param setting that overrules the choice, for the log
   */
  public boolean rivalWins(String work, String rival, String setting, Timed shippedRun, Timed rivalRun) {
    String key = work + " " + rival;
    Measured measured = known.get(key);
    boolean remembered = measured != null;
    if (!remembered) {
      if (failed.contains(key)) {
        return false;
      }
      try {
        measured = measure(shippedRun, rivalRun);
      } catch (NativeException e) {
        failed.add(key);
        log.accept(work + ": the shipped kernel, as " + rival + " failed: " + e.getMessage());
        return false;
      }
      keep(key, measured);
    }
    if (told.add(key)) {
      tell(work, rival, setting, measured, remembered);
    }
    return measured.rival;
  }

  /** Whether {@link #rivalWins} knows without measuring. */
  public boolean isSettled(String work, String rival) {
    String key = work + " " + rival;
    return known.containsKey(key) || failed.contains(key);
  }

  private void tell(String work, String rival, String setting, Measured measured, boolean remembered) {
    log.accept(String.format(
        Locale.ROOT, "%s: %s, %.1f us against %.1f us of %s (%s; %s overrules)", work,
        measured.rival ? rival : "the shipped kernel", measured.rival ? measured.rivalTime : measured.shippedTime,
        measured.rival ? measured.shippedTime : measured.rivalTime, measured.rival ? "the shipped kernel" : rival,
        remembered ? "remembered" : "measured", setting));
  }

  private static Measured measure(Timed shipped, Timed rival) {
    for (int i = 0; i < WARM; i++) {
      shipped.run();
      rival.run();
    }
    double[] shippedTimes = new double[ROUNDS];
    double[] rivalTimes = new double[ROUNDS];
    for (int i = 0; i < ROUNDS; i++) {
      shippedTimes[i] = shipped.run();
      rivalTimes[i] = rival.run();
    }
    double a = median(shippedTimes);
    double b = median(rivalTimes);
    return new Measured(b < a * (100 - MARGIN_PERCENT) / 100, a, b);
  }

  private static double median(double[] times) {
    Arrays.sort(times);
    return times[times.length / 2];
  }

  /** Other processes may have measured other work meanwhile: theirs is kept, and wins where both measured the same. */
  private void keep(String key, Measured measured) {
    known.put(key, measured);
    Map<String, Measured> all = new TreeMap<>(known);
    all.putAll(read(file));
    StringBuilder text = new StringBuilder();
    all.forEach((name, value) -> text.append(value.line(name)));
    CacheFiles.write(file, text.toString().getBytes(StandardCharsets.UTF_8));
  }

  private static Map<String, Measured> read(Path file) {
    List<String> lines;
    try {
      lines = Files.readAllLines(file);
    } catch (IOException e) {
      return Map.of();
    }
    Map<String, Measured> read = new TreeMap<>();
    for (String line : lines) {
      List<String> cells = new ArrayList<>(List.of(line.split("\t")));
      if (cells.size() == 4 && cells.get(2).matches("[\\d.]+") && cells.get(3).matches("[\\d.]+")) {
        read.put(cells.get(0), new Measured(
            cells.get(1).equals("rival"), Double.parseDouble(cells.get(2)), Double.parseDouble(cells.get(3))));
      }
    }
    return read;
  }
}
