package dev.hone.config;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import java.util.Optional;

/**
 * Models that huggingface_hub has downloaded before. Hone itself never downloads.
 * Layout: {@code <cache>/models--ORG--NAME/refs/main} holds a commit, {@code snapshots/<commit>/} its files.
 */
public final class HubCache {
  private HubCache() {}

  /** The snapshot folder of {@code org/name} in this user's cache; empty when it is not there. */
  public static Optional<Path> find(String id) {
    return find(id, System.getenv(), Path.of(System.getProperty("user.home")));
  }

  static Optional<Path> find(String id, Map<String, String> environment, Path home) {
    if (!id.matches("[\\w.-]+/[\\w.-]+")) {
      return Optional.empty();
    }
    Path model = folder(environment, home).resolve("models--" + id.replace("/", "--"));
    try {
      Path main = model.resolve("refs").resolve("main");
      if (!Files.isRegularFile(main)) {
        return Optional.empty();
      }
      return Optional.of(model.resolve("snapshots").resolve(Files.readString(main).strip())).filter(Files::isDirectory);
    } catch (IOException e) {
      throw new UserError(model + ": cannot read this model of the Hugging Face cache: " + e.getMessage(), e);
    }
  }

  private static Path folder(Map<String, String> environment, Path home) {
    if (environment.containsKey("HF_HUB_CACHE")) {
      return Path.of(environment.get("HF_HUB_CACHE"));
    }
    if (environment.containsKey("HF_HOME")) {
      return Path.of(environment.get("HF_HOME"), "hub");
    }
    return home.resolve(".cache/huggingface/hub");
  }
}
