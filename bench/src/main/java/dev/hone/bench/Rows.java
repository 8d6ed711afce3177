package dev.hone.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.hone.kernel.cpu.CpuKernels;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.TreeMap;

/**
 * Turns JMH's JSON into rows of a CSV file; bench/README.md says what the columns mean.
 *
 * <pre>Rows jmh.json roofline.txt out.csv date cpu threads commit</pre>
 */
public final class Rows {
  static final String HEADER =
      "date,cpu,threads,isa,commit,op,shape,time_ms,spread,gflop_s,gb_s,tokens_s,"
          + "yardstick,yardstick_value,share,alloc_b_op";
  private static final String MEMORY_HEADER = "date,cpu,threads,isa,commit,op,shape,plan_mib,heap_mib,peak_mib";

  private final Map<String, Double> roofline;

  private Rows(Map<String, Double> roofline) {
    this.roofline = roofline;
  }

  public static void main(String[] args) throws IOException {
    if (args.length != 7) {
      throw new IllegalArgumentException("want: jmh.json roofline.txt out.csv date cpu threads commit");
    }
    Rows rows = new Rows(best(Path.of(args[1])));
    String isa;
    try (CpuKernels kernels = new CpuKernels()) {
      isa = kernels.isa().toString();
    }
    String machine =
        String.join(",", List.of(args[3], args[4], args[5], isa, args[6]).stream().map(Rows::quoted).toList());
    Path csv = Path.of(args[2]);
    List<String> speed = new ArrayList<>();
    List<String> memory = new ArrayList<>();
    for (JsonNode result : new ObjectMapper().readTree(Path.of(args[0]).toFile())) {
      if (result.path("mode").asText().equals("ss")) {
        memory.add(machine + "," + memoryRow(result));
      } else {
        speed.add(machine + "," + rows.row(result));
      }
    }
    append(csv, HEADER, speed);
    append(csv.resolveSibling("memory.csv"), MEMORY_HEADER, memory);
  }

  private static void append(Path csv, String header, List<String> rows) throws IOException {
    if (rows.isEmpty()) {
      return;
    }
    List<String> lines = new ArrayList<>(rows);
    if (!Files.exists(csv)) {
      lines.addFirst(header);
    }
    Files.write(csv, lines, StandardOpenOption.CREATE, StandardOpenOption.APPEND);
    System.out.println(csv + ": " + rows.size() + " rows");
  }

  /** Of MemoryBench, which runs once and whose time is of no interest. */
  private static String memoryRow(JsonNode result) {
    return String.join(
        ",", op(result), quoted(String.join(" ", shape(result))), number(secondary(result, "plan")),
        number(secondary(result, "heap")), number(secondary(result, "peak")));
  }

  /** The best figure of each name among lines of {@code name value}. */
  private static Map<String, Double> best(Path file) throws IOException {
    Map<String, Double> best = new TreeMap<>();
    for (String line : Files.readAllLines(file)) {
      String[] pair = line.strip().split("\\s+");
      best.merge(pair[0], Double.parseDouble(pair[1]), Math::max);
    }
    return best;
  }

  private static String op(JsonNode result) {
    return result.path("benchmark").asText().replace("dev.hone.bench.", "");
  }

  private static List<String> shape(JsonNode result) {
    List<String> shape = new ArrayList<>();
    result.path("params").properties().forEach(p -> shape.add(p.getKey() + "=" + p.getValue().asText()));
    return shape;
  }

  private String row(JsonNode result) {
    List<String> shape = shape(result);
    double[] samples = samples(result.path("primaryMetric"));
    double ops = median(samples);
    double spread = (samples[samples.length - 1] - samples[0]) / ops;
    double gflops = secondary(result, "gflop");
    double gbytes = secondary(result, "gbyte");
    double tokens = secondary(result, "tokens");
    String yardstick = yardstick(shape, gflops, gbytes / ops);
    double peak = yardstick.isEmpty() ? Double.NaN : roofline.get(yardstick);
    double share = (gflops > 0 ? gflops : gbytes) / peak;
    return String.join(
        ",", op(result), quoted(String.join(" ", shape)), number(1e3 / ops), number(spread), number(gflops),
        number(gbytes), number(tokens), yardstick, number(peak), number(share),
        number(secondary(result, "gc.alloc.rate.norm")));
  }

  /** What an op is held against: the peak of its multiplications, or a copy that moves about as many bytes. */
  private String yardstick(List<String> shape, double gflops, double gbytesEach) {
    if (gflops > 0) {
      boolean f32 = shape.stream().anyMatch(p -> p.endsWith("=f32"));
      return !f32 && roofline.containsKey("dpbf16") ? "dpbf16" : "fma_f32";
    }
    String nearest = "";
    double least = Double.POSITIVE_INFINITY;
    for (String name : roofline.keySet()) {
      if (name.startsWith("copy_") && gbytesEach > 0) {
        double mib = Double.parseDouble(name.substring("copy_".length(), name.length() - "MiB".length()));
        double distance = Math.abs(Math.log(gbytesEach * 1e9 / (mib * 1048576)));
        if (distance < least) {
          least = distance;
          nearest = name;
        }
      }
    }
    return nearest;
  }

  /** NaN where the bench does not count it. */
  private static double secondary(JsonNode result, String name) {
    for (Map.Entry<String, JsonNode> metric : result.path("secondaryMetrics").properties()) {
      if (metric.getKey().equals(name) || metric.getKey().endsWith("·" + name)) {
        return median(samples(metric.getValue()));
      }
    }
    return Double.NaN;
  }

  /** What the iterations of all forks measured, rising. */
  private static double[] samples(JsonNode metric) {
    List<Double> values = new ArrayList<>();
    metric.path("rawData").forEach(fork -> fork.forEach(value -> values.add(value.asDouble())));
    return values.stream().mapToDouble(Double::doubleValue).sorted().toArray();
  }

  private static double median(double[] rising) {
    int half = rising.length / 2;
    return rising.length % 2 == 1 ? rising[half] : (rising[half - 1] + rising[half]) / 2;
  }

  private static String number(double value) {
    return Double.isFinite(value) ? String.format(Locale.ROOT, value >= 1000 ? "%.0f" : "%.4g", value) : "";
  }

  private static String quoted(String text) {
    return text.contains(",") || text.contains("\"") ? '"' + text.replace("\"", "\"\"") + '"' : text;
  }
}
