package dev.hone.config;

import java.util.Locale;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Sizes in bytes as people write and read them. KB, MB, GB, TB are powers of 1024, as graphics cards are labelled. */
public final class Sizes {
  private static final Pattern SIZE = Pattern.compile("(\\d+(?:\\.\\d+)?)\\s*(?:([KMGT])I?B?|B)?", Pattern.CASE_INSENSITIVE);

  private Sizes() {}

  /** The bytes of a text such as {@code 6GB}, {@code 512 MiB} or {@code 1000000}; empty when it is none. */
  public static Optional<Long> parse(String text) {
    Matcher m = SIZE.matcher(text.strip());
    if (!m.matches()) {
      return Optional.empty();
    }
    int power = m.group(2) == null ? 0 : 1 + "KMGT".indexOf(m.group(2).toUpperCase(Locale.ROOT));
    return Optional.of(Math.round(Double.parseDouble(m.group(1)) * Math.pow(1024, power)));
  }

  /** As {@code 812 B}, {@code 15.6 MiB} or {@code 3.92 GiB}. */
  public static String text(long bytes) {
    String[] units = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = bytes;
    int unit = 0;
    while (Math.abs(value) >= 1023.95 && unit + 1 < units.length) {
      value /= 1024;
      unit++;
    }
    return String.format(Locale.ROOT, unit == 0 ? "%.0f %s" : unit >= 3 ? "%.2f %s" : "%.1f %s", value, units[unit]);
  }
}
