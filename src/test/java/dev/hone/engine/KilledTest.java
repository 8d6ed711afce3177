package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.kernel.Kernels;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.testing.GoldenModels;
import java.io.BufferedReader;
import java.io.IOException;
import java.lang.reflect.Proxy;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** A process that is killed while it makes a layer cache leaves no cache; the next one makes it whole. */
class KilledTest {
  /** Linear layers that are quantised before the process waits to be killed. */
  private static final int MIDWAY = 9;

  @TempDir
  private Path folder;

  /** Quantises the model in {@code args[0]} as far as the middle of its second layer, says so, and waits. */
  static final class Program {
    public static void main(String[] args) {
      CpuKernels cpu = new CpuKernels();
      int[] made = {0};
      Kernels waiting = (Kernels) Proxy.newProxyInstance(
          Kernels.class.getClassLoader(), new Class<?>[] {Kernels.class}, (proxy, method, arguments) -> {
            if (method.getName().equals("nf4Quantize") && ++made[0] == MIDWAY) {
              System.out.println("midway");
              new CountDownLatch(1).await();
            }
            return method.invoke(cpu, arguments);
          });
      try (BaseModel base = BaseModel.open(Path.of(args[0]));
          LayerCache cache = LayerCache.open(waiting, base, Storage.NF4, Path.of(args[1]), note -> {})) {
        System.out.println("made " + cache.file().bytes());
      }
    }
  }

  private static List<Path> files(Path of) throws IOException {
    try (Stream<Path> all = Files.list(of)) {
      return all.sorted().toList();
    }
  }

  private static List<LayerCaches.State> states(Path caches) {
    return LayerCaches.list(caches).stream().map(LayerCaches.Found::state).toList();
  }

  @Test
  void aKilledMakingLeavesNothingHalfValid() throws Exception {
    Path model = GoldenModels.copy("models/llama", folder.resolve("llama"));
    Path caches = folder.resolve("cache");
    Process process =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(),
                "--enable-native-access=ALL-UNNAMED", "-cp", System.getProperty("java.class.path"),
                Program.class.getName(), model.toString(), caches.toString())
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    try (BufferedReader out = process.inputReader()) {
      assertThat(out.readLine()).isEqualTo("midway");
    } finally {
      process.destroyForcibly(); // SIGKILL
    }
    assertThat(process.waitFor()).isNotZero();

    List<Path> left = files(caches);
    assertThat(left).hasSize(1).allMatch(p -> p.getFileName().toString().endsWith(".tmp"));
    assertThat(Files.size(left.getFirst())).as("it had begun to write").isGreaterThan(10_000);
    assertThat(states(caches)).containsExactly(LayerCaches.State.LEFTOVER);
    assertThat(LayerCaches.prune(caches, null)).as("another run may be writing it").isEmpty();

    try (CpuKernels kernels = new CpuKernels(); BaseModel base = BaseModel.open(model)) {
      LayerCache.open(kernels, base, Storage.NF4, caches, note -> {}).close();
      Path made = LayerCache.path(base, Storage.NF4, caches);
      Path elsewhere = folder.resolve("elsewhere");
      LayerCache.open(kernels, base, Storage.NF4, elsewhere, note -> {}).close();
      assertThat(made).hasSameBinaryContentAs(LayerCache.path(base, Storage.NF4, elsewhere));
    }
    assertThat(files(caches)).hasSize(2);
    Files.setLastModifiedTime(left.getFirst(), FileTime.fromMillis(System.currentTimeMillis() - 2 * 3_600_000));
    assertThat(LayerCaches.prune(caches, null)).extracting(LayerCaches.Found::path)
        .containsExactly(left.getFirst());
    assertThat(states(caches)).containsExactly(LayerCaches.State.CURRENT);
  }
}
