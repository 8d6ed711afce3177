package dev.hone.data;

import dev.hone.config.UserError;
import dev.hone.data.DataOptions.Stage;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** Reads sources into examples, one row at a time, and keeps count. */
final class DatasetReader {
  private final DataOptions options;
  private final RowEncoder encoder;
  private final List<Example> examples = new ArrayList<>();
  private int rows;
  private long tokens;
  private long trained;
  private int cut;
  private int dropped;
  private int skipped;
  private String firstSkipped;
  private int untrained;
  private int longest;

  DatasetReader(DataOptions options, RowEncoder encoder) {
    this.options = options;
    this.encoder = encoder;
  }

  List<Example> examples() {
    return examples;
  }

  DatasetReport report() {
    return new DatasetReport(
        rows, tokens, trained, cut, dropped, skipped, firstSkipped, untrained, longest, options.cutoffLength());
  }

  /** Throws {@link UserError} when the sources have no row to learn from. */
  void readAll(List<DatasetSource> sources) {
    String names = String.join(", ", sources.stream().map(DatasetSource::name).toList());
    sources.forEach(this::read);
    if (rows == 0) {
      throw UserError.of("dataset %s is empty: there is no row in it", names);
    }
    if (examples.isEmpty()) {
      throw UserError.of(
          "dataset %s has no usable row: %s",
          names,
          skipped > 0
              ? "all were skipped, the first: " + firstSkipped
              : "all are longer than cutoff_len " + options.cutoffLength());
    }
    if (trained == 0) {
      throw UserError.of(
          "dataset %s has no token to learn: all labels are masked%s",
          names,
          cut > 0
              ? "; " + cut + " rows were cut, raise cutoff_len"
              : "; check the answers, labels and weights of the rows");
    }
  }

  private void read(DatasetSource source) {
    int most = options.maxSamples().orElse(Integer.MAX_VALUE);
    int limit = source.samples() < 0 ? most : Math.min(most, source.samples());
    int before = rows;
    RowParser[] parser = new RowParser[1]; // known from the first row on
    JsonRows.read(
        source.file(),
        (row, line) -> {
          if (parser[0] == null) {
            Form form =
                options.form().or(() -> Optional.ofNullable(source.form())).orElseGet(() -> Form.recognise(row));
            parser[0] = new RowParser(checked(form, source), source.columns(), source.tags());
          }
          if (rows - before < limit) {
            rows++;
            add(parser[0].parse(row), source, line);
          }
          return rows - before < limit;
        });
  }

  /** What a stage cannot learn from; a named source whose column is mapped to alpaca's prompt is text at stage pt. */
  private Form checked(Form form, DatasetSource source) {
    if (options.stage() == Stage.PT && form == Form.ALPACA && source.columns().response() == null) {
      return Form.TEXT;
    }
    boolean fits = form == Form.TOKENIZED || (form == Form.TEXT) == (options.stage() == Stage.PT);
    if (!fits) {
      throw new RowError(
          options.stage() == Stage.PT
              ? "stage pt learns from text or tokenized rows, and these are " + form.key() + "; use stage: sft"
              : "stage sft learns from questions and answers, and these rows are plain text; use stage: pt");
    }
    return form;
  }

  private void add(Row row, DatasetSource source, int line) {
    String flaw = row instanceof Row.Chat chat ? chat.conversation().flaw(true) : null;
    if (flaw != null) {
      skipped++;
      firstSkipped = firstSkipped == null ? source.file() + ":" + line + ": " + flaw : firstSkipped;
      return;
    }
    RowEncoder.Encoded encoded = encoder.encode(row);
    longest = Math.max(longest, encoded.length());
    if (encoded.example() == null) {
      dropped++;
      return;
    }
    int learnt = learnt(encoded.example());
    cut += encoded.cut() ? 1 : 0;
    untrained += learnt == 0 ? 1 : 0;
    trained += learnt;
    tokens += encoded.example().length();
    examples.add(encoded.example());
  }

  /** Labels that some token of the same document predicts. */
  private static int learnt(Example example) {
    int learnt = 0;
    for (int t = 1; t < example.length(); t++) {
      learnt += example.labels()[t] != Example.IGNORED && example.positions()[t] != 0 ? 1 : 0;
    }
    return learnt;
  }
}
