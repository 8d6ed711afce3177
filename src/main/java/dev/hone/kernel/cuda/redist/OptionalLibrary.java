package dev.hone.kernel.cuda.redist;

import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.SymbolLookup;
import java.net.URI;
import java.net.URISyntaxException;
import java.net.URL;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.Optional;
import java.util.stream.Stream;
import org.bytedeco.javacpp.Loader;

/**
 * A native library that may be on this machine. Looked for in this order: the path that an environment variable names,
 * the class path (where the JavaCPP CUDA redistributables put it), the loader's own search path, the folders of a CUDA
 * toolkit.
 *
 * <p>No class of {@code org.bytedeco.cuda} is touched: those initialise JNI, which fails where there is no card.
 *
 * @param variable names the file; {@code none} in it means: act as if there were none
 * @param names file names by platform and rising age, such as {@code libnvrtc.so.13}
 * @param companions file name prefixes of libraries that must be loaded before, from the same place
 */
record OptionalLibrary(String variable, List<String> names, List<String> companions) {
  private static final String RESOURCES = "/org/bytedeco/cuda/";

  /** The minor versions that are tried for a companion's name on a class path, which cannot be listed. */
  private static final int MINORS = 10;

  /**
   * A library that is loaded.
   *
   * @param where a path, or the name that the system's loader resolved
   */
  record Loaded(SymbolLookup symbols, String where) {}

  static boolean windows() {
    return System.getProperty("os.name").toLowerCase(Locale.ROOT).startsWith("windows");
  }

  /** Empty where there is none; an IllegalArgumentException when the variable names a file that cannot be loaded. */
  Optional<Loaded> load(Map<String, String> environment) {
    String given = environment.getOrDefault(variable, "");
    if (given.equals("none")) {
      return Optional.empty();
    }
    if (!given.isBlank()) {
      return Optional.of(fromFile(Path.of(given)));
    }
    return fromClassPath().or(this::fromSystem).or(() -> fromToolkit(environment));
  }

  private Loaded fromFile(Path file) {
    if (!Files.isRegularFile(file)) {
      throw new IllegalArgumentException(variable + " names " + file + ", which is not there");
    }
    for (Path companion : companionsIn(file.toAbsolutePath().getParent())) {
      SymbolLookup.libraryLookup(companion, Arena.global());
    }
    return new Loaded(SymbolLookup.libraryLookup(file.toAbsolutePath(), Arena.global()), file.toString());
  }

  private Optional<Loaded> fromClassPath() {
    String folder = RESOURCES + (windows() ? "windows" : "linux") + "-" + architecture() + "/";
    for (String name : names) {
      URL url = OptionalLibrary.class.getResource(folder + name);
      if (url != null) {
        for (String companion : companions) {
          for (int minor = 0; minor < MINORS; minor++) {
            URL beside = OptionalLibrary.class.getResource(folder + companionName(companion, name, minor));
            if (beside != null) {
              SymbolLookup.libraryLookup(unpacked(beside), Arena.global());
            }
          }
        }
        Path file = unpacked(url);
        return Optional.of(new Loaded(SymbolLookup.libraryLookup(file, Arena.global()), file.toString()));
      }
    }
    return Optional.empty();
  }

  /**
   * {@code libnvrtc.so.13} has {@code libnvrtc-builtins.so.13.3} beside it, {@code nvrtc64_130_0.dll
   * nvrtc-builtins64_133.dll}.
   */
  static String companionName(String prefix, String name, int minor) {
    String major = name.replaceAll(".*(?:\\.so\\.|64_)(\\d\\d).*", "$1");
    return name.endsWith(".dll") ? prefix + major + minor + ".dll" : prefix + major + "." + minor;
  }

  private Optional<Loaded> fromSystem() {
    for (String name : names) {
      try {
        return Optional.of(new Loaded(SymbolLookup.libraryLookup(name, Arena.global()), name));
      } catch (IllegalArgumentException e) {
        continue; // not on the loader's path: the next name
      }
    }
    return Optional.empty();
  }

  private Optional<Loaded> fromToolkit(Map<String, String> environment) {
    List<Path> folders = new ArrayList<>();
    for (String root : List.of(environment.getOrDefault("CUDA_PATH", ""), environment.getOrDefault("CUDA_HOME", ""),
        windows() ? "" : "/usr/local/cuda")) {
      if (!root.isBlank()) {
        Stream.of("lib64", "bin/x64", "bin").map(Path.of(root)::resolve).forEach(folders::add);
      }
    }
    return folders.stream()
        .flatMap(folder -> names.stream().map(folder::resolve))
        .filter(Files::isRegularFile)
        .findFirst()
        .map(this::fromFile);
  }

  private List<Path> companionsIn(Path folder) {
    if (companions.isEmpty()) {
      return List.of();
    }
    try (Stream<Path> files = Files.list(folder)) {
      return files.filter(f -> companions.stream().anyMatch(f.getFileName().toString()::startsWith)).sorted().toList();
    } catch (IOException e) {
      throw new UncheckedIOException("listing " + folder, e);
    }
  }

  private static Path unpacked(URL url) {
    try {
      return url.getProtocol().equals("file") ? Path.of(new URI(url.toString())) : Loader.cacheResource(url).toPath();
    } catch (IOException e) {
      throw new UncheckedIOException("unpacking " + url, e);
    } catch (URISyntaxException e) {
      throw new IllegalStateException(url.toString(), e);
    }
  }

  private static String architecture() {
    String arch = System.getProperty("os.arch");
    return arch.equals("amd64") ? "x86_64" : arch.equals("aarch64") ? "arm64" : arch;
  }
}
