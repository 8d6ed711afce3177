package dev.hone.config;

import static org.assertj.core.api.Assertions.assertThat;

import java.nio.file.Path;
import java.util.Map;
import org.junit.jupiter.api.Test;

class SizesTest {
  @Test
  void unitsArePowersOf1024() {
    assertThat(Sizes.parse("6GB")).contains(6L << 30);
    assertThat(Sizes.parse("6 GiB")).contains(6L << 30);
    assertThat(Sizes.parse("1.5g")).contains(3L << 29);
    assertThat(Sizes.parse("512MiB")).contains(512L << 20);
    assertThat(Sizes.parse("1000")).contains(1000L);
    assertThat(Sizes.parse("six")).isEmpty();
    assertThat(Sizes.parse("-1GB")).isEmpty();
  }

  @Test
  void sizesReadWell() {
    assertThat(Sizes.text(812)).isEqualTo("812 B");
    assertThat(Sizes.text(1 << 20)).isEqualTo("1.0 MiB");
    assertThat(Sizes.text(4210000000L)).isEqualTo("3.92 GiB");
  }

  @Test
  void theCacheFolderIsTheUsersUnlessNamed() {
    Path home = Path.of("/home/a");
    assertThat(CacheFolder.find(Map.of(), "Linux", home)).isEqualTo(Path.of("/home/a/.cache/hone"));
    assertThat(CacheFolder.find(Map.of("XDG_CACHE_HOME", "/x"), "Linux", home)).isEqualTo(Path.of("/x/hone"));
    assertThat(CacheFolder.find(Map.of("HONE_CACHE", "/c", "XDG_CACHE_HOME", "/x"), "Linux", home)).isEqualTo(Path.of("/c"));
    assertThat(CacheFolder.find(Map.of("LOCALAPPDATA", "/l"), "Windows 11", home)).isEqualTo(Path.of("/l/hone"));
  }
}
