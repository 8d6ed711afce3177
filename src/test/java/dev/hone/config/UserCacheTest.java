package dev.hone.config;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;

class UserCacheTest {
  private static final Path HOME = Path.of("home", "user");

  private static Path folder(String system, Map<String, String> environment) {
    return UserCache.folder(environment, system, HOME);
  }

  @Test
  void eachSystemKeepsItWhereItsOtherProgramsDo() {
    assertThat(folder("Linux", Map.of())).isEqualTo(HOME.resolve(".cache").resolve("hone"));
    assertThat(folder("Linux", Map.of("XDG_CACHE_HOME", "xdg"))).isEqualTo(Path.of("xdg", "hone"));
    assertThat(folder("Mac OS X", Map.of())).isEqualTo(HOME.resolve("Library").resolve("Caches").resolve("hone"));
    assertThat(folder("Windows 11", Map.of("LOCALAPPDATA", "local"))).isEqualTo(Path.of("local", "hone"));
    assertThat(folder("Windows 11", Map.of())).isEqualTo(HOME.resolve("AppData").resolve("Local").resolve("hone"));
  }

  @Test
  void theVariableWinsUnlessItIsEmpty() {
    assertThat(folder("Linux", Map.of(UserCache.VARIABLE, "here", "XDG_CACHE_HOME", "xdg"))).isEqualTo(Path.of("here"));
    assertThat(folder("Linux", Map.of(UserCache.VARIABLE, ""))).isEqualTo(HOME.resolve(".cache").resolve("hone"));
  }
}
