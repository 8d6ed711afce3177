package dev.hone.kernel.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.hone.kernel.NativeException;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.Residency;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.channels.FileChannel;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.StandardOpenOption;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Pages of files come and go without a byte changing; pages of buffers are zero and cost nothing until they are touched. */
class HostPagesTest {
  private static final int BYTES = 8 << 20;

  @TempDir
  private Path folder;

  private byte[] content;

  private MemorySegment map(Arena arena) throws IOException {
    content = new byte[BYTES];
    new Random(3).nextBytes(content);
    Path file = Files.write(folder.resolve("file"), content);
    try (FileChannel channel = FileChannel.open(file, StandardOpenOption.READ)) {
      return channel.map(FileChannel.MapMode.READ_ONLY, 0, BYTES, arena);
    }
  }

  /** Two tensors that are not on page boundaries, and one that is no file's. */
  private static HostPages pages(Arena arena, MemorySegment file) {
    Tensor first = Tensor.of(arena, "first", DType.U8, file.asSlice(100, BYTES / 2 - 100), BYTES / 2 - 100);
    Tensor second = Tensor.of(arena, "second", DType.U8, file.asSlice(BYTES / 2), BYTES / 2);
    return HostPages.of(List.of(first, second, Tensor.allocate(arena, "private", DType.F32, 1000)));
  }

  private static long touch(MemorySegment file) {
    long sum = 0;
    for (long at = 0; at < file.byteSize(); at += 512) {
      sum += file.get(ValueLayout.JAVA_BYTE, at);
    }
    return sum;
  }

  @Test
  void releasedPagesLeaveTheProcessAndComeBackTheSame() throws IOException {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment file = map(arena);
      HostPages pages = pages(arena, file);
      assertThat(pages.bytes()).isEqualTo(BYTES - 100);
      long sum = touch(file);
      assumeTrue(Residency.isKnown(), "skipped: no /proc/self/smaps to read the resident pages of a mapping from");
      assertThat(Residency.of(folder.resolve("file"))).isEqualTo(BYTES);
      pages.release();
      assertThat(Residency.of(folder.resolve("file"))).isZero();
      assertThat(touch(file)).isEqualTo(sum);
      assertThat(file.mismatch(MemorySegment.ofArray(content))).isEqualTo(-1);
    }
  }

  @Test
  void prefetchedPagesAreReadWithoutBeingTouched() throws Exception {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment file = map(arena);
      // GNU dd: "oflag=nocache conv=notrunc,fdatasync count=0" drops a file from the system's cache.
      Process drop;
      try {
        drop = new ProcessBuilder("dd", "of=" + folder.resolve("file"), "oflag=nocache", "conv=notrunc,fdatasync", "count=0", "status=none").start();
      } catch (IOException e) {
        assumeTrue(false, "skipped: no dd to empty the system's cache with");
        return;
      }
      assumeTrue(drop.waitFor() == 0 && !file.asSlice(BYTES / 2, 1 << 20).isLoaded(),
          "skipped: the system keeps the file in its cache");
      pages(arena, file).prefetch();
      long until = System.nanoTime() + 60_000_000_000L;
      while (!file.isLoaded() && System.nanoTime() < until) {
        Thread.sleep(10);
      }
      assertThat(file.isLoaded()).as("all of it is in the system's cache").isTrue();
    }
  }

  @Test
  void privateMemoryIsLeftAlone() {
    try (Arena arena = Arena.ofConfined()) {
      Tensor tensor = Tensor.allocate(arena, "private", DType.F32, 4).set(new float[] {1, 2, 3, 4});
      HostPages pages = HostPages.of(List.of(tensor));
      pages.release();
      assertThat(pages.bytes()).isZero();
      assertThat(tensor.toFloats()).containsExactly(1, 2, 3, 4);
    }
  }

  @Test
  void allocatedPagesAreZeroAndTakeRoomWhenTouched() {
    long bytes = 256L << 20;
    boolean known = Residency.isKnown();
    try (Arena arena = Arena.ofConfined()) {
      long before = known ? Residency.status("RssAnon") : 0;
      MemorySegment pages = new CpuKernels().allocate(arena, bytes, 64);
      assertThat(pages.byteSize()).isEqualTo(bytes);
      assertThat(pages.address() % 4096).isZero();
      if (known) {
        // The test runner's own heap may grow meanwhile.
        assertThat(Residency.status("RssAnon") - before).isLessThan(bytes / 2);
      }
      pages.set(ValueLayout.JAVA_BYTE, bytes - 1, (byte) 7);
      assertThat(pages.asSlice(0, 4 << 20).mismatch(MemorySegment.ofArray(new byte[4 << 20]))).isEqualTo(-1);
    }
  }

  @Test
  void whatTheSystemHasNotIsRefused() {
    try (Arena arena = Arena.ofConfined()) {
      assertThatThrownBy(() -> HostPages.allocate(arena, 0)).isInstanceOf(NativeException.class).hasMessageContaining("want some");
      assertThatThrownBy(() -> HostPages.allocate(arena, 1L << 60))
          .isInstanceOf(NativeException.class).hasMessageContaining("pages_allocate: the system has no 1152921504606846976 bytes");
    }
  }
}
