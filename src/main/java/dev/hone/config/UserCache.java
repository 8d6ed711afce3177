package dev.hone.config;

import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;

/** The folder of what Hone can make again at any time: kernels compiled for this card, measured choices. */
public final class UserCache {
  /** Environment variable that names another folder. */
  public static final String VARIABLE = "HONE_CACHE";

  private UserCache() {}

  /** This user's folder; it need not exist yet. */
  public static Path folder() {
    return folder(System.getenv(), System.getProperty("os.name"), Path.of(System.getProperty("user.home")));
  }

  static Path folder(Map<String, String> environment, String system, Path home) {
    String given = environment.getOrDefault(VARIABLE, "");
    if (!given.isBlank()) {
      return Path.of(given);
    }
    String lower = system.toLowerCase(Locale.ROOT);
    if (lower.startsWith("windows")) {
      String local = environment.getOrDefault("LOCALAPPDATA", "");
      return (local.isBlank() ? home.resolve("AppData").resolve("Local") : Path.of(local)).resolve("hone");
    }
    if (lower.startsWith("mac")) {
      return home.resolve("Library").resolve("Caches").resolve("hone");
    }
    String xdg = environment.getOrDefault("XDG_CACHE_HOME", "");
    return (xdg.isBlank() ? home.resolve(".cache") : Path.of(xdg)).resolve("hone");
  }
}
