package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.UserError;
import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.format.LayerCacheIndex;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.ParameterShape;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.BlobBytes;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.GoldenModels;
import java.io.IOException;
import java.io.RandomAccessFile;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.time.Duration;
import java.util.ArrayList;
import java.util.List;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

class LayerCacheTest {
  private final CpuKernels kernels = new CpuKernels();
  private final List<String> notes = new ArrayList<>();

  @TempDir
  private Path folder;

  private LayerCache open(BaseModel base, Storage storage) {
    return LayerCache.open(kernels, base, storage, folder, notes::add);
  }

  /** Loss and all gradients of one micro-batch with LoRA on every linear layer. */
  private float[][] step(WeightSource source, BaseModel base, Storage storage) {
    List<Tuning.Lora.Target> targets = new ArrayList<>();
    for (int layer = 0; layer < base.spec().layers(); layer++) {
      for (Projection p : Projection.values()) {
        targets.add(new Tuning.Lora.Target(layer, p, 4, 2f));
      }
    }
    Tuning.Lora lora = new Tuning.Lora(targets, 0);
    int[] ids = {5, 9, 33, 7, 80, 2, 41, 11};
    MicroBatch batch = MicroBatch.of(List.of(Example.of(ids, ids.clone())));
    StepShape shape = new StepShape(DType.F32, true, ids.length, 1, ids.length);
    try (Model model = Model.open(kernels, base.spec(), source, lora, storage, shape)) {
      StirredAdapter.fill(model.parameters(), lora, 3);
      List<float[]> all = new ArrayList<>();
      all.add(new float[] {(float) model.train(batch, 1f / batch.validTargets(), 0, 0)});
      model.parameters().all().forEach(p -> all.add(p.gradient().toFloats()));
      return all.toArray(float[][]::new);
    }
  }

  @ParameterizedTest
  @EnumSource(Storage.class)
  void trainingFromTheFileIsTrainingFromTheCheckpointBitForBit(Storage storage) {
    for (String model : List.of("models/llama", "models/qwen2", "models/gemma2", "qlora/llama_nf4_dq")) {
      try (BaseModel base = BaseModel.open(GoldenModels.path(model)); LayerCache cache = open(base, storage)) {
        assertThat(step(cache, base, storage)).as(model + " " + storage).isDeepEqualTo(step(base, base, storage));
      }
    }
    assertThat(notes).hasSize(4);
  }

  @Test
  void aFileIsMadeOnceAndLaidOutInPages() throws IOException {
    Path model = GoldenModels.copy("models/llama", folder.resolve("model"));
    Path path;
    try (BaseModel base = BaseModel.open(model)) {
      path = LayerCache.path(base, Storage.NF4, folder);
      open(base, Storage.NF4).close();
      byte[] first = Files.readAllBytes(path);
      try (LayerCache again = open(base, Storage.NF4)) {
        assertThat(notes).hasSize(1);
        assertThat(again.file().index().segments()).allSatisfy(s -> assertThat(s.offset() % 4096).as(s.name()).isZero());
        assertThat(again.file().index().segments().stream().map(LayerCacheIndex.Segment::name))
            .startsWith("embedding", "layers.0", "layers.1");
        for (ParameterShape p : ParameterShape.ofModel(base.spec())) {
          boolean linear = p.shape().size() == 2 && p.name().contains(".layers.");
          assertThat(again.file().index().dtype(p.name())).isEqualTo(linear ? DType.NF4 : DType.F32);
        }
      }
      assertThat(Files.readAllBytes(path)).isEqualTo(first);
    }
    Files.setLastModifiedTime(model.resolve("model.safetensors"), FileTime.fromMillis(1_000_000));
    try (BaseModel changed = BaseModel.open(model)) {
      assertThat(LayerCache.path(changed, Storage.NF4, folder)).isNotEqualTo(path);
      assertThat(LayerCache.path(changed, Storage.INT8, folder)).isNotEqualTo(LayerCache.path(changed, Storage.NF4, folder));
    }
    assertThat(LayerCaches.list(folder).getFirst().state()).isEqualTo(LayerCaches.State.CHANGED);
  }

