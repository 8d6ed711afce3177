package dev.hone.cli;

import static org.assertj.core.api.Assertions.assertThat;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.BufferedReader;
import java.io.ByteArrayOutputStream;
import java.io.PrintStream;
import java.io.StringReader;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** {@code hone plan} needs no weights, no data and no card. */
class PlanCommandTest {
  private final ByteArrayOutputStream out = new ByteArrayOutputStream();
  private final ByteArrayOutputStream err = new ByteArrayOutputStream();

  @TempDir
  private Path folder;

  private int plan(String... arguments) throws Exception {
    Path yaml = Files.writeString(folder.resolve("run.yaml"), """
        model_name_or_path: like:llama-2-7b
        dataset: none.jsonl
        output_dir: out
        quantization_bit: 4
        lora_rank: 16
        cutoff_len: 2048
        per_device_train_batch_size: 1
        """);
    List<String> all = new ArrayList<>(List.of("plan", yaml.toString()));
    all.addAll(Arrays.asList(arguments));
    return Main.run(
        null, null, new BufferedReader(new StringReader("")), new PrintStream(out, true), new PrintStream(err, true),
        all.toArray(String[]::new));
  }

  private String said() {
    return out.toString(StandardCharsets.UTF_8);
  }

  @Test
  void aBuiltInShapeIsPlannedForACard() throws Exception {
    assertThat(plan("--card", "rtx-3060-12gb", "--vram", "2GB")).isEqualTo(Main.DONE);
    assertThat(said()).contains("6,738,415,616 parameters", "base weights", "device memory", "of 2.00 GiB", "layers stay on the device")
        .contains("predicted", "tokens/s", "optimizer_placement", "tokens fit");
  }

  /** 40 million elements of r 16 in blocks of 256: 8 bytes an element, or 2 and 8/256; on the CPU too. */
  @Test
  void eightBitMomentsSaveWhatThePlanSays() throws Exception {
    assertThat(plan("--card", "rtx-4090")).isEqualTo(Main.DONE);
    assertThat(said()).containsPattern("optim: adamw_8bit +saves 227.6 MiB");
    out.reset();
    assertThat(plan("--card", "rtx-4090", "optim=adamw_8bit")).isEqualTo(Main.DONE);
    assertThat(said()).containsPattern("optim: adamw_torch +takes 227.6 MiB").containsPattern("optimizer states +77.4 MiB");
    out.reset();
    assertThat(plan("optim=paged_adamw_8bit")).isEqualTo(Main.DONE);
    assertThat(said()).contains("on the CPU").containsPattern("optimizer states +77.4 MiB");
  }

  /** Graphs may have what the plan leaves, where nothing travels that a graph cannot hold. */
  @Test
  void graphsAreListedBesideTheContext() throws Exception {
    String[] resident = {"--card", "rtx-4090", "activation_placement=recompute", "--vram", "6GB", "--json"};
    assertThat(plan(resident)).isEqualTo(Main.DONE);
    JsonNode device = new ObjectMapper().readTree(said()).path("device");
    assertThat(device.path("graph_bytes").asLong()).isEqualTo(128L << 20);
    long exactly = device.path("arena_bytes").asLong() + device.path("context_bytes").asLong();
    for (long left : new long[] {0, 1000, 200L << 20}) {
      out.reset();
      assertThat(plan("--card", "rtx-4090", "activation_placement=recompute", "--vram", Long.toString(exactly + left), "--json"))
          .isEqualTo(Main.DONE);
      device = new ObjectMapper().readTree(said()).path("device");
      assertThat(device.path("arena_bytes").asLong() + device.path("context_bytes").asLong()).isEqualTo(exactly);
      assertThat(device.path("graph_bytes").asLong()).isEqualTo(Math.min(left, 128L << 20));
    }
    out.reset();
    assertThat(plan("--card", "rtx-4090", "activation_placement=recompute", "--vram", "6GB")).isEqualTo(Main.DONE);
    assertThat(said()).containsPattern("CUDA graphs \\(at most\\) +128.0 MiB");
    for (String without : new String[] {"cuda_graphs=off", "weight_placement=streamed", "head_placement=host"}) {
      out.reset();
      assertThat(plan("--card", "rtx-4090", "--vram", "6GB", "activation_placement=recompute", without)).as(without + err)
          .isEqualTo(Main.DONE);
      assertThat(said()).doesNotContain("CUDA graphs");
    }
    out.reset();
    assertThat(plan("--card", "rtx-4090", "--vram", "6GB", "activation_placement=offload")).isEqualTo(Main.DONE);
    assertThat(said()).doesNotContain("CUDA graphs");
  }

  @Test
  void theJsonHasWhatToolsAskFor() throws Exception {
    assertThat(plan("--card", "rtx-4090", "--json", "weight_placement=streamed")).isEqualTo(Main.DONE);
    JsonNode root = new ObjectMapper().readTree(said());
    long arena = root.path("device").path("arena_bytes").asLong();
    assertThat(arena).isPositive();
    assertThat(root.path("device").path("context_bytes").asLong()).isPositive();
    assertThat(root.path("host").path("pinned_bytes").asLong()).isPositive();
    assertThat(root.path("host").path("pageable_bytes").asLong()).isGreaterThan(3L << 30);
    assertThat(root.path("prediction").path("tokens_per_second").asDouble()).isPositive();
    assertThat(root.path("placement").path("resident_layers").asInt()).isZero();
    long end = 0;
    for (JsonNode buffer : root.path("buffers")) {
      if (buffer.path("where").asText().equals("arena")) {
        end = Math.max(end, buffer.path("offset").asLong() + buffer.path("bytes").asLong());
      }
    }
    assertThat(arena - end).isBetween(0L, 63L);
  }

  @Test
  void withoutACardTheHostIsPlanned() throws Exception {
    assertThat(plan("model_name_or_path=like:tinyllama-1.1b", "cutoff_len=256")).isEqualTo(Main.DONE);
    assertThat(said()).contains("on the CPU", "trainable parameters");
  }

  @Test
  void mistakesAreOneLine() throws Exception {
    assertThat(plan("--card", "rtx-9999")).isEqualTo(Main.USER_ERROR);
    assertThat(plan("--vram", "six")).isEqualTo(Main.USER_ERROR);
    assertThat(plan("--vram", "900MB")).isEqualTo(Main.USER_ERROR);
    assertThat(plan("--card", "rtx-3060", "model_name_or_path=like:gpt-5")).isEqualTo(Main.USER_ERROR);
    assertThat(err.toString(StandardCharsets.UTF_8).lines()).hasSize(4).satisfiesExactly(
        line -> assertThat(line).contains("rtx-9999", "rtx-3060-12gb"),
        line -> assertThat(line).contains("--vram is `six`"),
        line -> assertThat(line).contains("needs at least", "lower cutoff_len"),
        line -> assertThat(line).contains("no built-in shape is called gpt-5"));
  }
}
