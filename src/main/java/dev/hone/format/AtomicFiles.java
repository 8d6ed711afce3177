package dev.hone.format;

import dev.hone.config.Sizes;
import dev.hone.config.UserError;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.FileChannel;
import java.nio.channels.WritableByteChannel;
import java.nio.charset.StandardCharsets;
import java.nio.file.FileStore;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.StandardCopyOption;
import java.nio.file.StandardOpenOption;
import java.nio.file.attribute.BasicFileAttributes;

/**
 * Files that are either the old ones or the new ones, never half of each: written beside the target, forced to the
 * disk, then renamed over it. When writing fails (disk full, no permission) the target stays as it was, what was
 * written is removed, and one {@link UserError} says why.
 */
public final class AtomicFiles {
  private AtomicFiles() {}

  /** Writes a file's content. */
  @FunctionalInterface
  public interface Content {
    void writeTo(WritableByteChannel channel) throws IOException;
  }

  /** Fills a folder. */
  @FunctionalInterface
  public interface Folder {
    void fill(Path folder) throws IOException;
  }

  /** Writes {@code target}; missing parent folders are made. */
  public static void write(Path target, Content content) {
    write(target, 0, content);
  }

  /**
   * As {@link #write(Path, Content)} for a file whose size is known before: nothing is written where the disk has
   * not as much free, and a message about a full disk says how much is missing.
   *
   * @param bytes of the file; 0 unknown
   */
  public static void write(Path target, long bytes, Content content) {
    Path temporary = beside(target);
    long written = 0; // or what could be
    try {
      Files.createDirectories(temporary.getParent());
      long free = free(temporary.getParent());
      if (free < bytes) {
        written = free;
        throw new IOException("the disk has " + Sizes.text(free) + " free");
      }
      try (var channel = FileChannel.open(temporary, StandardOpenOption.WRITE, StandardOpenOption.CREATE_NEW)) {
        try {
          content.writeTo(channel);
        } finally {
          written = channel.position();
        }
        channel.force(true);
      }
      Files.move(temporary, target, StandardCopyOption.ATOMIC_MOVE, StandardCopyOption.REPLACE_EXISTING);
      forceFolder(temporary.getParent());
    } catch (IOException e) {
      removeQuietly(temporary, e);
      String missing = "; " + Sizes.text(bytes - written) + " of " + Sizes.text(bytes) + " are missing";
      throw failed(target, bytes <= written ? "" : missing, e);
    } catch (RuntimeException | Error e) {
      removeQuietly(temporary, e);
      throw e;
    }
  }

  private static long free(Path folder) throws IOException {
    FileStore disk = Files.getFileStore(folder);
    // A file system without a size of its own says 0.
    return disk.getTotalSpace() > 0 ? disk.getUsableSpace() : Long.MAX_VALUE;
  }

  public static void writeBytes(Path target, byte[] bytes) {
    write(target, bytes.length, channel -> writeFully(channel, ByteBuffer.wrap(bytes)));
  }

  /** Writes UTF-8. */
  public static void writeText(Path target, String text) {
    writeBytes(target, text.getBytes(StandardCharsets.UTF_8));
  }

  /**
   * Makes a whole folder appear at once: {@code folder} fills a hidden one beside it, which then takes its name. A
   * folder that had the name is replaced only after the new one is complete.
   */
  public static void writeFolder(Path target, Folder folder) {
    Path temporary = beside(target);
    Path old = null;
    try {
      Files.createDirectories(temporary);
      folder.fill(temporary);
      if (Files.exists(target)) {
        old = beside(target);
        Files.move(target, old, StandardCopyOption.ATOMIC_MOVE);
      }
      Files.move(temporary, target, StandardCopyOption.ATOMIC_MOVE);
      forceFolder(temporary.getParent());
      if (old != null) {
        removeTree(old);
      }
    } catch (IOException e) {
      restore(old, target, e);
      removeQuietly(temporary, e);
      throw failed(target, "", e);
    } catch (UserError e) {
      restore(old, target, e);
      removeQuietly(temporary, e);
      // A reader knows the folder by the name it was to have.
      throw new UserError(e.getMessage().replace(temporary.toString(), target.toString()), e);
    } catch (RuntimeException | Error e) {
      restore(old, target, e);
      removeQuietly(temporary, e);
      throw e;
    }
  }

  static void writeFully(WritableByteChannel channel, ByteBuffer buffer) throws IOException {
    while (buffer.hasRemaining()) {
      channel.write(buffer);
    }
  }

  private static UserError failed(Path target, String missing, IOException e) {
    String kept = Files.exists(target) ? "; the old one is unchanged" : "";
    return new UserError("cannot write " + target + ": " + JsonFile.reason(e) + missing + kept, e);
  }

  /**
   * A name of its own in the target's folder; the dot hides it, the suffix says what it is when a crash leaves it
   * there.
   */
  private static Path beside(Path target) {
    Path whole = target.toAbsolutePath();
    String unique = Long.toString(System.nanoTime(), 36) + Long.toString(Thread.currentThread().threadId(), 36);
    return whole.resolveSibling("." + whole.getFileName() + "." + unique + ".tmp");
  }

  /** The rename itself reaches the disk only with the folder; Windows cannot open folders and needs it not. */
  private static void forceFolder(Path folder) {
    try (var channel = FileChannel.open(folder, StandardOpenOption.READ)) {
      channel.force(true);
    } catch (IOException e) {
      // Not every file system can: the file is complete all the same.
    }
  }

  private static void restore(Path old, Path target, Throwable cause) {
    if (old != null && !Files.exists(target)) {
      try {
        Files.move(old, target, StandardCopyOption.ATOMIC_MOVE);
      } catch (IOException e) {
        cause.addSuppressed(e);
      }
    }
  }

  private static void removeQuietly(Path temporary, Throwable cause) {
    try {
      removeTree(temporary);
    } catch (IOException e) {
      cause.addSuppressed(e);
    }
  }

  private static void removeTree(Path root) throws IOException {
    if (!Files.exists(root)) {
      return;
    }
    Files.walkFileTree(
        root,
        new SimpleFileVisitor<>() {
          @Override
          public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) throws IOException {
            Files.delete(file);
            return FileVisitResult.CONTINUE;
          }

          @Override
          public FileVisitResult postVisitDirectory(Path folder, IOException e) throws IOException {
            Files.delete(folder);
            return FileVisitResult.CONTINUE;
          }
        });
  }
}
