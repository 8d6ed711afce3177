package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.hone.config.Moments;
import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.RoundTrips;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.Buffer;
import dev.hone.plan.Layout;
import dev.hone.plan.ParameterGroup;
import dev.hone.plan.Plan;
import dev.hone.plan.StepShape;
import dev.hone.plan.TrainingPlan;
import dev.hone.tensor.DType;
import dev.hone.tensor.MemorySpace;
import dev.hone.tensor.Tensor;
import dev.hone.testing.Golden;
import dev.hone.testing.StandIn;
import java.lang.foreign.ValueLayout;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Random;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/** Optimiser states on the host: AdamW is the CPU's, bit for bit, wherever values and gradients lie. */
class HostStepTest {
  private static final Parameters.AdamW ADAM = new Parameters.AdamW(1e-2f, 0.9f, 0.999f, 1e-8f, 0.1f);
  private static final int[] IDS = {5, 9, 33, 7, 80, 2, 41, 11, 60, 3};

  @TempDir
  private Path folder;

  private static Model open(Kernels kernels, BaseModel base, Tuning tuning, Moments moments, boolean optimizer) {
    StepShape step = new StepShape(kernels.computeDtype(DType.F32), true, IDS.length, 1, IDS.length, moments);
    Layout layout = new Layout(Layout.Weights.OUTSIDE, 0, Layout.Activations.RECOMPUTE, true, true, optimizer);
    return new Model(kernels, base.spec(), base, tuning, Storage.AS_STORED, step, layout);
  }

  /** Rank 65: matrices of 4160 elements, which have 8-bit moments and end within a block; rank 4: too few elements for them. */
  private static Model adapted(Kernels kernels, BaseModel base, Moments moments, boolean optimizer) {
    ModelSpec spec = base.spec();
    List<Tuning.Lora.Target> targets = new ArrayList<>();
    for (int layer = 0; layer < spec.layers(); layer++) {
      targets.add(new Tuning.Lora.Target(layer, Projection.Q, 65, 2f));
      targets.add(new Tuning.Lora.Target(layer, Projection.V, 4, 2f));
    }
    Tuning.Lora lora = new Tuning.Lora(targets, 0);
    Model model = open(kernels, base, lora, moments, optimizer);
    AdapterStart.fill(model.parameters(), lora, 3);
    return model;
  }

  /** Forward and backward; the gradients are the other model's too. */
  private static void gradients(Model model, Model other) {
    MicroBatch batch = MicroBatch.of(List.of(Example.of(IDS, IDS.clone())));
    model.parameters().zeroGradients();
    model.train(batch, 1f / batch.validTargets(), 0, 0);
    for (Parameters.Parameter p : model.parameters().all()) {
      other.parameters().get(p.name()).gradient().set(p.gradient().toFloats());
    }
  }

  private static byte[] bytes(Tensor tensor) {
    return tensor.hostBytes().toArray(ValueLayout.JAVA_BYTE);
  }

  private static void assertSameStates(Model got, Model want) {
    for (Parameters.Parameter p : want.parameters().all()) {
      Parameters.Parameter other = got.parameters().get(p.name());
      assertThat(bytes(other.value())).as(p.name()).isEqualTo(bytes(p.value()));
      assertThat(bytes(other.m().stored())).as(p.name()).isEqualTo(bytes(p.m().stored()));
      assertThat(bytes(other.v().stored())).as(p.name()).isEqualTo(bytes(p.v().stored()));
      if (p.m().absmax() != null) {
        assertThat(bytes(other.m().absmax())).as(p.name()).isEqualTo(bytes(p.m().absmax()));
        assertThat(bytes(other.v().absmax())).as(p.name()).isEqualTo(bytes(p.v().absmax()));
      }
    }
  }

  /** Three steps of a card with states on the host; beside it the CPU's op in place, on the card's gradients. */
  @ParameterizedTest
  @CsvSource({"cc=8.0, F32", "cc=7.5, F32", "cc=8.0, EIGHT_BIT"})
  void aCardsStepIsTheCpusOnItsGradients(String card, Moments moments) {
    try (Kernels kernels = StandIn.open(card); CpuKernels host = new CpuKernels();
        BaseModel base = BaseModel.open(Golden.committed("models/llama")); Model onCard = adapted(kernels, base, moments, false);
        Model onCpu = adapted(host, base, moments, true)) {
      for (int step = 1; step <= 3; step++) {
        gradients(onCard, onCpu);
        double norm = onCard.parameters().gradientNorm(kernels);
        assertThat(norm).isCloseTo(onCpu.parameters().gradientNorm(host), within(1e-12 * norm)); // f64, in another order
        float clip = (float) Math.min(1, 0.1 / norm);
        onCard.parameters().step(kernels, ADAM, clip, step);
        onCpu.parameters().step(host, ADAM, clip, step);
      }
      assertSameStates(onCard, onCpu);
    }
  }

