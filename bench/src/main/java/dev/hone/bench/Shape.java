package dev.hone.bench;

import dev.hone.format.HfConfig;
import dev.hone.model.Architectures;
import dev.hone.model.ModelSpec;

/**
 * A llama of the side-by-side race with the batch it trains on.
 *
 * @param hidden C
 * @param ffn I
 * @param rows documents of a step
 * @param length tokens of each
 */
public record Shape(int hidden, int layers, int heads, int ffn, int rows, int length) {
  public static final int VOCAB = 32000;
  public static final int RANK = 16;

  /** A llama of 7B parameters and the head's, with a sequence of 2048; {@code tiny} has its parts and no size. */
  static Shape ofCard(String name) {
    return switch (name) {
      case "7b" -> new Shape(4096, 32, 32, 11008, 1, 2048);
      case "tiny" -> new Shape(128, 2, 2, 192, 1, 48);
      default -> throw new IllegalArgumentException(name + ": shapes of a card are 7b and tiny");
    };
  }

  /** {@code 15m} or {@code 100m}. */
  public static Shape of(String name) {
    return switch (name) {
      case "15m" -> new Shape(288, 6, 6, 768, 4, 256);
      case "100m" -> new Shape(768, 12, 12, 2048, 1, 512);
      default -> throw new IllegalArgumentException(name + ": shapes are 15m and 100m");
    };
  }

  public int tokens() {
    return rows * length;
  }

  public int headDim() {
    return hidden / heads;
  }

  /** The same model on shorter rows. */
  public Shape shortened(int factor) {
    return new Shape(hidden, layers, heads, ffn, rows, length / factor);
  }

  /** A llama with a tied head of {@link #VOCAB} rows. */
  public ModelSpec spec() {
    String json =
        """
        {"model_type": "llama", "vocab_size": %d, "hidden_size": %d, "num_hidden_layers": %d,
         "num_attention_heads": %d, "num_key_value_heads": %d, "intermediate_size": %d,
         "max_position_embeddings": 4096, "rms_norm_eps": 1e-6, "hidden_act": "silu", "tie_word_embeddings": true}
        """;
    return Architectures.of(
        HfConfig.parse(json.formatted(VOCAB, hidden, layers, heads, heads, ffn), "the bench's config"));
  }
}
