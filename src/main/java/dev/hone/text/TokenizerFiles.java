package dev.hone.text;

import com.fasterxml.jackson.core.JsonParser;
import com.fasterxml.jackson.core.JsonProcessingException;
import com.fasterxml.jackson.core.JsonToken;
import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.node.MissingNode;
import dev.hone.config.UserError;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.HashSet;
import java.util.Map;
import java.util.Set;

/**
 * What the files beside the tokenizer's native half say: ids of special tokens, the chat template. Sources in order:
 * tokenizer_config.json, special_tokens_map.json (token texts), config.json (ids).
 *
 * @param tokens id of each added token and of the tokens named as special, by text
 * @param vocabSize one more than the largest id
 */
record TokenizerFiles(
    Map<String, Integer> tokens, int vocabSize, int bosId, int eosId, int padId, boolean addBos, String chatTemplate) {
  private static final ObjectMapper JSON = new ObjectMapper();

  static TokenizerFiles read(Path directory) {
    JsonNode config = tree(directory.resolve("tokenizer_config.json"));
    JsonNode map = tree(directory.resolve("special_tokens_map.json"));
    JsonNode model = tree(directory.resolve("config.json"));
    Set<String> wanted = new HashSet<>();
    for (String part : new String[] {"bos", "eos", "pad"}) {
      wanted.add(name(part, config, map));
    }
    wanted.remove("");
    Map<String, Integer> tokens = new HashMap<>();
    int vocabSize = scan(directory.resolve("tokenizer.json"), wanted, tokens);
    return new TokenizerFiles(
        Map.copyOf(tokens),
        vocabSize,
        id("bos", tokens, config, map, model),
        id("eos", tokens, config, map, model),
        id("pad", tokens, config, map, model),
        config.path("add_bos_token").asBoolean(false),
        chatTemplate(directory, config));
  }

  private static int id(String part, Map<String, Integer> tokens, JsonNode config, JsonNode map, JsonNode model) {
    Integer named = tokens.get(name(part, config, map));
    if (named != null) {
      return named;
    }
    JsonNode id = model.path(part + "_token_id");
    return id.isArray() ? id.path(0).asInt(-1) : id.asInt(-1);
  }

  /** A token is written as a string or as {"content": ...}. */
  private static String name(String part, JsonNode config, JsonNode map) {
    for (JsonNode source : new JsonNode[] {config, map}) {
      JsonNode token = source.path(part + "_token");
      String text = token.isTextual() ? token.asText() : token.path("content").asText("");
      if (!text.isEmpty()) {
        return text;
      }
    }
    return "";
  }

  private static String chatTemplate(Path directory, JsonNode config) {
    Path apart = directory.resolve("chat_template.jinja");
    if (Files.isRegularFile(apart)) {
      try {
        return Files.readString(apart);
      } catch (IOException e) {
        throw new UserError(apart + " cannot be read: " + e.getMessage(), e);
      }
    }
    JsonNode template = config.path("chat_template");
    if (template.isArray()) {
      for (JsonNode named : template) {
        if (named.path("name").asText().equals("default")) {
          return named.path("template").asText("");
        }
      }
    }
    return template.asText("");
  }

  private static JsonNode tree(Path file) {
    if (!Files.isRegularFile(file)) {
      return MissingNode.getInstance();
    }
    try {
      return JSON.readTree(file.toFile());
    } catch (JsonProcessingException e) {
      throw garbled(file, e);
    } catch (IOException e) {
      throw new UserError(file + " cannot be read: " + e.getMessage(), e);
    }
  }

  /** Streams through tokenizer.json, whose vocabulary may be tens of megabytes, and keeps only the tokens asked for. */
  private static int scan(Path file, Set<String> wanted, Map<String, Integer> tokens) {
    int largest = -1;
    boolean hasModel = false;
    try (JsonParser p = JSON.createParser(file.toFile())) {
      if (p.nextToken() != JsonToken.START_OBJECT) {
        throw UserError.of("%s:1: not a tokenizer: a JSON object must stand here", file);
      }
      while (p.nextToken() == JsonToken.FIELD_NAME) {
        String field = p.currentName();
        p.nextToken();
        if (field.equals("added_tokens") && p.currentToken() == JsonToken.START_ARRAY) {
          while (p.nextToken() == JsonToken.START_OBJECT) {
            JsonNode token = p.readValueAsTree();
            tokens.put(token.path("content").asText(), token.path("id").asInt());
            largest = Math.max(largest, token.path("id").asInt());
          }
        } else if (field.equals("model") && p.currentToken() == JsonToken.START_OBJECT) {
          hasModel = true;
          largest = Math.max(largest, scanModel(p, wanted, tokens));
        } else {
          p.skipChildren();
        }
      }
    } catch (JsonProcessingException e) {
      throw garbled(file, e);
    } catch (IOException e) {
      throw new UserError(file + " cannot be read: " + e.getMessage(), e);
    }
    if (!hasModel) {
      throw UserError.of("%s: not a tokenizer: it has no \"model\"", file);
    }
    return largest + 1;
  }

  private static int scanModel(JsonParser p, Set<String> wanted, Map<String, Integer> tokens) throws IOException {
    int largest = -1;
    while (p.nextToken() == JsonToken.FIELD_NAME) {
      boolean vocab = p.currentName().equals("vocab");
      p.nextToken();
      if (vocab && p.currentToken() == JsonToken.START_OBJECT) { // BPE, WordPiece, WordLevel: token -> id
        while (p.nextToken() == JsonToken.FIELD_NAME) {
          String token = p.currentName();
          int id = p.nextIntValue(-1);
          largest = Math.max(largest, id);
          if (wanted.contains(token)) {
            tokens.putIfAbsent(token, id);
          }
        }
      } else if (vocab && p.currentToken() == JsonToken.START_ARRAY) { // Unigram: [token, score], the place is the id
        for (int id = 0; p.nextToken() == JsonToken.START_ARRAY; id++) {
          String token = p.nextTextValue();
          largest = id;
          if (token != null && wanted.contains(token)) {
            tokens.putIfAbsent(token, id);
          }
          while (p.nextToken() != JsonToken.END_ARRAY) {
            p.skipChildren();
          }
        }
      } else {
        p.skipChildren();
      }
    }
    return largest;
  }

  private static UserError garbled(Path file, JsonProcessingException e) {
    int line = e.getLocation() == null ? 1 : e.getLocation().getLineNr();
    return new UserError("%s:%d: not valid JSON: %s; fetch the file again".formatted(file, line, reason(e)), e);
  }

  /** Jackson's message without places in its buffers and lists of all that JSON allows. */
  static String reason(JsonProcessingException e) {
    return e.getOriginalMessage().replaceAll("(?s)(\\s*\\(start marker at |: was expecting \\(JSON |\n).*", "");
  }
}
