package dev.hone.engine;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.kernel.HostStash;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.Layout;
import dev.hone.plan.Layout.Activations;
import dev.hone.plan.Plan;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.StandIn;
import java.lang.reflect.InvocationTargetException;
import java.lang.reflect.Proxy;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Optional;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.EnumSource;
import org.junit.jupiter.params.provider.ValueSource;

/**
 * Activations that wait on the host between forward and backward train what activations that stay do, bit for bit,
 * whether copies run as late as they may or as early; and they would not if a copy or a kernel did not wait for the
 * other.
 */
class ActivationOffloadTest {
  private static final int LAYERS = 5;

  /** Copies as late as they may run: shows kernels that do not wait for them. */
  private static final String LATE = "cc=8.0 poison=1";

  /** Copies as early as they may run: shows copies that do not wait for kernels. */
  private static final String EARLY = LATE + " eager=1";

  @TempDir
  private Path folder;

  private BaseModel base(String type) {
    String json = """
        {"model_type": "%s", "vocab_size": 96, "hidden_size": 64, "intermediate_size": 128, "num_hidden_layers": %d,
         "num_attention_heads": 2, "num_key_value_heads": 1, "head_dim": 32, "max_position_embeddings": 64,
         "rms_norm_eps": 1e-5, "hidden_act": "silu", "hidden_activation": "gelu_pytorch_tanh", "sliding_window": 4,
         "use_sliding_window": false, "attn_logit_softcapping": 5.0, "final_logit_softcapping": 4.0,
         "query_pre_attn_scalar": 32, "tie_word_embeddings": %b}"""
        .formatted(type, LAYERS, type.equals("gemma2"));
    Path model = folder.resolve(type);
    try (CpuKernels kernels = new CpuKernels()) {
      NewModel.write(kernels, json, "test", 7, model);
    }
    return BaseModel.open(model);
  }

  private LayerCache cache(BaseModel base, DType matrices) {
    try (CpuKernels host = new CpuKernels()) {
      return LayerCache.open(host, base, Storage.NF4_DOUBLE_QUANTISED, matrices, folder.resolve("cache"), note -> {});
    }
  }

  /** Adapters with dropout on all projections of the layers from {@code lowest} on. */
  private static Tuning.Lora lora(int lowest) {
    List<Tuning.Lora.Target> targets = new ArrayList<>();
    for (int layer = lowest; layer < LAYERS; layer++) {
      for (Projection p : Projection.values()) {
        targets.add(new Tuning.Lora.Target(layer, p, 2, 2f));
      }
    }
    return new Tuning.Lora(targets, 0.25f);
  }

  private static Layout layout(Activations activations, int residentLayers) {
    return new Layout(Layout.Weights.ARENA, residentLayers, activations, true, true, true);
  }

  private static Example row(int... ids) {
    return Example.of(ids, ids.clone());
  }

  /** Micro-batches of different lengths, in rows of one and of more. */
  private static final List<MicroBatch> BATCHES =
      List.of(
          MicroBatch.of(List.of(row(5, 9, 33, 7, 80, 2, 41, 11, 60, 3, 17, 4))),
          MicroBatch.of(List.of(row(8, 1, 90), row(44, 45, 3, 2))),
          MicroBatch.of(List.of(row(71, 6, 6, 13, 29, 31), row(2, 3), row(50, 51, 52, 53))));

  private static final StepShape STEP = new StepShape(DType.BF16, false, 12, 3, 12);

  /** What three steps that move the adapters and an evaluation among them come to, and what they took. */
  private record Result(
      List<Double> losses, List<float[]> values, Layout layout, List<String> remarks, long arena, long planned,
      long pinned, long offloaded) {}

