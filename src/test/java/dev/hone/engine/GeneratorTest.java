package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.format.PeftAdapter;
import dev.hone.format.PeftConfig;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.Tuning;
import dev.hone.tensor.DType;
import dev.hone.testing.Golden;
import java.lang.foreign.Arena;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Random;
import java.util.Set;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.ValueSource;

/** Decoding with a cache against the whole forward pass of the same tokens, with the golden adapter on each model. */
class GeneratorTest {
  /** As for logits in golden/README.md: ten times the distance between the reference in fp32 and fp64. */
  private static final double LOGITS = 2e-4;

  private static int[] prompt(int n, long seed) {
    return new Random(seed).ints(n, 3, 500).toArray();
  }

  private static Decoder decoder(CpuKernels kernels, BaseModel base, Path folder, int positions) {
    Path adapterFolder = folder.resolve("golden/adapter_init");
    Tuning tuning = Adapters.tuning(base.spec(), PeftConfig.read(adapterFolder), 0f);
    Decoder decoder = Decoder.open(kernels, base.spec(), base, tuning, Storage.AS_STORED, DType.F32, positions);
    try (Arena arena = Arena.ofConfined()) {
      Adapters.load(PeftAdapter.read(adapterFolder, arena, base.spec().linears()), decoder.parameters());
    }
    return decoder;
  }

  private static float[] lastRow(float[] logits, int vocab) {
    return Arrays.copyOfRange(logits, logits.length - vocab, logits.length);
  }

  private static MicroBatch text(int[] ids) {
    return MicroBatch.of(List.of(Example.of(ids, ids.clone())));
  }

  /** 90 prompt tokens are more than one pass of 64; mistral's and gemma2's windows are far shorter than the text. */
  @ParameterizedTest
  @ValueSource(strings = {"models/llama", "models/gemma2", "models/qwen3", "models/mistral", "qlora/qwen2_nf4"})
  void theCacheSaysWhatTheWholePassSays(String model) {
    Path folder = Golden.committed(model);
    try (CpuKernels kernels = new CpuKernels();
        BaseModel base = BaseModel.open(folder);
        Decoder decoder = decoder(kernels, base, folder, 128);
        Model whole = GoldenModelTest.open(kernels, base, folder.resolve("golden"), false, DType.F32)) {
      int vocab = base.spec().vocab();
      int[] text = prompt(90, 1);
      float[] logits = decoder.feed(text);
      for (int i = 0; i < 12; i++) {
        float[] want = lastRow(whole.logits(text(text)), vocab);
        GoldenModelTest.assertClose(model + " token " + text.length, logits, want, LOGITS);
        int next = Sampler.likeliest(want);
        assertThat(Sampler.likeliest(logits)).isEqualTo(next);
        text = Arrays.copyOf(text, text.length + 1);
        text[text.length - 1] = next;
        logits = decoder.feed(next);
      }
      assertThat(decoder.length()).isEqualTo(102);
    }
  }

  @Test
  void chunksOneByOneAndRewindingGiveTheSame() {
    Path folder = Golden.committed("models/llama");
    try (CpuKernels kernels = new CpuKernels();
        BaseModel base = BaseModel.open(folder);
        Decoder decoder = decoder(kernels, base, folder, 160)) {
      int[] text = prompt(130, 2);
      float[] atOnce = decoder.feed(text);
      decoder.rewind(0);
      float[] single = null;
      for (int id : text) {
        single = decoder.feed(id);
      }
      GoldenModelTest.assertClose("one by one", single, atOnce, LOGITS);
      decoder.rewind(40);
      decoder.feed(prompt(70, 3));
      decoder.rewind(40);
      GoldenModelTest.assertClose("after a rewind", decoder.feed(Arrays.copyOfRange(text, 40, 130)), atOnce, LOGITS);
      assertThatThrownBy(() -> decoder.feed(prompt(31, 4))).isInstanceOf(IllegalArgumentException.class);
      assertThatThrownBy(() -> decoder.feed()).isInstanceOf(IllegalArgumentException.class);
      assertThatThrownBy(() -> decoder.rewind(131)).isInstanceOf(IllegalArgumentException.class);
    }
  }

