package dev.hone.data;

import dev.hone.text.ChatEncoder.EncodedTurn;
import java.util.List;

/** How LLaMA-Factory shortens a conversation (src/llamafactory/data/processor, infer_seqlen). */
final class TurnCut {
  private TurnCut() {}

  /**
   * Tokens kept of each turn's prompt and answer, from their starts.
   *
   * @param capacity tokens in all
   * @param lastFirst the last turns are served first
   */
  static int[][] lengths(List<EncodedTurn> turns, int capacity, boolean lastFirst) {
    int[][] kept = new int[turns.size()][2];
    int left = capacity;
    for (int i = 0; i < turns.size() && left > 0; i++) {
      int at = lastFirst ? turns.size() - 1 - i : i;
      kept[at] = turn(turns.get(at).prompt().length, turns.get(at).answer().length, left);
      left -= kept[at][0] + kept[at][1];
    }
    return kept;
  }

  /**
   * A short answer keeps all and the prompt yields, a short prompt keeps all and the answer yields, else both in
   * proportion.
   */
  private static int[] turn(int prompt, int answer, int left) {
    int forAnswer;
    if (2L * answer < left) {
      forAnswer = left;
    } else if (2L * prompt < left) {
      forAnswer = left - prompt;
    } else {
      forAnswer = (int) (left * ((double) answer / (prompt + answer)));
    }
    int keptAnswer = Math.min(forAnswer, answer);
    return new int[] {Math.min(Math.max(left - keptAnswer, 0), prompt), keptAnswer};
  }
}
