package dev.hone.bench;

import dev.hone.text.Tokenizer;
import java.nio.file.Path;
import org.openjdk.jmh.annotations.Benchmark;

/** Encoding and decoding a text of 16 KiB with the quickstart's tokenizer, or that of -Dhone.bench.tokenizer=FOLDER. */
public class TokenizerBench extends OpBench {
  private static final int CHARACTERS = 16 << 10;
  private static final String SENTENCE = "The dog runs over 127 hills, and 'nobody' knows why it does not stop. ";

  private Tokenizer tokenizer;
  private String text;
  private int[] ids;

  @Override
  protected void prepare(Shape size) {
    tokenizer = Tokenizer.open(Path.of(System.getProperty("hone.bench.tokenizer", "examples/quickstart/base")));
    text = SENTENCE.repeat(CHARACTERS / SENTENCE.length());
    ids = tokenizer.encode(text, true);
  }

  @Override
  protected void release() {
    tokenizer.close();
  }

  @Benchmark
  public int[] encode(Tokens done) {
    int[] made = tokenizer.encode(text, true);
    done.tokens += made.length;
    return made;
  }

  @Benchmark
  public String decode(Tokens done) {
    done.tokens += ids.length;
    return tokenizer.decode(ids, false);
  }
}
