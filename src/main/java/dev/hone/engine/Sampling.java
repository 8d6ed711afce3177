package dev.hone.engine;

/**
 * How the next token is chosen.
 *
 * @param temperature 0 takes the likeliest token; else logits are divided by it
 * @param topP keeps the smallest set of likeliest tokens whose probabilities sum to at least this; 1 keeps all
 * @param seed of the choices
 */
public record Sampling(double temperature, double topP, long seed) {
  /** Always the likeliest token. */
  public static final Sampling GREEDY = new Sampling(0, 1, 0);

  public Sampling {
    if (!(temperature >= 0)) {
      throw new IllegalArgumentException("temperature " + temperature + " is below 0");
    }
    if (!(topP > 0 && topP <= 1)) {
      throw new IllegalArgumentException("top_p " + topP + " is not in (0, 1]");
    }
  }
}