  @Test
  void aGeneratorKeepsWhatTwoPromptsShare() {
    Path folder = Golden.committed("models/llama");
    try (CpuKernels kernels = new CpuKernels();
        BaseModel base = BaseModel.open(folder);
        Decoder decoder = decoder(kernels, base, folder, 120);
        Decoder fresh = decoder(kernels, base, folder, 120)) {
      Generator generator = new Generator(decoder, Set.of());
      int[] first = prompt(70, 5);
      generator.generate(first, 10, Sampling.GREEDY, id -> true);
      int[] second = first.clone();
      second[66] = 7;
      int[] want = new Generator(fresh, Set.of()).generate(second, 10, Sampling.GREEDY, id -> true).ids();
      assertThat(generator.generate(second, 10, Sampling.GREEDY, id -> true).ids()).isEqualTo(want);
      assertThat(generator.generate(second, 10, Sampling.GREEDY, id -> true).ids()).as("the same again")
          .isEqualTo(want);
      int[] shorter = Arrays.copyOf(second, 20);
      fresh.rewind(0);
      int[] wantShorter = new Generator(fresh, Set.of()).generate(shorter, 5, Sampling.GREEDY, id -> true).ids();
      assertThat(generator.generate(shorter, 5, Sampling.GREEDY, id -> true).ids()).isEqualTo(wantShorter);
    }
  }

  @Test
  void stopsWhereItShould() {
    Path folder = Golden.committed("models/llama");
    try (CpuKernels kernels = new CpuKernels();
        BaseModel base = BaseModel.open(folder);
        Decoder decoder = decoder(kernels, base, folder, 48)) {
      int[] prompt = prompt(20, 6);
      Generator.Result free = new Generator(decoder, Set.of()).generate(prompt, 12, Sampling.GREEDY, id -> true);
      assertThat(free.stop()).isEqualTo(Generator.Stop.LENGTH);
      assertThat(free.ids()).hasSize(12);
      int end = free.ids()[5];
      int firstEnd = 0;
      while (free.ids()[firstEnd] != end) {
        firstEnd++;
      }
      decoder.rewind(0);
      List<Integer> seen = new ArrayList<>();
      Generator.Result ended =
          new Generator(decoder, Set.of(511, end)).generate(prompt, 12, Sampling.GREEDY, seen::add);
      assertThat(ended.stop()).isEqualTo(Generator.Stop.END);
      assertThat(ended.ids()).as("without the stop token").isEqualTo(Arrays.copyOf(free.ids(), firstEnd));
      assertThat(seen).as("nor was it shown").hasSize(firstEnd);

      decoder.rewind(0);
      Generator whole = new Generator(decoder, Set.of());
      Generator.Result full = whole.generate(prompt, 100, Sampling.GREEDY, id -> true);
      assertThat(full.stop()).isEqualTo(Generator.Stop.CONTEXT);
      assertThat(full.ids()).hasSize(28).startsWith(free.ids());
      Generator.Result cut = whole.generate(prompt, 12, Sampling.GREEDY, id -> false);
      assertThat(cut.stop()).isEqualTo(Generator.Stop.INTERRUPTED);
      assertThat(cut.ids()).containsExactly(free.ids()[0]);
      assertThat(whole.generate(prompt, 0, Sampling.GREEDY, id -> true).ids()).isEmpty();
    }
  }

  @Test
  void aSeedRepeatsAText() {
    Path folder = Golden.committed("models/llama");
    try (CpuKernels kernels = new CpuKernels();
        BaseModel base = BaseModel.open(folder);
        Decoder decoder = decoder(kernels, base, folder, 64)) {
      Generator generator = new Generator(decoder, Set.of());
      Sampling warm = new Sampling(1.5, 0.95, 9);
      int[] first = generator.generate(prompt(10, 7), 30, warm, id -> true).ids();
      assertThat(generator.generate(prompt(10, 7), 30, warm, id -> true).ids()).isEqualTo(first);
      assertThat(generator.generate(prompt(10, 7), 30, new Sampling(1.5, 0.95, 10), id -> true).ids())
          .isNotEqualTo(first);
    }
  }

  /** A model in training answers with the weights as they are, and goes on training as if it had not. */
  @Test
  void aTrainingModelDecodesWithItsOwnWeights() {
    Path folder = Golden.committed("models/llama");
    try (CpuKernels kernels = new CpuKernels();
        BaseModel base = BaseModel.open(folder);
        Model model = GoldenModelTest.open(kernels, base, folder.resolve("golden"), false, DType.F32)) {
      MicroBatch batch = text(prompt(30, 8));
      double before = model.train(batch, 1f / batch.validTargets(), 0, 0);
      int[] text = prompt(40, 9);
      try (Decoder decoder = model.decoder(64)) {
        GoldenModelTest.assertClose(
            "borrowed weights", decoder.feed(text), lastRow(model.logits(text(text)), base.spec().vocab()), LOGITS);
      }
      assertThat(model.train(batch, 1f / batch.validTargets(), 0, 0)).isEqualTo(before);
    }
  }
}
