package dev.hone.config;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class HubCacheTest {
  @TempDir Path folder;

  private Path model(Path cache) throws IOException {
    Path model = cache.resolve("models--org--name-1.0");
    Path snapshot = Files.createDirectories(model.resolve("snapshots/abc123"));
    Files.createDirectories(model.resolve("refs"));
    Files.writeString(model.resolve("refs/main"), "abc123\n");
    return snapshot;
  }

  @Test
  void findsTheSnapshotOfMain() throws IOException {
    Path byDefault = model(folder.resolve("home/.cache/huggingface/hub"));
    Path byHome = model(folder.resolve("hf/hub"));
    Path byCache = model(folder.resolve("cache"));
    Path home = folder.resolve("home");
    assertThat(HubCache.find("org/name-1.0", Map.of(), home)).contains(byDefault);
    Map<String, String> hfHome = Map.of("HF_HOME", folder.resolve("hf").toString());
    assertThat(HubCache.find("org/name-1.0", hfHome, home)).contains(byHome);
    Map<String, String> cache = Map.of("HF_HUB_CACHE", folder.resolve("cache").toString(), "HF_HOME", "elsewhere");
    assertThat(HubCache.find("org/name-1.0", cache, home)).contains(byCache);
  }

  @Test
  void isEmptyForWhatIsNotThere() throws IOException {
    Path cache = folder.resolve(".cache/huggingface/hub");
    model(cache);
    assertThat(HubCache.find("org/other", Map.of(), folder)).isEmpty();
    assertThat(HubCache.find("just-a-name", Map.of(), folder)).isEmpty();
    assertThat(HubCache.find("../../etc/passwd", Map.of(), folder)).isEmpty();
    Files.writeString(cache.resolve("models--org--name-1.0/refs/main"), "gone");
    assertThat(HubCache.find("org/name-1.0", Map.of(), folder)).isEmpty();
  }
}