  private static Result run(Kernels kernels, BaseModel base, LayerCache cache, Tuning.Lora lora, Layout layout) {
    long before = StandIn.counter("pinned_bytes");
    try (Model model = Model.open(kernels, base.spec(), cache, lora, Storage.NF4_DOUBLE_QUANTISED, STEP, layout)) {
      long pinned = StandIn.counter("pinned_bytes") - before;
      AdapterStart.fill(model.parameters(), lora, 3);
      List<Double> losses = new ArrayList<>();
      for (int step = 0; step < BATCHES.size(); step++) {
        MicroBatch batch = BATCHES.get(step);
        model.parameters().zeroGradients();
        losses.add(model.train(batch, 1f / batch.validTargets(), 40 + step, 0));
        losses.add(model.evaluate(BATCHES.getFirst()));
        losses.add(model.train(BATCHES.getFirst(), 1f / batch.validTargets(), 50 + step, 0));
        for (Parameters.Parameter p : model.parameters().all()) {
          float[] value = p.value().toFloats();
          float[] gradient = p.gradient().toFloats();
          for (int i = 0; i < value.length; i++) {
            value[i] -= 0.05f * gradient[i];
          }
          p.value().set(value);
        }
      }
      List<float[]> values = new ArrayList<>();
      for (Parameters.Parameter p : model.parameters().all()) {
        values.add(p.value().toFloats());
        values.add(p.gradient().toFloats());
      }
      return new Result(
          losses, values, model.layout(), model.remarks(), model.plan().arenaBytes(), model.plan().hostBytes(true),
          pinned, model.plan().offloaded().stream().mapToLong(Plan.Offloaded::bytes).sum());
    }
  }

  private static boolean same(Result got, Result want) {
    boolean same = got.losses.equals(want.losses);
    for (int i = 0; i < want.values.size(); i++) {
      same &= Arrays.equals(got.values.get(i), want.values.get(i));
    }
    return same;
  }

  private static void assertSame(Result got, Result want) {
    assertThat(got.losses).isEqualTo(want.losses).allMatch(loss -> loss > 0);
    assertThat(got.values).usingRecursiveComparison().isEqualTo(want.values);
    assertThat(got.pinned).as("what the driver pinned").isEqualTo(got.planned);
    assertThat(got.remarks).isEmpty();
  }

  @ParameterizedTest
  @ValueSource(strings = {"llama", "qwen3", "gemma2"})
  void whatWaitsOnTheHostTrainsTheSame(String type) {
    Tuning.Lora lora = lora(0);
    Result kept;
    try (BaseModel base = base(type); LayerCache cache = cache(base, DType.BF16)) {
      try (Kernels kernels = StandIn.open(LATE)) {
        kept = run(kernels, base, cache, lora, layout(Activations.KEEP, LAYERS));
        assertSame(kept, kept);
        assertThat(kept.values).as("values and gradients").noneMatch(ActivationOffloadTest::isZero);
        assertSame(run(kernels, base, cache, lora, layout(Activations.RECOMPUTE, 0)), kept);
        assertSame(run(kernels, base, cache, lora, layout(Activations.OFFLOAD, LAYERS)), kept);
        Result all = run(kernels, base, cache, lora, layout(Activations.SAVE_ALL, LAYERS));
        assertSame(all, kept);
        assertThat(all.arena).as("device memory").isLessThan(kept.arena);
        assertSame(run(kernels, base, cache, lora, layout(Activations.SAVE_ALL, 2).withHostLayers(2)), kept);
        for (int there = 0; there < 4; there++) {
          Layout some = layout(Activations.SAVE_ALL, there).withHostLayers(there);
          Result again = run(kernels, base, cache, lora, some);
          Result mixed = run(kernels, base, cache, lora, some.withKeptLayers(1));
          assertSame(mixed, kept);
          assertThat(mixed.pinned).as("as many layers there").isEqualTo(again.pinned);
          assertThat(mixed.arena).as("one more kept").isGreaterThanOrEqualTo(again.arena);
        }
      }
      try (Kernels kernels = StandIn.open(EARLY)) {
        assertSame(run(kernels, base, cache, lora, layout(Activations.OFFLOAD, 0)), kept);
        assertSame(run(kernels, base, cache, lora, layout(Activations.SAVE_ALL, 0)), kept);
        assertSame(run(kernels, base, cache, lora, layout(Activations.SAVE_ALL, 0).withHostLayers(2).withKeptLayers(1)), kept);
      }
    }
  }

