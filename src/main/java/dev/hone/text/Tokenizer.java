package dev.hone.text;

import ai.djl.huggingface.tokenizers.HuggingFaceTokenizer;
import ai.djl.huggingface.tokenizers.jni.TokenizersLibrary;
import dev.hone.config.UserError;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import java.util.Map;
import java.util.OptionalInt;

/**
 * A model's own tokenizer, read from its {@code tokenizer.json}. Truncation and padding sections of that file, which
 * belong to whoever saved it, are ignored. Nothing is fetched or reported over a network.
 */
public final class Tokenizer implements AutoCloseable {
  /**
   * The files of a model directory that make its tokenizer: a trained adapter is saved together with a copy of them.
   */
  public static final List<String> FILES =
      List.of("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja");

  static {
    // DJL otherwise reports usage home, and may fetch a GPU build of the tokenizer: both are decided before its classes
    // load.
    System.setProperty("OPT_OUT_TRACKING", "true");
    System.setProperty("ai.djl.offline", "true");
    System.setProperty("RUST_FLAVOR", "cpu");
  }

  private final HuggingFaceTokenizer delegate;
  private final TokenizerFiles files;

  private Tokenizer(HuggingFaceTokenizer delegate, TokenizerFiles files) {
    this.delegate = delegate;
    this.files = files;
  }

  /** Whether the model directory has a tokenizer; without one it can train on tokenized data only. */
  public static boolean in(Path modelDirectory) {
    return Files.isRegularFile(modelDirectory.resolve("tokenizer.json"));
  }

  /**
   * Opens the tokenizer of a model directory.
   *
   * @throws UserError when tokenizer.json is missing or cannot be used
   */
  public static Tokenizer open(Path modelDirectory) {
    Path file = modelDirectory.resolve("tokenizer.json");
    if (!in(modelDirectory)) {
      throw UserError.of("%s is missing: put the model's tokenizer.json there, or train on tokenized data", file);
    }
    TokenizerFiles files = TokenizerFiles.read(modelDirectory);
    try (InputStream in = Files.newInputStream(file)) {
      // With no strategy given DJL keeps the file's own.
      Map<String, String> options = Map.of("truncation", "false", "padding", "false");
      return new Tokenizer(HuggingFaceTokenizer.newInstance(in, options), files);
    } catch (IOException e) {
      throw new UserError(file + " cannot be read: " + e.getMessage(), e);
    } catch (LinkageError | ai.djl.engine.EngineException e) {
      throw new UserError("the tokenizer's native library does not load (it needs glibc 2.34 or newer): " + line(e), e);
    } catch (RuntimeException e) {
      throw new UserError(file + " is not a usable tokenizer: " + line(e), e);
    }
  }

  /** Token ids of a text. {@code addSpecial} adds what the model's post-processor adds, such as BOS. */
  public int[] encode(String text, boolean addSpecial) {
    // DJL's own encode also fetches each token's string, offsets and masks: 25 % more time that nobody reads.
    long encoding = TokenizersLibrary.LIB.encode(delegate.getHandle(), wellFormed(text), addSpecial);
    try {
      return narrow(TokenizersLibrary.LIB.getTokenIds(encoding));
    } finally {
      TokenizersLibrary.LIB.deleteEncoding(encoding);
    }
  }

  /** The text of tokens; {@code skipSpecial} leaves special tokens out. */
  public String decode(int[] ids, boolean skipSpecial) {
    if (ids.length == 0) {
      return "";
    }
    long[] wide = new long[ids.length];
    for (int i = 0; i < ids.length; i++) {
      wide[i] = ids[i];
    }
    return delegate.decode(wide, skipSpecial);
  }

  /** Decodes token by token, for text shown while it is generated. */
  public StreamDecoder stream(boolean skipSpecial) {
    return new StreamDecoder(this, skipSpecial);
  }

  /** The id of an added or special token by its text, such as {@code <|eot_id|>}. */
  public OptionalInt id(String token) {
    Integer id = files.tokens().get(token);
    return id == null ? OptionalInt.empty() : OptionalInt.of(id);
  }

  /** Beginning of sequence, -1 none. */
  public int bosId() {
    return files.bosId();
  }

  /** End of sequence, -1 none. */
  public int eosId() {
    return files.eosId();
  }

  /** Padding, -1 none. Training needs none. */
  public int padId() {
    return files.padId();
  }

  /** {@code add_bos_token} of tokenizer_config.json: texts of continued pre-training begin with BOS. */
  public boolean addsBos() {
    return files.addBos();
  }

  /** One more than the largest token id. */
  public int vocabSize() {
    return files.vocabSize();
  }

  /** The model's Jinja chat template, empty when it has none. */
  public String chatTemplate() {
    return files.chatTemplate();
  }

  @Override
  public void close() {
    delegate.close();
  }

  private static int[] narrow(long[] wide) {
    int[] ids = new int[wide.length];
    for (int i = 0; i < wide.length; i++) {
      ids[i] = Math.toIntExact(wide[i]);
    }
    return ids;
  }

  /** JSON can carry half a surrogate pair, UTF-8 cannot: it becomes U+FFFD. */
  private static String wellFormed(String text) {
    StringBuilder fixed = null;
    for (int i = 0; i < text.length(); i++) {
      char c = text.charAt(i);
      if (!Character.isSurrogate(c)) {
        continue;
      }
      if (Character.isHighSurrogate(c) && i + 1 < text.length() && Character.isLowSurrogate(text.charAt(i + 1))) {
        i++;
        continue;
      }
      fixed = fixed == null ? new StringBuilder(text) : fixed;
      fixed.setCharAt(i, '\uFFFD');
    }
    return fixed == null ? text : fixed.toString();
  }

  private static String line(Throwable e) {
    return String.valueOf(e.getMessage()).lines().findFirst().orElse(e.toString());
  }
}