  /** A blob copied elsewhere, as a device's slot gets it, holds the layer's tensors. */
  @Test
  void aCopiedBlobHoldsTheLayer() {
    try (BaseModel base = BaseModel.open(GoldenModels.path("models/llama"));
        LayerCache cache = open(base, Storage.NF4_DOUBLE_QUANTISED);
        Arena arena = Arena.ofConfined()) {
      Tensor blob = cache.file().blob("layers.1");
      Tensor copy = Tensor.allocate(arena, "copy", DType.U8, blob.bytes()).copyFrom(blob);
      String name = "model.layers.1.mlp.down_proj.weight";
      Tensor mapped = cache.file().tensor(name);
      Tensor moved = cache.file().index().tensorIn(arena, name, copy);
      Tensor a = Tensor.allocate(arena, "a", DType.F32, mapped.shape());
      Tensor b = Tensor.allocate(arena, "b", DType.F32, mapped.shape());
      kernels.cast(a, mapped);
      kernels.cast(b, moved);
      assertThat(b.toFloats()).isEqualTo(a.toFloats());
      assertThat(moved.data().address()).isBetween(copy.data().address(), copy.data().address() + copy.bytes());
    }
  }

  @ParameterizedTest
  @EnumSource(Storage.class)
  void thePlanKnowsTheBytesOfABlob(Storage storage) {
    for (String model : List.of("models/llama", "models/qwen2", "models/qwen3", "models/gemma2")) {
      try (BaseModel base = BaseModel.open(GoldenModels.path(model)); LayerCache cache = open(base, storage)) {
        BlobBytes.Form form =
            switch (storage) {
              case AS_STORED -> BlobBytes.Form.STORED;
              case NF4 -> BlobBytes.Form.NF4;
              case NF4_DOUBLE_QUANTISED -> BlobBytes.Form.NF4_DOUBLE;
              case INT8 -> BlobBytes.Form.INT8;
            };
        DType matrices = cache.file().index().dtype("model.embed_tokens.weight");
        BlobBytes planned = BlobBytes.of(base.spec(), form, matrices);
        for (int layer = 0; layer < base.spec().layers(); layer++) {
          assertThat(cache.file().index().blobBytes("layers." + layer)).as(model + " " + storage).isEqualTo(planned.layer());
        }
        assertThat(cache.file().index().blobBytes("embedding")).isEqualTo(planned.embedding());
        assertThat(base.spec().tiedHead() ? 0 : cache.file().index().blobBytes("head")).isEqualTo(planned.head());
      }
    }
  }

  @Test
  void anInterruptedMakingLeavesNothing() throws IOException {
    Path model = GoldenModels.copy("models/llama", folder.resolve("model"));
    // A damaged tensor in the last layer: the making stops when most of the file is written.
    try (BaseModel base = BaseModel.open(model)) {
      poison(model.resolve("model.safetensors"), base.spec().layers() - 1);
    }
    try (BaseModel base = BaseModel.open(model)) {
      assertThatThrownBy(() -> open(base, Storage.NF4))
          .isInstanceOf(UserError.class).hasMessageContaining("NaN or infinite");
    }
    try (Stream<Path> left = Files.list(folder)) {
      assertThat(left.map(p -> p.getFileName().toString())).containsExactly("model");
    }
  }

  private static void poison(Path file, int layer) throws IOException {
    long at;
    try (Arena arena = Arena.ofConfined()) {
      var opened = dev.hone.format.SafetensorsFile.open(file, arena);
      var bytes = opened.bytes("model.layers." + layer + ".mlp.down_proj.weight");
      var whole = opened.bytes(opened.names().iterator().next());
      at = Files.size(file) - opened.names().stream().mapToLong(n -> opened.bytes(n).byteSize()).sum()
          + bytes.address() - opened.names().stream().mapToLong(n -> opened.bytes(n).address()).min().orElse(whole.address());
    }
    try (RandomAccessFile open = new RandomAccessFile(file.toFile(), "rw")) {
      open.seek(at);
      open.write(new byte[] {0, 0, (byte) 0xc0, 0x7f}); // NaN as f32
    }
  }