  private static boolean isZero(float[] values) {
    for (float value : values) {
      if (value != 0) {
        return false;
      }
    }
    return true;
  }

  /** Backward stops above the layers that nothing trains in: theirs need not travel. */
  @Test
  void layersBelowTheLowestThatTrainsStayHere() {
    try (BaseModel base = base("llama"); LayerCache cache = cache(base, DType.BF16);
        Kernels kernels = StandIn.open(LATE)) {
      Result kept = run(kernels, base, cache, lora(2), layout(Activations.KEEP, LAYERS));
      long before = StandIn.counter("to_host_bytes");
      assertSame(run(kernels, base, cache, lora(2), layout(Activations.SAVE_ALL, LAYERS)), kept);
      long some = StandIn.counter("to_host_bytes") - before;
      run(kernels, base, cache, lora(0), layout(Activations.SAVE_ALL, LAYERS));
      long all = StandIn.counter("to_host_bytes") - before - some;
      assertThat(some).isLessThan(all * 3 / 4);
    }
  }

  /** A step takes no memory, here or there, and the host waits for no copy. */
  @Test
  void aStepTakesNothingAndWaitsForNothing() {
    try (BaseModel base = base("llama"); LayerCache cache = cache(base, DType.BF16);
        Kernels kernels = StandIn.open(LATE)) {
      List<Long> waits = new ArrayList<>();
      for (Activations activations : new Activations[] {Activations.KEEP, Activations.SAVE_ALL}) {
        try (Model model = Model.open(
            kernels, base.spec(), cache, lora(0), Storage.NF4_DOUBLE_QUANTISED, STEP, layout(activations, LAYERS))) {
          model.train(BATCHES.getFirst(), 1, 0, 0);
          List<Long> before = taken();
          long waited = StandIn.counter("synchronisations");
          model.train(BATCHES.getFirst(), 1, 0, 0);
          waits.add(StandIn.counter("synchronisations") - waited);
          assertThat(taken()).isEqualTo(before);
        }
      }
      assertThat(waits.get(1)).isEqualTo(waits.get(0));
    }
  }

  private static List<Long> taken() {
    return List.of(StandIn.counter("allocations"), StandIn.counter("bytes_in_use"), StandIn.counter("pinned_bytes"));
  }

  /** What would go wrong if a call came too early or not at all. */
  private enum Mistake {
    /** A layer overwrites what the second below it has not finished sending. */
    NO_WAIT_FOR_STORE(LATE),
    /** A layer reads what has not come back. */
    NO_WAIT_FOR_FETCH(LATE),
    /** A set leaves before the kernels that write it. */
    STORED_TOO_EARLY(EARLY),
    /** A set comes back while the kernels of the layer that has its memory still read it. */
    FETCHED_TOO_EARLY(EARLY);

    private final String card;

    Mistake(String card) {
      this.card = card;
    }
  }

  /** A stash that is used as the mistake would have it. */
  private record Mistaken(HostStash stash, Mistake mistake, boolean[] leaving) implements HostStash {
    @Override
    public int sets() {
      return stash.sets();
    }

    @Override
    public Optional<String> refusal() {
      return stash.refusal();
    }

    @Override
    public void bind(int set, List<Tensor> tensors) {
      stash.bind(set, tensors);
    }

    @Override
    public void store(int set) {
      leaving[0] = true;
      if (mistake != Mistake.STORED_TOO_EARLY || set == 0) {
        stash.store(set);
      }
      if (mistake == Mistake.STORED_TOO_EARLY && set + 1 < sets()) {
        stash.store(set + 1);
      }
    }

    @Override
    public void fetch(int set) {
      leaving[0] = false;
      if (mistake != Mistake.FETCHED_TOO_EARLY || set == sets() - 1) {
        stash.fetch(set);
      }
      if (mistake == Mistake.FETCHED_TOO_EARLY && set > 0) {
        stash.fetch(set - 1);
      }
    }

