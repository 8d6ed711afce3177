package dev.hone.config;

/** How AdamW keeps its two moments. */
public enum Moments {
  /** In f32, as torch does. */
  F32("adamw_torch"),
  /** In 8 bits with an f32 maximum for each block of 256, as bitsandbytes does. */
  EIGHT_BIT("adamw_8bit");

  private final String optim;

  Moments(String optim) {
    this.optim = optim;
  }

  /** The value of {@code optim} that means it; others mean the same. */
  public String optim() {
    return optim;
  }

  /** What a value of {@code optim} means. */
  static Moments of(String optim) {
    return optim.contains("8bit") ? EIGHT_BIT : F32;
  }
}
