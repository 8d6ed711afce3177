package dev.hone.format;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.UserError;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.channels.WritableByteChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

class AtomicFilesTest {
  private static final String FULL = "No space left on device";

  @TempDir Path temp;

  private List<String> files() throws IOException {
    try (var list = Files.list(temp)) {
      return list.map(path -> path.getFileName().toString()).sorted().toList();
    }
  }

  /** Takes some bytes, then fails as a full disk does. */
  private static void fail(WritableByteChannel channel) throws IOException {
    channel.write(ByteBuffer.wrap(new byte[5000]));
    throw new IOException(FULL);
  }

  @Test
  void replacesAFileAndMakesFolders() throws IOException {
    Path file = temp.resolve("a/b/c.txt");
    AtomicFiles.writeText(file, "one");
    AtomicFiles.writeText(file, "two \u00e4");
    assertThat(file).hasContent("two \u00e4");
    try (var list = Files.list(file.getParent())) {
      assertThat(list).containsExactly(file);
    }
  }

  @Test
  void keepsTheOldFileWhenTheDiskIsFull() throws IOException {
    Path file = temp.resolve("x.bin");
    AtomicFiles.writeBytes(file, new byte[] {1, 2, 3});
    assertThatThrownBy(() -> AtomicFiles.write(file, AtomicFilesTest::fail))
        .isInstanceOf(UserError.class)
        .hasMessage("cannot write " + file + ": " + FULL + "; the old one is unchanged");
    assertThat(file).hasBinaryContent(new byte[] {1, 2, 3});
    assertThat(files()).containsExactly("x.bin");
    Path absent = temp.resolve("y.bin");
    assertThatThrownBy(() -> AtomicFiles.write(absent, AtomicFilesTest::fail))
        .isInstanceOf(UserError.class)
        .hasMessage("cannot write " + absent + ": " + FULL);
    assertThat(files()).containsExactly("x.bin");
  }

  @Test
  void cleansUpAfterAFaultOfTheWriter() throws IOException {
    assertThatThrownBy(
            () ->
                AtomicFiles.write(
                    temp.resolve("x"),
                    channel -> {
                      throw new IllegalStateException("bug");
                    }))
        .isInstanceOf(IllegalStateException.class);
    assertThat(files()).isEmpty();
  }

  @Test
  void saysWhyAFolderCannotBeMade() throws IOException {
    Files.writeString(temp.resolve("plain"), "a file where a folder should be");
    assertThatThrownBy(() -> AtomicFiles.writeText(temp.resolve("plain/x"), "y"))
        .isInstanceOf(UserError.class)
        .hasMessageStartingWith("cannot write " + temp.resolve("plain/x"));
  }

  @Test
  void replacesAWholeFolder() throws IOException {
    Path folder = temp.resolve("checkpoint-10");
    AtomicFiles.writeFolder(
        folder,
        f -> {
          Files.writeString(f.resolve("a"), "1");
          Files.createDirectory(f.resolve("sub"));
          Files.writeString(f.resolve("sub/b"), "1");
        });
    assertThat(folder.resolve("sub/b")).hasContent("1");
    AtomicFiles.writeFolder(folder, f -> Files.writeString(f.resolve("a"), "2"));
    assertThat(folder.resolve("a")).hasContent("2");
    assertThat(folder.resolve("sub")).doesNotExist();
    assertThat(files()).containsExactly("checkpoint-10");
  }

  @Test
  void keepsTheOldFolderWhenTheNewOneFails() throws IOException {
    Path folder = temp.resolve("checkpoint-10");
    AtomicFiles.writeFolder(folder, f -> Files.writeString(f.resolve("a"), "1"));
    assertThatThrownBy(
            () ->
                AtomicFiles.writeFolder(
                    folder,
                    f -> {
                      Files.writeString(f.resolve("a"), "2");
                      throw new IOException(FULL);
                    }))
        .isInstanceOf(UserError.class)
        .hasMessage("cannot write " + folder + ": " + FULL + "; the old one is unchanged");
    assertThat(folder.resolve("a")).hasContent("1");
    assertThat(files()).containsExactly("checkpoint-10");
  }
}
