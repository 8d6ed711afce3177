package dev.hone.testing;

import dev.hone.text.Tokenizer;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;

/**
 * The committed tokenizer of src/test/resources/tokenizers/tiny: byte-level BPE, nine special tokens (0 {@code <unk>},
 * 1 {@code <s>}, 2 {@code </s>}, 3 {@code <pad>}, 4/5 chatml's, 6/7/8 llama3's), the 256 bytes, 20 merges; it carries
 * stale truncation and padding.
 */
public final class TinyTokenizer {
  private TinyTokenizer() {}

  public static Path directory() {
    return Path.of(System.getProperty("hone.root", "."), "src/test/resources/tokenizers/tiny");
  }

  public static Tokenizer open() {
    return Tokenizer.open(directory());
  }

  /** Copies the files to {@code target}, the settings replaced by {@code config} unless it is null. */
  public static Path copy(Path target, String config) {
    try {
      Files.copy(directory().resolve("tokenizer.json"), target.resolve("tokenizer.json"));
      String own = Files.readString(directory().resolve("tokenizer_config.json"));
      Files.writeString(target.resolve("tokenizer_config.json"), config == null ? own : config);
      return target;
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }
}
