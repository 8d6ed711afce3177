package dev.hone.engine;

import java.util.Arrays;
import java.util.Set;
import java.util.function.IntPredicate;

/** Continues token sequences with a {@link Decoder}, keeping its cache for what two prompts in a row begin with. */
public final class Generator {
  private final Decoder decoder;
  private final Set<Integer> stopIds;
  private int[] fed = new int[0];

  /**
   * @param stopIds tokens that end a text: the model's EOS list and the template's end of turn
   */
  public Generator(Decoder decoder, Set<Integer> stopIds) {
    this.decoder = decoder;
    this.stopIds = Set.copyOf(stopIds);
  }

  /** Why a generation ended. */
  public enum Stop {
    /** A stop token. */
    END,
    /** As many tokens as asked for. */
    LENGTH,
    /** The decoder's cache is full. */
    CONTEXT,
    /** The caller asked to stop. */
    INTERRUPTED
  }

  /** The new tokens, a stop token left out, and why there are no more. */
  public record Result(int[] ids, Stop stop) {}

  /**
   * Continues a prompt.
   *
   * @param prompt token ids, at least one, fewer than the decoder's capacity
   * @param maxNewTokens most tokens to add
   * @param each sees every new token as it comes; false stops
   */
  public Result generate(int[] prompt, int maxNewTokens, Sampling sampling, IntPredicate each) {
    Sampler sampler = new Sampler(sampling);
    int[] ids = new int[Math.min(maxNewTokens, Math.max(0, decoder.capacity() - prompt.length))];
    float[] logits = maxNewTokens > 0 ? feedPrompt(prompt) : new float[0];
    int made = 0;
    while (made < ids.length) {
      int id = sampler.choose(logits);
      if (stopIds.contains(id)) {
        return new Result(Arrays.copyOf(ids, made), Stop.END);
      }
      ids[made++] = id;
      if (!each.test(id)) {
        return new Result(Arrays.copyOf(ids, made), Stop.INTERRUPTED);
      }
      if (made < ids.length) {
        logits = feed(id);
      }
    }
    return new Result(ids, made == maxNewTokens ? Stop.LENGTH : Stop.CONTEXT);
  }

  /** Feeds what the cache does not hold yet; the last prompt token is always fed, for its logits. */
  private float[] feedPrompt(int[] prompt) {
    int same = 0;
    while (same < fed.length && same < prompt.length - 1 && fed[same] == prompt[same]) {
      same++;
    }
    decoder.rewind(same);
    fed = Arrays.copyOf(fed, same);
    return feed(Arrays.copyOfRange(prompt, same, prompt.length));
  }

  private float[] feed(int... ids) {
    int at = fed.length;
    fed = Arrays.copyOf(fed, at + ids.length);
    System.arraycopy(ids, 0, fed, at, ids.length);
    return decoder.feed(ids);
  }
}
