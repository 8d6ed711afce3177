package dev.hone.config;

import java.nio.file.Path;
import java.util.Locale;
import java.util.Map;

/** Where Hone keeps what it can make again: {@code HONE_CACHE}, else a folder of its own in the user's cache. */
public final class CacheFolder {
  private CacheFolder() {}

  /** This user's. */
  public static Path find() {
    return find(System.getenv(), System.getProperty("os.name"), Path.of(System.getProperty("user.home")));
  }

  static Path find(Map<String, String> environment, String system, Path home) {
    String own = environment.getOrDefault("HONE_CACHE", "");
    if (!own.isBlank()) {
      return Path.of(own);
    }
    String os = system.toLowerCase(Locale.ROOT);
    if (os.startsWith("windows")) {
      String local = environment.getOrDefault("LOCALAPPDATA", "");
      return local.isBlank() ? home.resolve("AppData").resolve("Local").resolve("hone") : Path.of(local).resolve("hone");
    }
    if (os.startsWith("mac")) {
      return home.resolve("Library").resolve("Caches").resolve("hone");
    }
    String xdg = environment.getOrDefault("XDG_CACHE_HOME", "");
    return (xdg.isBlank() ? home.resolve(".cache") : Path.of(xdg)).resolve("hone");
  }
}
