package dev.hone.data;

import java.util.Optional;
import java.util.OptionalInt;

/**
 * How rows become examples.
 *
 * @param stage what the rows teach
 * @param form of all datasets; empty: as dataset_info.json says, else recognised from the fields
 * @param template of conversations; empty: chosen by the tokenizer
 * @param cutoffLength longest example in tokens
 * @param overlong what becomes of longer rows
 * @param packing several rows in one example of at most cutoffLength tokens, none of which sees another
 * @param joined only with stage pt and packing: the texts of a block do see each other, as in LLaMA-Factory without
 *     neat_packing
 * @param trainOnPrompt prompts are learnt too
 * @param maskHistory only the last answer of a conversation is learnt
 * @param maxSamples rows taken of each dataset at most
 * @param evalShare share of the rows kept for evaluation, 0 none
 * @param evalCount rows kept for evaluation, 0 none; at most one of the two is set
 * @param seed of the choice of the rows kept for evaluation
 */
public record DataOptions(
    Stage stage,
    Optional<Form> form,
    Optional<String> template,
    int cutoffLength,
    Overlong overlong,
    boolean packing,
    boolean joined,
    boolean trainOnPrompt,
    boolean maskHistory,
    OptionalInt maxSamples,
    double evalShare,
    int evalCount,
    long seed) {

  /** What the rows teach: continued pre-training on every token, or supervised fine-tuning on answers. */
  public enum Stage {
    PT,
    SFT
  }

  /** What becomes of a row that is longer than the cutoff. */
  public enum Overlong {
    /**
     * As LLaMA-Factory: the longer of prompt and answer loses its end, or both in proportion; later turns are left out.
     */
    CUT,
    /** The row loses its end. */
    CUT_END,
    DROP,
    ERROR
  }

  public DataOptions {
    if (cutoffLength < 2) {
      throw new IllegalArgumentException("cutoffLength is " + cutoffLength + "; a token and its successor make 2");
    }
  }

  /** The defaults of a stage: cutoff 2048, rows cut, packing at stage pt only. */
  public static DataOptions of(Stage stage) {
    return new DataOptions(
        stage,
        Optional.empty(),
        Optional.empty(),
        2048,
        Overlong.CUT,
        stage == Stage.PT,
        false,
        false,
        false,
        OptionalInt.empty(),
        0,
        0,
        42);
  }

  public DataOptions withForm(Form form) {
    return new DataOptions(
        stage,
        Optional.of(form),
        template,
        cutoffLength,
        overlong,
        packing,
        joined,
        trainOnPrompt,
        maskHistory,
        maxSamples,
        evalShare,
        evalCount,
        seed);
  }

  public DataOptions withTemplate(String template) {
    return new DataOptions(
        stage,
        form,
        Optional.of(template),
        cutoffLength,
        overlong,
        packing,
        joined,
        trainOnPrompt,
        maskHistory,
        maxSamples,
        evalShare,
        evalCount,
        seed);
  }

  public DataOptions withCutoff(int cutoffLength, Overlong overlong) {
    return new DataOptions(
        stage,
        form,
        template,
        cutoffLength,
        overlong,
        packing,
        joined,
        trainOnPrompt,
        maskHistory,
        maxSamples,
        evalShare,
        evalCount,
        seed);
  }

  public DataOptions withPacking(boolean packing, boolean joined) {
    return new DataOptions(
        stage,
        form,
        template,
        cutoffLength,
        overlong,
        packing,
        joined,
        trainOnPrompt,
        maskHistory,
        maxSamples,
        evalShare,
        evalCount,
        seed);
  }

  public DataOptions withMasking(boolean trainOnPrompt, boolean maskHistory) {
    return new DataOptions(
        stage,
        form,
        template,
        cutoffLength,
        overlong,
        packing,
        joined,
        trainOnPrompt,
        maskHistory,
        maxSamples,
        evalShare,
        evalCount,
        seed);
  }

  public DataOptions withMaxSamples(int maxSamples) {
    return new DataOptions(
        stage,
        form,
        template,
        cutoffLength,
        overlong,
        packing,
        joined,
        trainOnPrompt,
        maskHistory,
        OptionalInt.of(maxSamples),
        evalShare,
        evalCount,
        seed);
  }

  public DataOptions withEvaluation(double evalShare, int evalCount, long seed) {
    return new DataOptions(
        stage,
        form,
        template,
        cutoffLength,
        overlong,
        packing,
        joined,
        trainOnPrompt,
        maskHistory,
        maxSamples,
        evalShare,
        evalCount,
        seed);
  }
}
