package dev.hone.train;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.engine.Adapters;
import dev.hone.engine.BaseModel;
import dev.hone.engine.Model;
import dev.hone.engine.Storage;
import dev.hone.format.PeftAdapter;
import dev.hone.format.SafetensorsFile;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.Tuning;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import dev.hone.testing.Golden;
import dev.hone.testing.GoldenCase;
import dev.hone.testing.TokenizedRows;
import dev.hone.testing.TrainingRun;
import java.io.File;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.BeforeEach;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * What Hone writes means the same to PEFT and transformers. The live check needs a Python with torch, transformers and
 * peft, named by
 * HONE_PYTHON; the recorded one compares with what PEFT itself wrote and computed.
 */
class PeftTest {
  /** As for logits in golden/README.md: ten times the distance between the reference in fp32 and fp64. */
  private static final float LOGITS = 2e-4f;

  @TempDir Path folder;
  private Path rows;

  @BeforeEach
  void rows() {
    rows = TokenizedRows.random(folder.resolve("rows.jsonl"), 12, 6, 20, 500, 4);
  }

  @Test
  void anAdapterWrittenAgainIsTheOneThatPeftWrote() {
    for (String model : List.of("models/llama", "models/qwen2")) {
      Path base = Golden.committed(model);
      Path given = base.resolve("golden/adapter_init");
      TrainingRun run = new TrainingRun(folder, base, rows).with("adapter_name_or_path", given.toAbsolutePath())
          .with("learning_rate", 0).with("max_steps", 1).with("overwrite_output_dir", true);
      run.run();
      try (Arena arena = Arena.ofConfined()) {
        SafetensorsFile want = SafetensorsFile.open(given.resolve("adapter_model.safetensors"), arena);
        SafetensorsFile got = SafetensorsFile.open(run.output().resolve("adapter_model.safetensors"), arena);
        assertThat(got.names()).containsExactlyInAnyOrderElementsOf(want.names());
        assertThat(got.metadata()).isEqualTo(want.metadata());
        for (String name : want.names()) {
          assertThat(got.type(name)).as(name).isEqualTo(want.type(name));
          assertThat(got.shape(name)).as(name).isEqualTo(want.shape(name));
          assertThat(got.bytes(name).mismatch(want.bytes(name))).as(name + " differs at byte").isEqualTo(-1);
        }
        SafetensorsFile forward = SafetensorsFile.open(base.resolve("golden/forward.safetensors"), arena);
        float[] logits = logits(base, run.output(), GoldenCase.batch(forward, "plain"));
        assertThat(logits).containsExactly(forward.floats("plain.lora_logits"), within(LOGITS));
      }
      ObjectNode want = (ObjectNode) Golden.json(given.resolve("adapter_config.json"));
      ObjectNode got = (ObjectNode) Golden.json(run.output().resolve("adapter_config.json"));
      for (ObjectNode config : List.of(want, got)) {
        config.remove("base_model_name_or_path"); // where the base lay
        List<String> targets = new java.util.ArrayList<>();
        config.remove("target_modules").forEach(t -> targets.add(t.asText()));
        targets.stream().sorted().forEach(config.putArray("target_modules")::add); // PEFT writes a set
      }
      assertThat(got.get("target_modules")).isEqualTo(want.get("target_modules"));
      want.properties().forEach(e -> {
        if (e.getValue().isNumber()) {
          assertThat(got.path(e.getKey()).asDouble()).as(e.getKey()).isEqualTo(e.getValue().asDouble());
        } else {
          assertThat(got.get(e.getKey())).as(e.getKey()).isEqualTo(e.getValue());
        }
      });
      assertThat(got.size()).isEqualTo(want.size());
    }
  }