  @ParameterizedTest
  @ValueSource(ints = {1, 100, 5000})
  void aDamagedFileIsToldAndNotUsed(int missing) throws IOException {
    try (BaseModel base = BaseModel.open(GoldenModels.path("models/llama"))) {
      open(base, Storage.NF4).close();
      Path path = LayerCache.path(base, Storage.NF4, folder);
      try (RandomAccessFile file = new RandomAccessFile(path.toFile(), "rw")) {
        file.setLength(file.length() - missing);
      }
      assertThatThrownBy(() -> open(base, Storage.NF4))
          .isInstanceOf(UserError.class).hasMessageContaining("remove the file");
      assertThat(LayerCaches.list(folder).getFirst().state()).isEqualTo(LayerCaches.State.DAMAGED);
    }
  }

  @Test
  void aFolderThatCannotBeWrittenIsTold() throws IOException {
    Path file = Files.writeString(folder.resolve("file"), "");
    try (BaseModel base = BaseModel.open(GoldenModels.path("models/llama"))) {
      assertThatThrownBy(() -> LayerCache.open(kernels, base, Storage.NF4, file.resolve("below"), notes::add))
          .isInstanceOf(UserError.class).hasMessageContaining("layer_cache: false goes without");
    }
  }

  @Test
  void pruningRemovesWhatIsOfNoUse() throws IOException {
    Path model = GoldenModels.copy("models/llama", folder.resolve("model"));
    try (BaseModel base = BaseModel.open(model); BaseModel other = BaseModel.open(GoldenModels.path("models/qwen2"))) {
      open(base, Storage.NF4).close();
      open(other, Storage.NF4).close();
    }
    Path leftover = Files.writeString(folder.resolve(".model-0123456789abcdef.hone.1x2y.tmp"), "half");
    assertThat(LayerCaches.prune(folder, null)).isEmpty();
    Files.setLastModifiedTime(leftover, FileTime.fromMillis(System.currentTimeMillis() - 2 * 3_600_000));
    Files.delete(model.resolve("model.safetensors"));
    assertThat(LayerCaches.prune(folder, null).stream().map(LayerCaches.Found::state))
        .containsExactlyInAnyOrder(LayerCaches.State.GONE, LayerCaches.State.LEFTOVER);
    assertThat(LayerCaches.list(folder)).hasSize(1);
    assertThat(LayerCaches.prune(folder, Duration.ofDays(1))).isEmpty();
    assertThat(LayerCaches.prune(folder, Duration.ZERO)).hasSize(1);
  }

  @Test
  void aRandomModelIsWrittenReadAndTrained() {
    String json = """
        {"model_type": "llama", "vocab_size": 96, "hidden_size": 64, "intermediate_size": 96, "num_hidden_layers": 2,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}""";
    Path model = folder.resolve("random");
    NewModel.write(kernels, json, "test", 7, model);
    try (BaseModel base = BaseModel.open(model)) {
      Tensor w = base.weight("model.layers.1.mlp.up_proj.weight", 96, 64);
      assertThat(w.dtype()).isEqualTo(DType.NF4);
      try (Arena arena = Arena.ofConfined()) {
        Tensor out = Tensor.allocate(arena, "out", DType.F32, 96, 64);
        kernels.cast(out, w);
        double squares = 0;
        for (float x : out.toFloats()) {
          squares += x * x / (96.0 * 64);
        }
        assertThat(Math.sqrt(squares)).as("deviation of the weights").isBetween(0.019, 0.021);
      }
      float[][] one = step(base, base, Storage.AS_STORED);
      try (LayerCache cache = open(base, Storage.NF4_DOUBLE_QUANTISED)) {
        assertThat(step(cache, base, Storage.NF4_DOUBLE_QUANTISED)).isDeepEqualTo(one);
      }
      assertThat(one[0][0] / 7).as("loss near log V of random weights").isBetween(4f, 5.2f);
    }
  }
}
