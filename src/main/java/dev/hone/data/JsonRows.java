package dev.hone.data;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.core.json.JsonReadFeature;
import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.json.JsonMapper;
import dev.hone.config.UserError;
import java.io.BufferedInputStream;
import java.io.ByteArrayOutputStream;
import java.io.EOFException;
import java.io.IOException;
import java.io.InputStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.zip.GZIPInputStream;
import java.util.zip.ZipException;

/**
 * Reads the rows of a file one by one: a JSON array of objects, or an object a line. Which of the two, and whether the
 * file is gzipped, is seen from its first bytes. No more than one row is held as a tree.
 */
final class JsonRows {
  private static final JsonMapper JSON =
      JsonMapper.builder().enable(JsonReadFeature.ALLOW_NON_NUMERIC_NUMBERS).build(); // Python writes NaN
  private static final JsonMapper WHOLE_LINE =
      JSON.rebuild().enable(DeserializationFeature.FAIL_ON_TRAILING_TOKENS).build();
  private static final int[] BYTE_ORDER_MARK = {0xEF, 0xBB, 0xBF};

  /** Takes a row that begins at a line; false ends the reading. */
  interface Consumer {
    boolean accept(JsonNode row, int line);
  }

  private JsonRows() {}

  /**
   * Throws {@link UserError} with file:line for what cannot be read as rows, and for a {@link RowError} of the
   * consumer.
   */
  static void read(Path file, Consumer consumer) {
    if (!Files.isRegularFile(file)) {
      throw UserError.of("%s: no such file", file);
    }
    try (InputStream raw = new BufferedInputStream(Files.newInputStream(file), 1 << 16);
        BufferedInputStream in = new BufferedInputStream(unpacked(raw), 1 << 16)) {
      skipByteOrderMark(in);
      if (startsWithBracket(in)) {
        readArray(file, in, consumer);
      } else {
        readLines(file, in, consumer);
      }
    } catch (EOFException | ZipException e) {
      throw new UserError(file + ": the gzip data is damaged or ends early; fetch the file again", e);
    } catch (IOException e) {
      throw new UserError(file + " cannot be read: " + e.getMessage(), e);
    }
  }

  private static void readArray(Path file, InputStream in, Consumer consumer) throws IOException {
    try (JsonParser p = JSON.createParser(in)) {
      p.nextToken();
      for (JsonToken token = p.nextToken(); token != JsonToken.END_ARRAY; token = p.nextToken()) {
        int line = p.currentTokenLocation().getLineNr();
        if (token != JsonToken.START_OBJECT) {
          throw UserError.of("%s:%d: a row must be a JSON object, not %s", file, line, kind(token));
        }
        if (!deliver(file, p.readValueAsTree(), line, consumer)) {
          return;
        }
      }
      if (p.nextToken() != null) {
        throw UserError.of(
            "%s:%d: something follows the end of the array of rows", file, p.currentTokenLocation().getLineNr());
      }
    } catch (JsonProcessingException e) {
      throw new UserError("%s:%d: not valid JSON: %s".formatted(file, e.getLocation().getLineNr(), reason(e)), e);
    }
  }

  private static void readLines(Path file, InputStream in, Consumer consumer) throws IOException {
    ByteArrayOutputStream bytes = new ByteArrayOutputStream(1 << 12);
    int line = 1;
    for (int b = 0; b >= 0; line++) {
      bytes.reset();
      boolean blank = true;
      for (b = in.read(); b >= 0 && b != '\n'; b = in.read()) {
        bytes.write(b);
        blank &= b <= ' ';
      }
      if (blank) {
        continue;
      }
      JsonNode row;
      try {
        row = WHOLE_LINE.readTree(bytes.toByteArray());
      } catch (JsonProcessingException e) {
        throw new UserError(
            "%s:%d: not valid JSON: %s; each line must be one whole row".formatted(file, line, reason(e)), e);
      }
      if (!row.isObject()) {
        throw UserError.of("%s:%d: a row must be a JSON object, not %s", file, line, kind(row.asToken()));
      }
      if (!deliver(file, row, line, consumer)) {
        return;
      }
    }
  }

  private static boolean deliver(Path file, JsonNode row, int line, Consumer consumer) {
    try {
      return consumer.accept(row, line);
    } catch (RowError e) {
      throw new UserError("%s:%d: %s".formatted(file, line, e.getMessage()), e);
    }
  }

  private static InputStream unpacked(InputStream in) throws IOException {
    in.mark(2);
    boolean gzip = in.read() == 0x1F && in.read() == 0x8B;
    in.reset();
    return gzip ? new GZIPInputStream(in, 1 << 16) : in;
  }

  private static void skipByteOrderMark(InputStream in) throws IOException {
    in.mark(BYTE_ORDER_MARK.length);
    for (int expected : BYTE_ORDER_MARK) {
      if (in.read() != expected) {
        in.reset();
        return;
      }
    }
  }

  /** Looks past blanks without taking them, so that line numbers stay right. */
  private static boolean startsWithBracket(InputStream in) throws IOException {
    int looked = 1 << 15;
    in.mark(looked);
    int b = in.read();
    for (int i = 1; i < looked && b >= 0 && b <= ' '; i++) {
      b = in.read();
    }
    in.reset();
    return b == '[';
  }

  /** Jackson's message without places in its buffers, lists of all that JSON allows, and names of its classes. */
  static String reason(JsonProcessingException e) {
    String message = e.getOriginalMessage();
    if (message.startsWith("Trailing token")) {
      return "something follows the object";
    }
    return message.replaceAll("(?s)(\\s*\\(start marker at |: was expecting \\(JSON |\n).*", "");
  }

  private static String kind(JsonToken token) {
    return switch (token) {
      case START_ARRAY -> "an array";
      case VALUE_STRING -> "a string";
      case VALUE_NULL -> "null";
      case VALUE_TRUE, VALUE_FALSE -> "true or false";
      default -> "a number";
    };
  }
}