  @ParameterizedTest
  @CsvSource({
    "models/llama, all, 8, false",
    "models/llama, 'q_proj,v_proj', 4, true",
    "models/gemma2, 'o_proj,down_proj', 16, false",
    "models/qwen3, all, 3, true",
  })
  void peftLoadsATrainedAdapter(String model, String targets, int rank, boolean rslora) throws Exception {
    String python = python();
    Path base = Golden.committed(model);
    TrainingRun run = new TrainingRun(folder, base, rows).with("lora_target", targets).with("lora_rank", rank)
        .with("use_rslora", rslora).with("learning_rate", "1e-2").with("max_steps", 6);
    run.run();
    int[] ids = new Random(5).ints(24, 3, 500).toArray();
    float[] want = peft(python, base, run.output().toString(), ids);
    float[] got = logits(base, run.output(), MicroBatch.of(List.of(Example.of(ids, ids.clone()))));
    assertThat(got).containsExactly(want, within(LOGITS));
    float[] untrained = peft(python, base, "-", ids);
    double moved = 0;
    for (int i = 0; i < want.length; i++) {
      moved = Math.max(moved, Math.abs(want[i] - untrained[i]));
    }
    assertThat(moved).as("the adapter says something").isGreaterThan(0.05);
  }

  @Test
  void transformersLoadsAFullyTrainedModel() throws Exception {
    String python = python();
    TrainingRun run = new TrainingRun(folder, Golden.committed("models/llama3_rope"), rows)
        .with("finetuning_type", "full")
        .with("learning_rate", "1e-3").with("max_steps", 4);
    run.run();
    int[] ids = new Random(6).ints(24, 3, 500).toArray();
    float[] got = logits(run.output(), null, MicroBatch.of(List.of(Example.of(ids, ids.clone()))));
    assertThat(got).containsExactly(peft(python, run.output(), "-", ids), within(LOGITS));
  }

  /** Hone's own logits, with what was written read back. */
  private static float[] logits(Path base, Path adapterFolder, MicroBatch batch) {
    try (CpuKernels kernels = new CpuKernels();
        Arena arena = Arena.ofConfined();
        BaseModel opened = BaseModel.open(base)) {
      PeftAdapter adapter =
          adapterFolder == null ? null : PeftAdapter.read(adapterFolder, arena, opened.spec().linears());
      Tuning tuning = adapter == null ? new Tuning.None() : Adapters.tuning(opened.spec(), adapter.config(), 0f);
      StepShape step = new StepShape(DType.F32, false, batch.tokens(), 1, batch.tokens());
      try (Model model = Model.open(kernels, opened.spec(), opened, tuning, Storage.AS_STORED, step)) {
        if (adapter != null) {
          Adapters.load(adapter, model.parameters());
        }
        return model.logits(batch);
      }
    }
  }

  private float[] peft(String python, Path model, String adapter, int[] ids) throws IOException, InterruptedException {
    Path out = folder.resolve("logits.bin");
    run(python, Golden.root().resolve("src/test/python/peft_logits.py").toString(), model.toString(), adapter,
        Arrays.toString(ids), out.toString());
    ByteBuffer bytes = ByteBuffer.wrap(Files.readAllBytes(out)).order(ByteOrder.LITTLE_ENDIAN);
    float[] logits = new float[bytes.remaining() / 4];
    bytes.asFloatBuffer().get(logits);
    return logits;
  }

  private String python() throws IOException, InterruptedException {
    String python = System.getenv("HONE_PYTHON");
    if (python == null) {
      System.out.println("skipped: HONE_PYTHON names no Python with torch, transformers and peft");
    }
    assumeTrue(python != null, "HONE_PYTHON names no Python with torch, transformers and peft");
    run(python, "-c", "import torch, transformers, peft");
    return python;
  }

  private void run(String... command) throws IOException, InterruptedException {
    File log = folder.resolve("python.log").toFile();
    Process process = new ProcessBuilder(command).redirectErrorStream(true).redirectOutput(log).start();
    assertThat(process.waitFor()).as(() -> read(log)).isZero();
  }

  private static String read(File log) {
    try {
      return Files.readString(log.toPath());
    } catch (IOException e) {
      return e.toString();
    }
  }
}
