package dev.hone.kernel.cuda.redist;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardCopyOption;

/** Writes files of a cache: all or nothing, and without complaint where the folder cannot be written. */
final class CacheFiles {
  private CacheFiles() {}

  /** Written beside its name and renamed, so that other processes see the old file or the new one. */
  static void write(Path file, byte[] content) {
    Path temporary = null;
    try {
      Files.createDirectories(file.getParent());
      temporary = Files.createTempFile(file.getParent(), file.getFileName() + ".", ".tmp");
      Files.write(temporary, content);
      Files.move(temporary, file, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
    } catch (IOException e) {
      removeQuietly(temporary);
    }
  }

  private static void removeQuietly(Path temporary) {
    if (temporary != null) {
      try {
        Files.deleteIfExists(temporary);
      } catch (IOException e) {
        return; // a leftover in a cache folder harms nothing
      }
    }
  }
}
