package dev.hone.model;

/**
 * Rotary embedding of a model: base and the scaling that its config asks for. {@link RopeTable} turns it into cos and
 * sin.
 *
 * @param theta the base
 * @param rotaryDims dims of each head that turn (head dim, or less with partial_rotary_factor)
 * @param scaling how frequencies are changed for long contexts
 */
public record RopeSpec(double theta, int rotaryDims, Scaling scaling) {

  /** The kinds of transformers' ROPE_INIT_FUNCTIONS. */
  public sealed interface Scaling {
    /** Frequencies as they are. */
    record Default() implements Scaling {}

    /** All frequencies divided by {@code factor}. */
    record Linear(double factor) implements Scaling {}

    /** NTK-aware: theta grows with the sequence once it is longer than {@code originalPositions}. */
    record Dynamic(double factor, int originalPositions) implements Scaling {}

    /** Llama 3.1: low frequencies divided by factor, high ones kept, a ramp between. */
    record Llama3(double factor, double lowFrequencyFactor, double highFrequencyFactor, int originalPositions)
        implements Scaling {}

    /** YaRN (arXiv 2309.00071). */
    record Yarn(
        double factor,
        int originalPositions,
        double betaFast,
        double betaSlow,
        double attentionFactor,
        boolean truncate)
        implements Scaling {}

    /** Phi-3: a factor for each frequency, short up to the original length and long above it. */
    record LongRope(double[] shortFactors, double[] longFactors, int originalPositions, double attentionFactor)
        implements Scaling {}
  }
}