  /**
   * The card's own op beside the host's on the same gradients. With f32 moments it gets the bias corrections rounded to f32: m and v are
   * the same bits, a value may be off by an ulp or two of each update, which is of ADAM's rate. 8-bit steps are the same bits.
   */
  @ParameterizedTest
  @EnumSource(Moments.class)
  void theCardsOwnOpIsWithinItsTolerance(Moments moments) {
    try (Kernels kernels = StandIn.open("cc=8.0"); BaseModel base = BaseModel.open(Golden.committed("models/llama"));
        Model onHost = adapted(kernels, base, moments, false); Model onCard = adapted(kernels, base, moments, true)) {
      double worst = 0;
      for (int step = 1; step <= 3; step++) {
        gradients(onHost, onCard);
        onHost.parameters().step(kernels, ADAM, 1, step);
        onCard.parameters().step(kernels, ADAM, 1, step);
      }
      for (Parameters.Parameter p : onHost.parameters().all()) {
        Parameters.Parameter other = onCard.parameters().get(p.name());
        float[] a = p.value().toFloats();
        float[] b = other.value().toFloats();
        assertThat(bytes(other.m().stored())).as(p.name()).isEqualTo(bytes(p.m().stored()));
        assertThat(bytes(other.v().stored())).as(p.name()).isEqualTo(bytes(p.v().stored()));
        if (p.m().absmax() != null) {
          assertThat(b).as(p.name()).isEqualTo(a);
        }
        for (int i = 0; i < a.length; i++) {
          worst = Math.max(worst, Math.abs(a[i] - b[i]) / (Math.ulp(a[i]) + Math.ulp(ADAM.lr())));
        }
      }
      System.out.printf("%s: card and host differ by %.1f ulps%n", moments, worst);
      assertThat(worst).isLessThan(3 * 2);
    }
  }

  /** 8 layers of a hidden size of 128. */
  private BaseModel large(CpuKernels kernels) {
    Path large = folder.resolve("large");
    NewModel.write(kernels, """
        {"model_type": "llama", "vocab_size": 96, "hidden_size": 128, "intermediate_size": 256, "num_hidden_layers": 8,
         "num_attention_heads": 4, "num_key_value_heads": 2, "max_position_embeddings": 64, "rms_norm_eps": 1e-5}""", "test", 7, large);
    return BaseModel.open(large);
  }

  /** Gradients of any scale, the same for both. */
  private static void drawGradients(Random random, Model one, Model other) {
    for (Parameters.Parameter p : one.parameters().all()) {
      float[] gradient = new float[Math.toIntExact(p.value().elements())];
      double scale = Math.pow(10, -6 * random.nextDouble());
      for (int i = 0; i < gradient.length; i++) {
        gradient[i] = (float) (scale * random.nextGaussian());
      }
      p.gradient().set(gradient);
      other.parameters().get(p.name()).gradient().set(gradient);
    }
  }

  /**
   * Four chunks, the last of them short, and with 8-bit moments a small group behind: while one is stepped the next comes and the one
   * before leaves. On a card whose copies run as late as they may, and on one where as early, a wait that is missing has other bits.
   */
  @ParameterizedTest
  @CsvSource({"cc=8.0, F32", "cc=8.0, EIGHT_BIT", "cc=8.0 eager=1, F32", "cc=8.0 eager=1, EIGHT_BIT"})
  void copiesBesideTheStepChangeNoBit(String card, Moments moments) {
    try (CpuKernels host = new CpuKernels(); Kernels kernels = StandIn.open(card); BaseModel base = large(host)) {
      List<Tuning.Lora.Target> targets = new ArrayList<>();
      for (int layer = 0; layer < base.spec().layers(); layer++) {
        targets.add(new Tuning.Lora.Target(layer, Projection.GATE, 600, 2f));
        targets.add(new Tuning.Lora.Target(layer, Projection.K, 4, 2f));
      }
      Tuning.Lora lora = new Tuning.Lora(targets, 0);
      try (Model onCard = open(kernels, base, lora, moments, false); Model onCpu = open(host, base, lora, moments, true)) {
        long chunk = TrainingPlan.hostChunk(ParameterGroup.of(base.spec(), lora, moments));
        assertThat(onCard.parameters().elements()).isBetween(3 * chunk, 4 * chunk);
        AdapterStart.fill(onCard.parameters(), lora, 3);
        AdapterStart.fill(onCpu.parameters(), lora, 3);
        Random random = new Random(1);
        for (int step = 1; step <= 3; step++) {
          drawGradients(random, onCpu, onCard);
          onCpu.parameters().step(host, ADAM, 0.5f, step);
          onCard.parameters().step(kernels, ADAM, 0.5f, step);
        }
        assertSameStates(onCard, onCpu);
        assertThat(StandIn.counter("pinned_bytes")).as("at least").isGreaterThanOrEqualTo(onCard.plan().hostBytes(true));
      }
    }
  }

