import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Learns a byte-level byte-pair encoding and writes it as Hugging Face's tokenizer.json. Every run gives the same
 * bytes: of equally frequent pairs the alphabetically first is merged.
 */
final class BytePairs {
  /** Ids 0, 1, 2: padding, and the two marks of the chatml template, of which the second also ends every document. */
  private static final List<String> SPECIAL = List.of("<|endoftext|>", "<|im_start|>", "<|im_end|>");

  /** The pre-tokenizer of GPT-2, which ByteLevel applies: the pattern is part of the format. */
  private static final Pattern PIECES =
      Pattern.compile("'(?:s|t|re|ve|m|ll|d)| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+");

  static final String CONFIG =
      """
      {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "bos_token": null,
        "eos_token": "<|im_end|>",
        "pad_token": "<|endoftext|>",
        "unk_token": null,
        "add_bos_token": false,
        "clean_up_tokenization_spaces": false,
        "model_max_length": 256
      }
      """;

  /** One distinct piece of text: how it is cut at the moment, and how often the corpus has it. */
  private record Piece(List<String> symbols, int times) {}

  private BytePairs() {}

  /** tokenizer.json with {@code size} tokens (special ones and the 256 bytes included) for this corpus. */
  static String train(List<String> corpus, int size) {
    String[] letters = byteLetters();
    List<Piece> pieces = pieces(corpus, letters);
    Map<String, Integer> vocabulary = new LinkedHashMap<>();
    for (String special : SPECIAL) {
      vocabulary.put(special, vocabulary.size());
    }
    for (String letter : letters) {
      vocabulary.put(letter, vocabulary.size());
    }
    List<String[]> merges = new ArrayList<>();
    while (vocabulary.size() < size) {
      String[] pair = mostFrequentPair(pieces);
      if (pair == null) {
        throw new IllegalStateException("the corpus has pairs for only " + vocabulary.size() + " tokens of " + size);
      }
      merges.add(pair);
      vocabulary.putIfAbsent(pair[0] + pair[1], vocabulary.size());
      pieces.forEach(p -> merge(p.symbols(), pair));
    }
    return json(vocabulary, merges);
  }

  private static List<Piece> pieces(List<String> corpus, String[] letters) {
    Map<String, Integer> counts = new TreeMap<>();
    for (String text : corpus) {
      Matcher m = PIECES.matcher(text);
      while (m.find()) {
        counts.merge(m.group(), 1, Integer::sum);
      }
    }
    List<Piece> pieces = new ArrayList<>();
    counts.forEach(
        (text, times) -> {
          List<String> symbols = new ArrayList<>();
          for (byte b : text.getBytes(StandardCharsets.UTF_8)) {
            symbols.add(letters[b & 255]);
          }
          pieces.add(new Piece(symbols, times));
        });
    return pieces;
  }

  private static String[] mostFrequentPair(List<Piece> pieces) {
    Map<String, Integer> counts = new TreeMap<>();
    for (Piece p : pieces) {
      for (int i = 0; i + 1 < p.symbols().size(); i++) {
        counts.merge(p.symbols().get(i) + " " + p.symbols().get(i + 1), p.times(), Integer::sum);
      }
    }
    String best = null;
    int most = 0;
    for (Map.Entry<String, Integer> e : counts.entrySet()) {
      if (e.getValue() > most) {
        best = e.getKey();
        most = e.getValue();
      }
    }
    return best == null ? null : best.split(" ");
  }

  private static void merge(List<String> symbols, String[] pair) {
    for (int i = 0; i + 1 < symbols.size(); i++) {
      if (symbols.get(i).equals(pair[0]) && symbols.get(i + 1).equals(pair[1])) {
        symbols.set(i, pair[0] + pair[1]);
        symbols.remove(i + 1);
      }
    }
  }

  /** GPT-2's printable stand-ins for the 256 bytes: printable ones stand for themselves, the others start at U+0100. */
  private static String[] byteLetters() {
    String[] letters = new String[256];
    int next = 256;
    for (int b = 0; b < 256; b++) {
      boolean printable = b >= '!' && b <= '~' || b >= 0xa1 && b <= 0xac || b >= 0xae;
      letters[b] = String.valueOf((char) (printable ? b : next++));
    }
    return letters;
  }

  private static String json(Map<String, Integer> vocabulary, List<String[]> merges) {
    List<String> added = new ArrayList<>();
    for (int id = 0; id < SPECIAL.size(); id++) {
      added.add(
          "    {\"id\": %d, \"content\": %s, \"single_word\": false, \"lstrip\": false, \"rstrip\": false,"
                  .formatted(id, MakeWorld.quote(SPECIAL.get(id)))
              + " \"normalized\": false, \"special\": true}");
    }
    List<String> entries = new ArrayList<>();
    vocabulary.forEach((token, id) -> entries.add("      " + MakeWorld.quote(token) + ": " + id));
    List<String> pairs = new ArrayList<>();
    merges.forEach(p -> pairs.add("      [" + MakeWorld.quote(p[0]) + ", " + MakeWorld.quote(p[1]) + "]"));
    String byteLevel =
        "{\"type\": \"ByteLevel\", \"add_prefix_space\": false, \"trim_offsets\": true, \"use_regex\": true}";
    return """
        {
          "version": "1.0",
          "truncation": null,
          "padding": null,
          "added_tokens": [
        %s
          ],
          "normalizer": null,
          "pre_tokenizer": %s,
          "post_processor": null,
          "decoder": %s,
          "model": {
            "type": "BPE",
            "dropout": null,
            "unk_token": null,
            "continuing_subword_prefix": null,
            "end_of_word_suffix": null,
            "fuse_unk": false,
            "byte_fallback": false,
            "ignore_merges": false,
            "vocab": {
        %s
            },
            "merges": [
        %s
            ]
          }
        }
        """
        .formatted(
            String.join(",\n", added), byteLevel, byteLevel, String.join(",\n", entries), String.join(",\n", pairs));
  }
}
