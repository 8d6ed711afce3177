package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.hone.format.AtomicFiles;
import dev.hone.format.SafetensorsWriter;
import dev.hone.format.StoredType;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.BuiltInShapes;
import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Random;
import java.util.concurrent.atomic.AtomicLong;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Making a layer cache takes the memory of a few tensors, not of the model: a checkpoint of 2.2 GB within 400 MB. */
class QuantisingMemoryTest {
  private static final long MOST = 400_000_000;
  private static final Path STATUS = Path.of("/proc/self/status");

  /** Resident memory of this process without mapped files, which are page cache. */
  private static long anonymous() {
    try {
      return Files.readAllLines(STATUS).stream()
          .filter(line -> line.startsWith("RssAnon:"))
          .mapToLong(line -> Long.parseLong(line.replaceAll("\\D", "")) * 1024).findFirst().orElseThrow();
    } catch (IOException e) {
      throw new java.io.UncheckedIOException(e);
    }
  }

  @Test
  void aCheckpointOfTwoGigabytesIsQuantisedInFourHundredMegabytes(@TempDir Path folder) throws Exception {
    assumeTrue(Files.exists(STATUS), "skipped: no /proc/self/status to read the resident memory from");
    assumeTrue(
        Files.getFileStore(folder).getUsableSpace() > 5_000_000_000L, "skipped: less than 5 GB free in " + folder);
    Path model = folder.resolve("model");
    long stored = write(model);
    assertThat(stored).isGreaterThan(2_000_000_000L);
    Process quantising =
        new ProcessBuilder(
                Path.of(System.getProperty("java.home"), "bin", "java").toString(), "-Xmx512m", "-XX:+UseSerialGC",
                "--enable-native-access=ALL-UNNAMED", "-cp", System.getProperty("java.class.path"),
                QuantisingMemoryTest.class.getName(), folder.toString())
            .redirectError(ProcessBuilder.Redirect.INHERIT)
            .start();
    String said = new String(quantising.getInputStream().readAllBytes(), StandardCharsets.UTF_8).strip();
    assertThat(quantising.waitFor()).as(said).isZero();
    long above = Long.parseLong(said.split(" ")[0]);
    long made = Long.parseLong(said.split(" ")[1]);
    System.out.printf(
        "quantising %.2f GB to %.2f GB takes at most %.0f MB beside the page cache%n", stored / 1e9, made / 1e9, above / 1e6);
    assertThat(above).isBetween(1L, MOST);
  }

  /**
   * Quantises the model in {@code args[0]} and prints by how many bytes this process's own memory grew at most, and the cache's bytes: a process
   * of its own, for that of the test runner moves with what ran before.
   */
  public static void main(String[] args) throws InterruptedException {
    Path folder = Path.of(args[0]);
    long before = anonymous();
    AtomicLong peak = new AtomicLong(before);
    Thread watch = Thread.ofPlatform().daemon().start(() -> {
      while (!Thread.currentThread().isInterrupted()) {
        peak.accumulateAndGet(anonymous(), Math::max);
        try {
          Thread.sleep(5);
        } catch (InterruptedException e) {
          return;
        }
      }
    });
    try (CpuKernels kernels = new CpuKernels(); BaseModel base = BaseModel.open(folder.resolve("model"));
        LayerCache cache = LayerCache.open(kernels, base, Storage.NF4_DOUBLE_QUANTISED, folder, note -> {})) {
      watch.interrupt();
      watch.join();
      System.out.println(peak.get() - before + " " + cache.file().bytes());
    }
  }

  /** A bf16 checkpoint of TinyLlama's shape: 1.1 billion weights around 0.02. */
  static long write(Path folder) throws IOException {
    String name = "tinyllama-1.1b";
    ModelSpec spec = dev.hone.model.Architectures.of(BuiltInShapes.config(name));
    byte[] chunk = new byte[1 << 20];
    Random random = new Random(1);
    for (int i = 0; i < chunk.length; i += 2) {
      int bits = Float.floatToRawIntBits((float) random.nextGaussian() * 0.02f) >>> 16;
      chunk[i] = (byte) bits;
      chunk[i + 1] = (byte) (bits >>> 8);
    }
    SafetensorsWriter writer = new SafetensorsWriter();
    for (ParameterShape p : ParameterShape.ofModel(spec)) {
      long[] shape = p.shape().stream().mapToLong(Long::longValue).toArray();
      writer.add(p.name(), StoredType.BF16, shape, passing -> {
        Tensor tensor = Tensor.allocate(passing, p.name(), DType.BF16, shape);
        for (long at = 0; at < tensor.bytes(); at += chunk.length) {
          tensor.putBytes(at, chunk, (int) Math.min(chunk.length, tensor.bytes() - at));
        }
        return tensor;
      });
    }
    Files.createDirectories(folder);
    AtomicFiles.writeText(folder.resolve("config.json"), BuiltInShapes.json(name));
    writer.write(folder.resolve("model.safetensors"));
    return Files.size(folder.resolve("model.safetensors"));
  }
}
