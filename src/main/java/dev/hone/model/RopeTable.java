package dev.hone.model;

import java.util.Arrays;

/**
 * cos and sin of every position and frequency: {@code cos[p * half + i] = a cos(p f_i)} with half = rotaryDims / 2 and
 * the scaling's attention factor a. Computed step by step in the f32 arithmetic of transformers' modeling_rope_utils,
 * so that angles agree with it to the last bits.
 *
 * @param cos (positions, half) flattened
 * @param sin likewise
 * @param positions P: position ids from 0 to P-1 have a row
 * @param half rotaryDims / 2
 */
public record RopeTable(float[] cos, float[] sin, int positions, int half) {

  /**
   * The table for sequences of at most {@code positions} tokens. Dynamic and longrope scaling choose their frequencies
   * by this length: see {@link #variesWithLength}.
   */
  public static RopeTable of(RopeSpec spec, int positions) {
    float[] frequencies = inverseFrequencies(spec, positions);
    float attention = attentionFactor(spec);
    int half = frequencies.length;
    float[] cos = new float[Math.multiplyExact(positions, half)];
    float[] sin = new float[cos.length];
    for (int p = 0; p < positions; p++) {
      for (int i = 0; i < half; i++) {
        float angle = frequencies[i] * p;
        cos[p * half + i] = (float) Math.cos(angle) * attention;
        sin[p * half + i] = (float) Math.sin(angle) * attention;
      }
    }
    return new RopeTable(cos, sin, positions, half);
  }

  /**
   * Whether a table for {@code longest} positions differs from one for a shorter sequence in the rows they share, so
   * that it must be made for the length of each micro-batch's longest document.
   */
  public static boolean variesWithLength(RopeSpec spec, int longest) {
    return switch (spec.scaling()) {
      case RopeSpec.Scaling.Dynamic d -> longest > d.originalPositions();
      case RopeSpec.Scaling.LongRope l -> longest > l.originalPositions();
      default -> false;
    };
  }

  /** f_i (rotaryDims / 2) for a sequence of {@code length} tokens. */
  static float[] inverseFrequencies(RopeSpec spec, int length) {
    int dim = spec.rotaryDims();
    return switch (spec.scaling()) {
      case RopeSpec.Scaling.Default _ -> reciprocal(powers((float) spec.theta(), dim));
      case RopeSpec.Scaling.Linear s -> {
        float[] f = reciprocal(powers((float) spec.theta(), dim));
        for (int i = 0; i < f.length; i++) {
          f[i] /= (float) s.factor();
        }
        yield f;
      }
      case RopeSpec.Scaling.Dynamic s -> reciprocal(powers(dynamicBase(spec.theta(), dim, s, length), dim));
      case RopeSpec.Scaling.Llama3 s -> llama3(reciprocal(powers((float) spec.theta(), dim)), s);
      case RopeSpec.Scaling.Yarn s -> yarn(powers((float) spec.theta(), dim), spec.theta(), dim, s);
      case RopeSpec.Scaling.LongRope s -> {
        float[] f = powers((float) spec.theta(), dim);
        double[] factors = length > s.originalPositions() ? s.longFactors() : s.shortFactors();
        for (int i = 0; i < f.length; i++) {
          f[i] *= (float) factors[i];
        }
        yield reciprocal(f);
      }
    };
  }

  private static float attentionFactor(RopeSpec spec) {
    return switch (spec.scaling()) {
      case RopeSpec.Scaling.Yarn s -> (float) s.attentionFactor();
      case RopeSpec.Scaling.LongRope s -> (float) s.attentionFactor();
      default -> 1f;
    };
  }

  /** base^(2i/dim). */
  private static float[] powers(float base, int dim) {
    float[] out = new float[dim / 2];
    for (int i = 0; i < out.length; i++) {
      out[i] = (float) Math.pow(base, (float) (2 * i) / dim);
    }
    return out;
  }

  private static float[] reciprocal(float[] values) {
    for (int i = 0; i < values.length; i++) {
      values[i] = 1f / values[i];
    }
    return values;
  }

  /** theta ((factor L / L0) - (factor - 1))^(d / (d - 2)), L at least L0; in f32 as the length is a tensor there. */
  private static float dynamicBase(double theta, int dim, RopeSpec.Scaling.Dynamic s, int length) {
    if (length <= s.originalPositions()) {
      return (float) theta;
    }
    float stretch = (float) s.factor() * length / s.originalPositions() - (float) (s.factor() - 1);
    return (float) theta * (float) Math.pow(stretch, (double) dim / (dim - 2));
  }

  private static float[] llama3(float[] f, RopeSpec.Scaling.Llama3 s) {
    float original = s.originalPositions();
    float lowWavelength = (float) (s.originalPositions() / s.lowFrequencyFactor());
    float highWavelength = (float) (s.originalPositions() / s.highFrequencyFactor());
    float factor = (float) s.factor();
    float span = (float) (s.highFrequencyFactor() - s.lowFrequencyFactor());
    for (int i = 0; i < f.length; i++) {
      float wavelength = 1f / f[i] * (float) (2 * Math.PI);
      if (wavelength > lowWavelength) {
        f[i] /= factor;
      } else if (wavelength >= highWavelength) {
        float smooth = (1f / wavelength * original - (float) s.lowFrequencyFactor()) / span;
        f[i] = (1f - smooth) * f[i] / factor + smooth * f[i];
      }
    }
    return f;
  }

  private static float[] yarn(float[] powers, double theta, int dim, RopeSpec.Scaling.Yarn s) {
    double low = correctionDim(s.betaFast(), dim, theta, s.originalPositions());
    double high = correctionDim(s.betaSlow(), dim, theta, s.originalPositions());
    if (s.truncate()) {
      low = Math.floor(low);
      high = Math.ceil(high);
    }
    low = Math.max(low, 0);
    high = Math.min(high, dim - 1);
    if (low == high) {
      high += 0.001;
    }
    float[] out = new float[powers.length];
    for (int i = 0; i < out.length; i++) {
      float ramp = Math.clamp((i - (float) low) / (float) (high - low), 0f, 1f);
      float keep = 1f - ramp;
      float interpolated = 1f / ((float) s.factor() * powers[i]);
      out[i] = interpolated * (1f - keep) + 1f / powers[i] * keep;
    }
    return out;
  }

  /**
   * The (fractional) dim that turns {@code rotations} times over the original length: d ln(L / (2 pi r)) / (2 ln
   * theta).
   */
  private static double correctionDim(double rotations, int dim, double theta, int length) {
    return dim * Math.log(length / (rotations * 2 * Math.PI)) / (2 * Math.log(theta));
  }

  @Override
  public boolean equals(Object other) {
    return other instanceof RopeTable t && t.half == half && Arrays.equals(t.cos, cos) && Arrays.equals(t.sin, sin);
  }

  @Override
  public int hashCode() {
    return Arrays.hashCode(cos);
  }

  @Override
  public String toString() {
    return "RopeTable[" + positions + ", " + half + "]";
  }
}
