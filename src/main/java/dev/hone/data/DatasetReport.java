package dev.hone.data;

import java.util.ArrayList;
import java.util.List;
import java.util.Locale;

/**
 * What was read, for the user to see.
 *
 * @param rows rows read
 * @param tokens of all rows that are used, after cutting
 * @param trainedTokens of these, tokens that are learnt
 * @param cut rows shortened to cutoff_len
 * @param dropped rows left out because they are longer than cutoff_len
 * @param skipped rows left out because their turns do not alternate
 * @param firstSkipped file:line and reason of the first of them, null none
 * @param untrained rows used in which no token is learnt
 * @param longest tokens of the longest row before cutting
 * @param cutoffLength the setting
 */
public record DatasetReport(
    int rows,
    long tokens,
    long trainedTokens,
    int cut,
    int dropped,
    int skipped,
    String firstSkipped,
    int untrained,
    int longest,
    int cutoffLength) {

  /** Rows that are used. */
  public int used() {
    return rows - dropped - skipped;
  }

  /** Rows and tokens in one line. */
  public String summary() {
    return String.format(
        Locale.ROOT,
        "%,d rows, %,d tokens, %,d of them trained; the longest row has %,d",
        used(),
        tokens,
        trainedTokens,
        longest);
  }

  /** What needs attention, a line each; empty when nothing does. */
  public List<String> notes() {
    List<String> notes = new ArrayList<>();
    if (cut > 0) {
      notes.add(String.format(Locale.ROOT, "%,d rows were longer than cutoff_len %d and were cut", cut, cutoffLength));
    }
    if (dropped > 0) {
      notes.add(
          String.format(
              Locale.ROOT, "%,d rows were longer than cutoff_len %d and were dropped", dropped, cutoffLength));
    }
    if (skipped > 0) {
      notes.add(String.format(Locale.ROOT, "%,d rows were skipped, the first: %s", skipped, firstSkipped));
    }
    if (untrained > 0) {
      notes.add(String.format(Locale.ROOT, "%,d rows have no trained token", untrained));
    }
    return notes;
  }

  /** The summary and the notes. */
  public List<String> lines() {
    List<String> lines = new ArrayList<>(notes());
    lines.addFirst(summary());
    return lines;
  }
}
