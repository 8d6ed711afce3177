package dev.hone.config;

import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Where to compute.
 *
 * @param ordinal of the card, with {@link Where#CARD}
 * @param driver path or name of the CUDA driver library; empty: the system's
 */
public record DeviceChoice(Where where, int ordinal, Optional<String> driver) {
  /** Environment variable that names the driver library when nothing else does. */
  public static final String DRIVER_VARIABLE = "HONE_CUDA_DRIVER";

  /** What {@link #parse} takes, in words. */
  public static final String WANT = "auto, cpu, cuda or cuda:N";

  private static final Pattern CARD = Pattern.compile("cuda(?::(\\d{1,3}))?");

  /** The kinds of place. */
  public enum Where {
    /** A card when there is one that can serve, else the CPU. */
    AUTO,
    CPU,
    CARD
  }

  /** Always the CPU. */
  public static final DeviceChoice ON_CPU = new DeviceChoice(Where.CPU, 0, Optional.empty());

  /** auto, cpu, cuda or cuda:N in any case; empty for anything else. The driver is the environment's. */
  public static Optional<DeviceChoice> parse(String text) {
    String word = text.strip().toLowerCase(java.util.Locale.ROOT);
    Optional<String> driver = Optional.ofNullable(System.getenv(DRIVER_VARIABLE)).filter(path -> !path.isBlank());
    Matcher card = CARD.matcher(word);
    if (card.matches()) {
      int ordinal = card.group(1) == null ? 0 : Integer.parseInt(card.group(1));
      return Optional.of(new DeviceChoice(Where.CARD, ordinal, driver));
    }
    return switch (word) {
      case "auto" -> Optional.of(new DeviceChoice(Where.AUTO, 0, driver));
      case "cpu" -> Optional.of(new DeviceChoice(Where.CPU, 0, driver));
      default -> Optional.empty();
    };
  }

  /** The same place through another driver library. */
  public DeviceChoice withDriver(String library) {
    return new DeviceChoice(where, ordinal, Optional.of(library));
  }
}
