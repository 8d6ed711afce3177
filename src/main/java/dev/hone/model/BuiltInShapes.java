package dev.hone.model;

import dev.hone.config.UserError;
import dev.hone.format.HfConfig;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.nio.charset.StandardCharsets;
import java.util.List;

/**
 * Shapes of well-known models, so that planning and measuring them needs no download: the facts of their public config.json files,
 * one resource each. {@code like:NAME} stands for one of them where a model's folder is asked for.
 */
public final class BuiltInShapes {
  /** What marks a built-in shape among model names. */
  public static final String PREFIX = "like:";

  private static final List<String> NAMES =
      List.of("tinyllama-1.1b", "llama-2-7b", "mistral-7b", "qwen2.5-7b", "llama-3-8b", "llama-2-13b", "llama-3-70b");

  private BuiltInShapes() {}

  /** All names, by size. */
  public static List<String> names() {
    return NAMES;
  }

  /**
   * The text of a shape's config.json.
   *
   * @throws UserError when there is no shape of this name; it lists them
   */
  public static String json(String name) {
    if (!NAMES.contains(name)) {
      throw UserError.of("no built-in shape is called %s; there are %s", name, String.join(", ", NAMES));
    }
    String resource = "shapes/" + name + ".json";
    try (InputStream in = BuiltInShapes.class.getResourceAsStream(resource)) {
      if (in == null) {
        throw new IllegalStateException("this build of Hone has no " + resource);
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** The config of a built-in shape; messages about it call it {@code like:NAME}. */
  public static HfConfig config(String name) {
    return HfConfig.parse(json(name), PREFIX + name);
  }
}
