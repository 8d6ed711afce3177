package dev.hone.plan;

import dev.hone.kernel.Accelerator;
import java.util.List;
import java.util.Locale;
import java.util.Optional;

/**
 * What a graphics card can do by its maker's data sheet.
 *
 * @param name as in {@code --card}
 * @param memory bytes
 * @param flops dense 16-bit tensor operations a second with f32 accumulation, a multiplication and an addition counted as two
 * @param memoryRate bytes a second of its memory
 * @param linkRate bytes a second of its PCIe link in one direction, about 80 % of the nominal rate
 */
public record CardSpec(String name, long memory, double flops, double memoryRate, double linkRate) {
  /** Share of the peak that the products of a step reach, all ops between them included; measured cards lie between 0.5 and 0.7. */
  public static final double EFFICIENCY = 0.6;

  /** What a CUDA context takes before the first allocation: typical of drivers 535 to 575; the run reports the measured one. */
  public static final long CONTEXT = 300L << 20;

  private static final double GEN3_X16 = 12.5e9;
  private static final double GEN4_X8 = 12.5e9;
  private static final double GEN4_X16 = 25e9;
  private static final double GEN5_X16 = 50e9;

  /** Tensor rates at the boost clock, FP16 or BF16 with FP32 accumulation, dense; sources and arithmetic in docs/cards.md. */
  private static final List<CardSpec> TABLE =
      List.of(
          card("rtx-2060-6gb", 6, 25.8, 336, GEN3_X16),
          card("rtx-2080-ti-11gb", 11, 53.8, 616, GEN3_X16),
          card("rtx-3060-12gb", 12, 25.5, 360, GEN4_X16),
          card("rtx-3070-8gb", 8, 40.6, 448, GEN4_X16),
          card("rtx-3080-10gb", 10, 59.5, 760, GEN4_X16),
          card("rtx-3090-24gb", 24, 71.2, 936, GEN4_X16),
          card("rtx-4060-8gb", 8, 30.2, 272, GEN4_X8),
          card("rtx-4060-ti-16gb", 16, 44.1, 288, GEN4_X8),
          card("rtx-4070-12gb", 12, 58.3, 504, GEN4_X16),
          card("rtx-4080-16gb", 16, 97.5, 717, GEN4_X16),
          card("rtx-4090-24gb", 24, 165.2, 1008, GEN4_X16),
          card("rtx-5090-32gb", 32, 209.5, 1792, GEN5_X16),
          card("h100-80gb", 80, 989.4, 3350, GEN5_X16));

  private static CardSpec card(String name, int gib, double teraflops, double gigabytes, double link) {
    return new CardSpec(name, (long) gib << 30, teraflops * 1e12, gigabytes * 1e9, link);
  }

  public static List<CardSpec> all() {
    return TABLE;
  }

  /** The card of this name, or the only one whose name begins so. */
  public static Optional<CardSpec> named(String name) {
    String wanted = name.toLowerCase(Locale.ROOT);
    List<CardSpec> fit = TABLE.stream().filter(c -> c.name.startsWith(wanted)).toList();
    return TABLE.stream().filter(c -> c.name.equals(wanted)).findFirst()
        .or(() -> fit.size() == 1 ? Optional.of(fit.getFirst()) : Optional.empty());
  }

  /** The card that a driver calls so, such as "NVIDIA GeForce RTX 3060"; among equal names the one nearest in memory. */
  public static Optional<CardSpec> of(String driverName, long bytes) {
    String words = driverName.toLowerCase(Locale.ROOT).replace(' ', '-');
    return TABLE.stream()
        .filter(c -> words.endsWith(c.name.substring(0, c.name.lastIndexOf('-'))))
        .min(java.util.Comparator.comparingLong(c -> Math.abs(c.memory - bytes)));
  }

  /** A card at hand: its rates by data sheet where this table has it, else as it says itself; its link as measured. */
  public static CardSpec of(Accelerator card) {
    CardSpec sheet = of(card.name(), card.memory())
        .orElse(new CardSpec(card.name(), card.memory(), card.flops(), card.memoryRate(), card.linkRate()));
    return new CardSpec(sheet.name, card.memory(), sheet.flops, sheet.memoryRate, card.linkRate());
  }

  /** Floating-point operations a second that a step reaches. */
  public double achieved() {
    return flops * EFFICIENCY;
  }

  /** The same card with another amount of memory. */
  public CardSpec withMemory(long bytes) {
    return new CardSpec(name, bytes, flops, memoryRate, linkRate);
  }
}
