package dev.hone.kernel.cpu;

import java.io.File;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.SymbolLookup;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Path;
import java.util.Locale;
import org.bytedeco.javacpp.Loader;

/** Finds libhone: the file named by the system property {@code hone.library}, else the copy inside the jar or class folder. */
final class NativeLibrary {
  static final String PROPERTY = "hone.library";

  private NativeLibrary() {}

  static SymbolLookup lookup() {
    return SymbolLookup.libraryLookup(path(), Arena.global());
  }

  static Path path() {
    String override = System.getProperty(PROPERTY);
    if (override != null) {
      return Path.of(override);
    }
    String resource = "/native/" + platform() + "/" + System.mapLibraryName("hone");
    URL url = NativeLibrary.class.getResource(resource);
    if (url == null) {
      throw new UnsatisfiedLinkError(
          "this build of Hone has no " + resource.substring(1) + "; build it with `./hone build` on this machine");
    }
    try {
      if (url.getProtocol().equals("file")) {
        return Path.of(url.toURI());
      }
      File cached = Loader.cacheResource(url);
      return cached.toPath();
    } catch (URISyntaxException e) {
      throw new IllegalStateException(url.toString(), e);
    } catch (IOException e) {
      throw new UncheckedIOException("unpacking " + resource.substring(1), e);
    }
  }

  private static String platform() {
    String os = System.getProperty("os.name").toLowerCase(Locale.ROOT);
    String arch = System.getProperty("os.arch");
    return (os.startsWith("windows") ? "windows" : os.startsWith("mac") ? "darwin" : "linux")
        + "-"
        + (arch.equals("amd64") ? "x86_64" : arch);
  }
}
