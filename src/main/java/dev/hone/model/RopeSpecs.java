package dev.hone.model;

import dev.hone.config.UserError;
import dev.hone.format.HfConfig;
import dev.hone.model.RopeSpec.Scaling;

/**
 * The rotary embedding that a config.json asks for, in both spellings: rope_parameters, or rope_theta with
 * rope_scaling.
 */
final class RopeSpecs {
  private static final double DEFAULT_THETA = 10_000;
  private static final HfConfig NONE = HfConfig.parse("{}", "");

  private RopeSpecs() {}

  static RopeSpec of(HfConfig config, int headDim, int maxPositions) {
    HfConfig rope = config.object("rope_parameters").or(() -> config.object("rope_scaling")).orElse(NONE);
    for (String key : rope.keys()) {
      if (rope.node(key).filter(value -> value.isObject()).isPresent()) {
        throw new UserError(config.where() + ": rope_parameters by layer type (" + key + ") are not supported");
      }
    }
    double theta = rope.number("rope_theta", config.number("rope_theta", DEFAULT_THETA));
    double partial = rope.number("partial_rotary_factor", config.number("partial_rotary_factor", 1));
    if (partial != 1) {
      throw new UserError(
          config.where() + ": partial_rotary_factor " + partial + " is not supported for this model_type");
    }
    if (theta <= 1) {
      throw config.wrong("rope_theta", theta, "a number above 1");
    }
    String type = rope.text("rope_type", rope.text("type", "default"));
    String originalKey = "original_max_position_embeddings";
    int original = config.integer(originalKey, rope.integer(originalKey, maxPositions));
    Scaling scaling =
        switch (type) {
          case "default" -> new Scaling.Default();
          case "linear" -> new Scaling.Linear(factor(rope));
          case "dynamic" -> new Scaling.Dynamic(factor(rope), maxPositions);
          case "llama3" ->
              new Scaling.Llama3(
                  factor(rope), rope.number("low_freq_factor"), rope.number("high_freq_factor"), original);
          case "yarn" -> yarn(rope, original, maxPositions);
          case "longrope", "su" -> longRope(rope, original, maxPositions, headDim);
          default ->
              throw new UserError(
                  config.where() + ": rope_type '" + type
                      + "' is not supported; supported: default, linear, dynamic, llama3, yarn, longrope");
        };
    return new RopeSpec(theta, headDim, scaling);
  }

  private static double factor(HfConfig rope) {
    double factor = rope.number("factor");
    if (factor <= 0) {
      throw rope.wrong("factor", factor, "a number above 0");
    }
    return factor;
  }

  private static Scaling yarn(HfConfig rope, int original, int maxPositions) {
    double factor = rope.has("factor") ? factor(rope) : (double) maxPositions / original;
    double mscale = rope.number("mscale", 0);
    double mscaleAll = rope.number("mscale_all_dim", 0);
    double suggested =
        mscale != 0 && mscaleAll != 0 ? yarnScale(factor, mscale) / yarnScale(factor, mscaleAll) : yarnScale(factor, 1);
    double betaFast = rope.number("beta_fast", 0);
    double betaSlow = rope.number("beta_slow", 0);
    return new Scaling.Yarn(
        factor,
        original,
        betaFast == 0 ? 32 : betaFast,
        betaSlow == 0 ? 1 : betaSlow,
        rope.number("attention_factor", suggested),
        rope.flag("truncate", true));
  }

  private static double yarnScale(double factor, double mscale) {
    return factor <= 1 ? 1 : 0.1 * mscale * Math.log(factor) + 1;
  }

  private static Scaling longRope(HfConfig rope, int original, int maxPositions, int headDim) {
    double factor = rope.has("factor") ? factor(rope) : (double) maxPositions / original;
    double suggested = factor <= 1 ? 1 : Math.sqrt(1 + Math.log(factor) / Math.log(original));
    double[] shortFactors = factors(rope, "short_factor", headDim / 2);
    double[] longFactors = factors(rope, "long_factor", headDim / 2);
    return new Scaling.LongRope(shortFactors, longFactors, original, rope.number("attention_factor", suggested));
  }

  private static double[] factors(HfConfig rope, String key, int count) {
    double[] factors = rope.numbers(key);
    if (factors.length != count) {
      throw rope.wrong(key, "a list of " + factors.length, count + " numbers, one for each pair of dims");
    }
    return factors;
  }
}