  /** A step begun while the kernels of its gradients are still to run: the copies wait for them. */
  @ParameterizedTest
  @ValueSource(strings = {"cc=8.0", "cc=8.0 eager=1"})
  void theCopiesWaitForTheGradients(String card) {
    try (Kernels kernels = StandIn.open(card); CpuKernels host = new CpuKernels();
        BaseModel base = BaseModel.open(Golden.committed("models/llama")); Model onCard = adapted(kernels, base, Moments.F32, false);
        Model onCpu = adapted(host, base, Moments.F32, true)) {
      MicroBatch batch = MicroBatch.of(List.of(Example.of(IDS, IDS.clone())));
      for (int step = 1; step <= 2; step++) {
        onCard.parameters().zeroGradients();
        onCard.begin(batch, 1f / batch.validTargets(), 0, 0);
        onCard.parameters().step(kernels, ADAM, 1, step);
        for (Parameters.Parameter p : onCard.parameters().all()) {
          onCpu.parameters().get(p.name()).gradient().set(p.gradient().toFloats());
        }
        onCpu.parameters().step(host, ADAM, 1, step);
      }
      assertSameStates(onCard, onCpu);
    }
  }

  /** More elements than a chunk: host states beside the op in place, both on the CPU. */
  @ParameterizedTest
  @EnumSource(Moments.class)
  void chunksChangeNoBit(Moments moments) {
    try (CpuKernels kernels = new CpuKernels()) {
      try (BaseModel base = large(kernels); Model chunked = open(kernels, base, new Tuning.Full(), moments, false);
          Model whole = open(kernels, base, new Tuning.Full(), moments, true)) {
        assertThat(chunked.parameters().elements())
            .isGreaterThan(TrainingPlan.hostChunk(ParameterGroup.of(base.spec(), new Tuning.Full(), moments)));
        Random random = new Random(1);
        for (int step = 1; step <= 3; step++) {
          drawGradients(random, whole, chunked);
          whole.parameters().step(kernels, ADAM, 0.5f, step);
          chunked.parameters().step(kernels, ADAM, 0.5f, step);
        }
        assertSameStates(chunked, whole);
      }
    }
  }

  /** What leaves the card's arena, as the driver counts it, and what the host has instead: the plan's bytes, on both sides. */
  @ParameterizedTest
  @EnumSource(Moments.class)
  void bothSidesTakeWhatThePlanSays(Moments moments) {
    long[] peak = new long[2];
    long[] arena = new long[2];
    for (int optimizer = 0; optimizer < 2; optimizer++) {
      try (Kernels kernels = StandIn.open("cc=8.0"); BaseModel base = BaseModel.open(Golden.committed("models/llama"));
          Model model = adapted(kernels, base, moments, optimizer == 1)) {
        peak[optimizer] = StandIn.counter("bytes_in_use");
        arena[optimizer] = model.plan().arenaBytes();
        long planned =
            model.plan().host().stream().filter(b -> b.kind() == Buffer.Kind.OPTIMIZER).mapToLong(Plan.HostBuffer::bytes).sum();
        long taken = 0;
        for (Parameters.Parameter p : model.parameters().all()) {
          for (Parameters.Moment moment : List.of(p.m(), p.v())) {
            assertThat(moment.stored().memory() == MemorySpace.HOST).isEqualTo(optimizer == 0);
            taken += moment.stored().bytes() + (moment.absmax() == null ? 0 : moment.absmax().bytes());
          }
        }
        boolean inArena = model.plan().buffers().stream().anyMatch(b -> b.kind() == Buffer.Kind.OPTIMIZER);
        assertThat(inArena).isEqualTo(optimizer == 1);
        long largest =
            model.plan().buffers().stream().filter(b -> b.kind() == Buffer.Kind.GRADIENTS).mapToLong(Buffer::bytes).max().orElseThrow();
        assertThat(planned).isEqualTo(optimizer == 1 ? 0 : taken + RoundTrips.pinnedBytes(2, largest / 4));
      }
    }
    assertThat(peak[1] - peak[0]).isEqualTo(arena[1] - arena[0]).isPositive();
  }
}
