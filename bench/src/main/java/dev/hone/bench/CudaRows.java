package dev.hone.bench;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.HashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;

/** Rows of bench/results/gpu.csv: each written as it is measured, since a bare machine may go away at any time. */
final class CudaRows {
  static final String HEADER =
      "date,card,driver,commit,by,op,shape,time_us,spread,tflop_s,gb_s,tokens_s,vram_mib,share,of";
  private static final int OP = 5;
  private static final int TIME = 7;

  private final Path file;
  private final String machine;
  private final Map<String, Double> peers = new HashMap<>();
  private double copy = Double.NaN;

  /**
   * @param machine cells of date, card, driver, commit and by
   * @param against rows of torch on the same card, whose times are what products and attention are held against; may be
   *     absent
   */
  CudaRows(Path file, List<String> machine, Path against) throws IOException {
    this.file = file;
    this.machine = String.join(",", machine.stream().map(CudaRows::quoted).toList());
    if (!Files.exists(file)) {
      Files.writeString(file, HEADER + "\n");
    }
    if (against != null && Files.exists(against)) {
      for (String line : Files.readAllLines(against)) {
        String[] cells = line.split(",(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)");
        if (cells.length > TIME && cells[TIME].matches("[\\d.eE+]+")) {
          peers.put(cells[OP] + " " + cells[OP + 1], Double.parseDouble(cells[TIME]));
        }
      }
    }
  }

  /** What bandwidth is held against, 1e9 bytes a second, read and written. */
  void copied(double gigabytes) {
    copy = Math.max(gigabytes, Double.isNaN(copy) ? 0 : copy);
  }

  /**
   * One op.
   *
   * @param flops of one call, 0 when it only moves data
   * @param bytes that one call must read and write
   */
  void op(String op, String shape, Timing.Result time, double flops, double bytes) throws IOException {
    double gigabytes = bytes / time.micros() / 1e3;
    Double peer = peers.get(op + " " + shape.replace(" nf4", " bf16"));
    boolean counted = flops > 0;
    double share = counted ? (peer == null ? Double.NaN : peer / time.micros()) : gigabytes / copy;
    write(op, shape, time, flops / time.micros() / 1e6, gigabytes, Double.NaN, Double.NaN, share,
        counted ? peer == null ? "" : "torch" : "copy");
  }

  /** A training step. */
  void step(String shape, Timing.Result time, double tokens, double mebibytes) throws IOException {
    write("qlora_step", shape, time, Double.NaN, Double.NaN, tokens / time.micros() * 1e6, mebibytes, Double.NaN, "");
  }

  private void write(
      String op, String shape, Timing.Result time, double tflops, double gigabytes, double tokens, double mebibytes,
      double share, String of) throws IOException {
    String row = String.join(
        ",", machine, op, quoted(shape), number(time.micros()), number(time.spread()), tflops > 0 ? number(tflops) : "",
        number(gigabytes), number(tokens), number(mebibytes), number(share), of);
    Files.writeString(file, row + "\n", StandardOpenOption.APPEND);
    StringBuilder line = new StringBuilder(String.format(Locale.ROOT, "%-22s %-40s %12.1f us", op, shape,
        time.micros()));
    append(line, tflops > 0 ? tflops : Double.NaN, "TFLOP/s");
    append(line, gigabytes, "GB/s");
    append(line, tokens, "tokens/s");
    append(line, mebibytes, "MiB");
    append(line, share * 100, "% of " + of);
    System.out.println(line);
  }

  private static void append(StringBuilder line, double value, String unit) {
    if (Double.isFinite(value)) {
      line.append("  ").append(number(value)).append(' ').append(unit);
    }
  }

  private static String number(double value) {
    return Double.isFinite(value) ? String.format(Locale.ROOT, value >= 1000 ? "%.0f" : "%.4g", value) : "";
  }

  private static String quoted(String text) {
    return text.contains(",") || text.contains("\"") ? '"' + text.replace("\"", "\"\"") + '"' : text;
  }
}
