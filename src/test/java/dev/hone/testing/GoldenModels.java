package dev.hone.testing;

import dev.hone.format.SafetensorsFile;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;

/** The committed reference models under src/test/resources/golden, and copies of them that a test may break. */
public final class GoldenModels {
  private GoldenModels() {}

  /** A folder or file below golden, such as {@code models/llama}. */
  public static Path path(String relative) {
    return Path.of(System.getProperty("hone.root", "."), "src", "test", "resources", "golden").resolve(relative);
  }

  /** A safetensors file below golden. */
  public static SafetensorsFile tensors(String relative, Arena arena) {
    return SafetensorsFile.open(path(relative), arena);
  }

  /** Copies a folder of golden to {@code target}. */
  public static Path copy(String relative, Path target) {
    Path source = path(relative);
    try {
      Files.walkFileTree(
          source,
          new SimpleFileVisitor<>() {
            @Override
            public FileVisitResult preVisitDirectory(Path folder, BasicFileAttributes a) throws IOException {
              Files.createDirectories(target.resolve(source.relativize(folder).toString()));
              return FileVisitResult.CONTINUE;
            }

            @Override
            public FileVisitResult visitFile(Path file, BasicFileAttributes a) throws IOException {
              Files.copy(file, target.resolve(source.relativize(file).toString()));
              return FileVisitResult.CONTINUE;
            }
          });
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
    return target;
  }
}
