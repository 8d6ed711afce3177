package dev.hone.kernel.cuda;

/** The code books of NF4, as bitsandbytes computes them; {@code src/main/c/nf4.c} is the same on the CPU. */
final class CodeBooks {
  private CodeBooks() {}

  /** Code to value, f32 (16). */
  static float[] nf4() {
    return new float[] {
      -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f, -0.28444138169288635f,
      -0.18477343022823334f, -0.09105003625154495f, 0.0f, 0.07958029955625534f, 0.16093020141124725f,
      0.24611230194568634f, 0.33791524171829224f, 0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f
    };
  }

  /**
   * The signed dynamic map, rising, f32 (256): decade d = 0..6 spans 10^(d-7) .. 10^(d-6) with 2^d values, the means of neighbours on
   * a grid of 2^d + 1 points; both signs of all 127, then 0 and 1.
   */
  static float[] dynamic() {
    float[] map = new float[256];
    map[255] = 1;
    int above = 128; // map[127] = 0, positive values follow
    for (int d = 0; d < 7; d++) {
      float decade = (float) Math.pow(10.0, d - 6);
      int points = (1 << d) + 1;
      for (int i = 0; i < 1 << d; i++, above++) {
        map[above] = decade * ((gridPoint(i, points) + gridPoint(i + 1, points)) / 2);
        map[254 - above] = -map[above];
      }
    }
    return map;
  }

  /** Point i of n evenly spaced ones on [0.1, 1], counted from the nearer end and rounded once, as torch.linspace does. */
  private static float gridPoint(int i, int n) {
    float step = (1.0f - 0.1f) / (n - 1);
    return i < n / 2 ? Math.fma(step, i, 0.1f) : Math.fma(-step, n - i - 1, 1.0f);
  }
}
