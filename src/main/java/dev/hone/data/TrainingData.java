package dev.hone.data;

import dev.hone.config.UserError;
import dev.hone.text.Template;
import dev.hone.text.Tokenizer;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/**
 * A run's examples.
 *
 * @param train at least one, in the order of the files
 * @param evaluation empty where none is asked for
 * @param report of the training files, before rows were set apart for evaluation
 * @param evaluationReport of the files of eval_dataset
 * @param template of the conversations, empty where there were none
 */
public record TrainingData(
    List<Example> train,
    List<Example> evaluation,
    DatasetReport report,
    Optional<DatasetReport> evaluationReport,
    Optional<Template> template) {
  /** A shuffle's stream that no epoch uses. */
  private static final long SPLIT = -1;

  /**
   * Reads, encodes, sets apart and packs.
   *
   * @param sources of training
   * @param evaluation of evaluation, may be empty
   * @param tokenizer null where the model has none: only tokenized rows can be read then
   * @param vocab the model's number of tokens
   * @throws UserError for whatever is wrong with files, rows or settings
   */
  public static TrainingData load(
      List<DatasetSource> sources,
      List<DatasetSource> evaluation,
      DataOptions options,
      Tokenizer tokenizer,
      int vocab) {
    RowEncoder encoder = new RowEncoder(options, tokenizer, vocab);
    DatasetReader reader = new DatasetReader(options, encoder);
    reader.readAll(sources);
    List<Example> train = reader.examples();
    List<Example> held = List.of();
    Optional<DatasetReport> heldReport = Optional.empty();
    if (!evaluation.isEmpty()) {
      DatasetReader evaluationReader = new DatasetReader(options, encoder);
      evaluationReader.readAll(evaluation);
      held = evaluationReader.examples();
      heldReport = Optional.of(evaluationReader.report());
    } else if (options.evalShare() > 0 || options.evalCount() > 0) {
      boolean[] chosen = choose(train.size(), options);
      held = select(train, chosen, true);
      train = select(train, chosen, false);
    }
    return new TrainingData(
        pack(train, options, encoder, tokenizer),
        pack(held, options, encoder, tokenizer),
        reader.report(),
        heldReport,
        encoder.template());
  }

  /** Which rows are kept for evaluation; a share is rounded up, as in Hugging Face datasets. */
  private static boolean[] choose(int rows, DataOptions options) {
    int count = options.evalCount() > 0 ? options.evalCount() : (int) Math.ceil(options.evalShare() * rows);
    if (count >= rows) {
      throw UserError.of(
          "val_size keeps %d of %d rows for evaluation, which leaves none to train on; lower val_size", count, rows);
    }
    int[] order = Shuffle.permutation(rows, options.seed(), SPLIT);
    boolean[] chosen = new boolean[rows];
    for (int i = 0; i < count; i++) {
      chosen[order[i]] = true;
    }
    return chosen;
  }

  private static List<Example> select(List<Example> rows, boolean[] chosen, boolean wanted) {
    List<Example> selected = new ArrayList<>();
    for (int i = 0; i < chosen.length; i++) {
      if (chosen[i] == wanted) {
        selected.add(rows.get(i));
      }
    }
    return selected;
  }

  private static List<Example> pack(List<Example> rows, DataOptions options, RowEncoder encoder, Tokenizer tokenizer) {
    if (rows.isEmpty() || !options.packing()) {
      return List.copyOf(rows);
    }
    if (encoder.packsTexts()) {
      int bos = tokenizer != null && tokenizer.addsBos() ? tokenizer.bosId() : -1;
      return Packing.blocks(rows, options.cutoffLength(), !options.joined(), bos);
    }
    return Packing.pack(rows, options.cutoffLength());
  }
}
