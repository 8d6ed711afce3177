package dev.hone.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.function.Function;
import java.util.stream.Collectors;
import org.knowm.xchart.BitmapEncoder;
import org.knowm.xchart.BitmapEncoder.BitmapFormat;
import org.knowm.xchart.CategoryChart;
import org.knowm.xchart.CategoryChartBuilder;
import org.knowm.xchart.style.Styler;

/**
 * Charts and README.md's table from the rows of bench/results, the newest of each kind.
 *
 * <pre>Report bench/results README.md [--check]</pre>
 */
public final class Report {
  static final String BEGIN = "<!-- race: bench/report writes what follows -->";
  static final String END = "<!-- race: end -->";

  private final Path results;
  private final Path readme;

  private Report(Path results, Path readme) {
    this.results = results;
    this.readme = readme;
  }

  public static void main(String[] args) throws IOException {
    if (args.length < 2 || args.length > 3 || args.length == 3 && !args[2].equals("--check")) {
      throw new IllegalArgumentException("want: bench/results README.md [--check]");
    }
    System.setProperty("java.awt.headless", "true");
    Report report = new Report(Path.of(args[0]), Path.of(args[1]));
    Collection<ResultRow> race =
        report.newest("side_by_side.csv", row -> row.text("shape") + " " + row.text("dtype"));
    String old = Files.readString(report.readme);
    String fresh = replaced(old, table(race));
    if (args.length == 3) {
      boolean same = fresh.equals(old);
      System.out.println(same ? "README.md says what the rows say" : "README.md's table is not of the newest rows");
      System.exit(same ? 0 : 1);
    }
    Files.writeString(report.readme, fresh);
    report.drawRace(race);
    report.drawOps(report.newest("cpu.csv", r -> r.text("op") + " " + r.text("shape")));
  }

  /** The last row of each kind; rows of the machine that measured last, so that a table never mixes two. */
  private Collection<ResultRow> newest(String file, Function<ResultRow, String> kind) throws IOException {
    List<ResultRow> rows = ResultRow.of(results.resolve(file));
    Map<String, ResultRow> newest = new LinkedHashMap<>();
    for (ResultRow row : rows) {
      if (row.machine().equals(rows.getLast().machine())) {
        newest.put(kind.apply(row), row);
      }
    }
    return newest.values();
  }

  private static String table(Collection<ResultRow> race) {
    List<String> lines = new ArrayList<>();
    lines.add(
        "| shape, rows x tokens, activations | PEFT tokens/s | Hone tokens/s | ratio "
            + "| PEFT peak MiB | Hone peak MiB | ratio |");
    lines.add("|---|---|---|---|---|---|---|");
    for (ResultRow row : race) {
      Shape shape = Shape.of(row.text("shape"));
      lines.add(
          "| %s, %d x %d, %s | %.0f | %.0f | %.2f | %.0f | %.0f | %.2f |".formatted(
              row.text("shape"), shape.rows(), shape.length(), row.text("dtype"), row.number("peft_tokens_s"),
              row.number("hone_tokens_s"), row.number("speed_ratio"), row.number("peft_peak_mib"),
              row.number("hone_peak_mib"), row.number("peak_ratio")));
    }
    lines.add("");
    Map<String, Double> apart = new LinkedHashMap<>();
    race.forEach(row -> apart.merge(row.text("dtype"), row.number("loss_difference"), Math::max));
    ResultRow any = race.iterator().next();
    lines.add(
        "Measured on %s, against %s. Their losses differ by at most %s of the loss.".formatted(
            any.machine(), any.text("against"),
            apart.entrySet().stream().map(e -> "%.0e (%s)".formatted(e.getValue(), e.getKey()))
                .collect(Collectors.joining(" and "))));
    return String.join("\n", lines);
  }

  private static String replaced(String readme, String table) {
    int begin = readme.indexOf(BEGIN);
    int end = readme.indexOf(END);
    if (begin < 0 || end < begin) {
      throw new IllegalArgumentException("README.md lacks the lines " + BEGIN + " and " + END);
    }
    return readme.substring(0, begin + BEGIN.length()) + "\n" + table + "\n" + readme.substring(end);
  }

  private void drawRace(Collection<ResultRow> race) throws IOException {
    List<String> names = race.stream().map(r -> r.text("shape") + " " + r.text("dtype")).toList();
    CategoryChart chart = chart("Training, " + race.iterator().next().machine(), "over PEFT");
    chart.addSeries("tokens/s", names, race.stream().map(r -> r.number("speed_ratio")).toList());
    chart.addSeries("peak memory", names, race.stream().map(r -> r.number("peak_ratio")).toList());
    save(chart, "race.png");
  }

  private void drawOps(Collection<ResultRow> ops) throws IOException {
    List<ResultRow> held =
        ops.stream().filter(r -> !r.text("share").isEmpty() && !r.text("shape").contains("shorter=4")).toList();
    if (held.isEmpty()) {
      return;
    }
    CategoryChart chart = chart("Ops, " + held.getFirst().machine(), "share of the yardstick");
    List<String> names = held.stream().map(r -> r.text("op").replace("Bench.", " ")).distinct().toList();
    Map<String, Map<String, Double>> byShape = new LinkedHashMap<>();
    for (ResultRow row : held) {
      byShape.computeIfAbsent(series(row), s -> new LinkedHashMap<>())
          .put(row.text("op").replace("Bench.", " "), row.number("share"));
    }
    byShape.forEach((shape, shares) -> chart.addSeries(shape, names, names.stream().map(shares::get).toList()));
    save(chart, "ops.png");
  }

  /** The values of a bench's parameters: `dtype=f32 shape=15m`, `base=f32 shape=15m shorter=1` are both `f32 15m`. */
  private static String series(ResultRow row) {
    return row.text("shape").replace("shorter=1", "").replaceAll("\\w+=", "").strip();
  }

  private static CategoryChart chart(String title, String y) {
    CategoryChart chart = new CategoryChartBuilder().width(1280).height(640).title(title).yAxisTitle(y).build();
    chart.getStyler().setLegendPosition(Styler.LegendPosition.OutsideE);
    chart.getStyler().setChartBackgroundColor(java.awt.Color.WHITE);
    chart.getStyler().setXAxisLabelRotation(45);
    return chart;
  }

  private void save(CategoryChart chart, String name) throws IOException {
    BitmapEncoder.saveBitmap(chart, results.resolve(name).toString(), BitmapFormat.PNG);
    System.out.println(results.resolve(name));
  }
}