    @Override
    public void await(int set) {
      if (mistake != (leaving[0] ? Mistake.NO_WAIT_FOR_STORE : Mistake.NO_WAIT_FOR_FETCH)) {
        stash.await(set);
      }
    }

    @Override
    public void close() {
      stash.close();
    }
  }

  /** Kernels whose stash is used wrongly. */
  private static Kernels mistaken(Kernels kernels, Mistake mistake) {
    return (Kernels) Proxy.newProxyInstance(
        Kernels.class.getClassLoader(), new Class<?>[] {Kernels.class}, (proxy, method, arguments) -> {
          Object result;
          try {
            result = method.invoke(kernels, arguments);
          } catch (InvocationTargetException e) {
            throw e.getCause();
          }
          return result instanceof HostStash stash ? new Mistaken(stash, mistake, new boolean[1]) : result;
        });
  }

  @ParameterizedTest
  @EnumSource(Mistake.class)
  void aMissingWaitGivesOtherGradients(Mistake mistake) {
    Tuning.Lora lora = lora(0);
    try (BaseModel base = base("llama"); LayerCache cache = cache(base, DType.BF16);
        Kernels kernels = StandIn.open(mistake.card)) {
      Result kept = run(kernels, base, cache, lora, layout(Activations.KEEP, LAYERS));
      Result wrong = run(mistaken(kernels, mistake), base, cache, lora, layout(Activations.SAVE_ALL, LAYERS));
      assertThat(same(wrong, kept)).isFalse();
      assertSame(run(kernels, base, cache, lora, layout(Activations.SAVE_ALL, LAYERS)), kept);
    }
  }

  /** A host that pins less than was asked for: the first layers' activations go there, the others are recomputed. */
  @Test
  void whatTheHostRefusesIsComputedAgain() {
    Tuning.Lora lora = lora(0);
    try (BaseModel base = base("llama"); LayerCache cache = cache(base, DType.BF16)) {
      Result all;
      long before;
      try (Kernels kernels = StandIn.open(LATE)) {
        before = StandIn.counter("pinned_bytes");
        all = run(kernels, base, cache, lora, layout(Activations.SAVE_ALL, LAYERS));
      }
      for (int layers = 0; layers < LAYERS - 1; layers++) {
        long others = all.planned - all.offloaded;
        long wanted = others + all.offloaded * layers / (LAYERS - 1);
        long limit = before + wanted + 64;
        try (Kernels kernels = StandIn.open(LATE + " pinned=" + limit)) {
          Result some = run(kernels, base, cache, lora, layout(Activations.SAVE_ALL, LAYERS));
          assertThat(some.layout).isEqualTo(layout(Activations.SAVE_ALL, LAYERS).withHostLayers(layers));
          assertThat(some.pinned).isEqualTo(some.planned).isEqualTo(wanted);
          assertThat(some.remarks).singleElement().asString()
              .contains("pins memory for " + layers + " of 4 layers only", "CUDA_ERROR_OUT_OF_MEMORY", "recomputed");
          assertThat(same(some, all)).isTrue();
        }
      }
    } finally {
      StandIn.library("cc=8.0");
    }
  }

  /** The CPU's memory is the host's: what would go there stays. */
  @Test
  void onTheCpuNothingMoves() {
    try (BaseModel base = base("llama"); LayerCache cache = cache(base, DType.F32);
        CpuKernels kernels = new CpuKernels()) {
      StepShape step = new StepShape(DType.F32, false, 12, 3, 12);
      for (Activations wanted : new Activations[] {Activations.OFFLOAD, Activations.SAVE_ALL}) {
        try (Model model = Model.open(
            kernels, base.spec(), cache, lora(0), Storage.NF4_DOUBLE_QUANTISED, step, layout(wanted, LAYERS))) {
          assertThat(model.layout().activations())
              .isEqualTo(wanted == Activations.OFFLOAD ? Activations.RECOMPUTE : Activations.KEEP);
          assertThat(model.plan().offloaded()).isEmpty();
          assertThat(model.train(BATCHES.getFirst(), 1, 0, 0)).isPositive();
        }
      }
    }
  }
}
