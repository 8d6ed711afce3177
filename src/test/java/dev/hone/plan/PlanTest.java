package dev.hone.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.hone.config.Placement;
import dev.hone.config.UserError;
import dev.hone.model.Architectures;
import dev.hone.model.BuiltInShapes;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.Layout.Activations;
import dev.hone.tensor.DType;
import dev.hone.train.RunPlan;
import java.util.ArrayList;
import java.util.List;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;
import org.junit.jupiter.params.provider.MethodSource;

/** The arithmetic of plans: nothing overlaps that is alive together, budgets hold, the simulation agrees with its closed form. */
class PlanTest {
  private static final long GIB = 1L << 30;

  private static ModelSpec spec(String name) {
    return Architectures.of(BuiltInShapes.config(name));
  }

  private static Tuning.Lora lora(ModelSpec spec, int rank) {
    List<Tuning.Lora.Target> targets = new ArrayList<>();
    for (int layer = 0; layer < spec.layers(); layer++) {
      for (Projection p : Projection.values()) {
        targets.add(new Tuning.Lora.Target(layer, p, rank, 2f));
      }
    }
    return new Tuning.Lora(targets, 0);
  }

  private static Planner planner(String model, CardSpec card, long vram, Placement fixed) {
    return planner(model, card, vram, 32 * GIB, fixed);
  }

  private static Planner planner(String model, CardSpec card, long vram, long pinned, Placement fixed) {
    ModelSpec spec = spec(model);
    Tuning tuning = lora(spec, 16);
    return new Planner(
        spec, tuning, BlobBytes.of(spec, BlobBytes.Form.NF4_DOUBLE, DType.BF16), RunPlan.cardOps(spec, tuning), card,
        new Planner.Limits(vram, CardSpec.CONTEXT, 64 * GIB, pinned), fixed);
  }

  private static StepShape sequence(int tokens) {
    return new StepShape(DType.BF16, true, tokens, 1, tokens);
  }

  /** Twenty layouts and steps drawn at random: every activation choice, residency and tokens from 1 to 3000. */
  static Stream<Choice> layouts() {
    Random random = new Random(7);
    return Stream.generate(() -> new Choice(
        List.of("tinyllama-1.1b", "qwen2.5-7b", "llama-2-7b").get(random.nextInt(3)),
        new Layout(
            random.nextBoolean() ? Layout.Weights.ARENA : Layout.Weights.OUTSIDE, random.nextInt(22),
            Activations.values()[random.nextInt(4)], random.nextBoolean(), random.nextBoolean(), random.nextBoolean()),
        sequence(1 + random.nextInt(3000)))).limit(20);
  }

  record Choice(String model, Layout layout, StepShape step) {}

  @ParameterizedTest
  @MethodSource("layouts")
  void whatIsAliveTogetherLiesApart(Choice c) {
    ModelSpec spec = spec(c.model);
    Plan plan = planner(c.model, CardSpec.named("h100").orElseThrow(), 80 * GIB, Placement.AUTO).choice(c.layout, c.step).plan();
    List<Buffer> all = plan.buffers();
    long end = 0;
    for (Buffer a : all) {
      assertThat(a.offset() % Plan.ALIGNMENT).isZero();
      end = Math.max(end, a.end());
      for (Buffer b : all) {
        if (a != b && a.life().meets(b.life())) {
          assertThat(a.end() <= b.offset() || b.end() <= a.offset()).as(a + " and " + b).isTrue();
        }
      }
    }
    assertThat(plan.arenaBytes()).isEqualTo(Math.ceilDiv(end, Plan.ALIGNMENT) * Plan.ALIGNMENT);
    assertThat(plan.arenaBytes()).isGreaterThanOrEqualTo(plan.bytesAt(plan.peak()));
    assertThat(plan.bytesByKind().values().stream().mapToLong(Long::longValue).sum()).isEqualTo(plan.bytesAt(plan.peak()));
    assertThat(all).hasSizeGreaterThan(15 * spec.layers());
  }

  /** The budget of the design: r 16 on all linear layers, one sequence of 2048; GiB of buffers without the context. */
  @ParameterizedTest
  @CsvSource({"llama-2-7b, 1.0, 4.0", "llama-3-8b, 1.1, 4.6", "llama-2-13b, 1.3, 7.3", "llama-3-70b, 3.2, 0"})
  void theBudgetsHold(String model, double streamed, double resident) {
    Planner planner = planner(model, CardSpec.named("h100").orElseThrow(), 80 * GIB, Placement.AUTO);
    Layout layout = new Layout(Layout.Weights.ARENA, 0, Activations.OFFLOAD, false, false, false);
    long passing = planner.choice(layout, sequence(2048)).plan().arenaBytes();
    long staying = planner.choice(layout.withResidentLayers(spec(model).layers()), sequence(2048)).plan().arenaBytes();
    System.out.printf("%s: streamed %.2f GiB, resident %.2f GiB%n", model, passing / (double) GIB, staying / (double) GIB);
    assertThat(passing / (double) GIB).isLessThanOrEqualTo(streamed);
    if (resident > 0) {
      assertThat(staying / (double) GIB).isLessThanOrEqualTo(resident);
    }
  }

  /**
   * A layer of P weights takes 2 M P operations and 0.5159 P bytes (NF4 with double quantisation): copies are hidden from
   * M = 0.258 F / BW on. Adapters, attention and norms are the rest of the 5 %.
   */
  @ParameterizedTest
  @CsvSource({"rtx-3060-12gb, 157", "rtx-4060-8gb, 374", "rtx-3090-24gb, 440", "rtx-4090-24gb, 1022"})
  void streamingIsHiddenFromTheTokensThatTheFormulaGives(String name, int published) {
    CardSpec card = CardSpec.named(name).orElseThrow();
    double formula = 0.258 * card.achieved() / card.linkRate();
    ModelSpec spec = spec("llama-2-7b");
    int simulated = Timeline.crossover(
        spec, lora(spec, 16), BlobBytes.of(spec, BlobBytes.Form.NF4_DOUBLE, DType.BF16), DType.BF16, card);
    System.out.printf("%s: simulated %d, formula %.0f tokens%n", name, simulated, formula);
    assertThat(simulated / formula).isBetween(0.95, 1.05);
    assertThat(simulated / (double) published).isBetween(0.95, 1.05);
  }

  @Test
  void theFastestThatFitsIsChosen() {
    CardSpec card = CardSpec.named("rtx-3060-12gb").orElseThrow();
    double before = Double.MAX_VALUE;
    for (long vram : new long[] {12 * GIB, 6 * GIB, 4 * GIB, 2 * GIB, 3 * GIB / 2}) {
      Planner planner = planner("llama-2-7b", card, vram, Placement.AUTO);
      Planner.Choice choice = planner.require(sequence(2048), "run.yaml");
      assertThat(choice.plan().arenaBytes()).isLessThanOrEqualTo(vram - CardSpec.CONTEXT);
      assertThat(choice.tokensPerSecond()).isLessThanOrEqualTo(before);
      before = choice.tokensPerSecond();
    }
  }

  @Test
  void saveAllIsFasterThanRecomputing() {
    CardSpec card = CardSpec.named("rtx-4060-8gb").orElseThrow();
    Planner planner = planner("llama-2-7b", card, 8 * GIB, Placement.AUTO);
    Layout again = new Layout(Layout.Weights.ARENA, 0, Activations.OFFLOAD, false, false, false);
    Layout all = new Layout(Layout.Weights.ARENA, 0, Activations.SAVE_ALL, false, false, false);
    assertThat(planner.choice(all, sequence(2048)).tokensPerSecond())
        .isGreaterThan(1.25 * planner.choice(again, sequence(2048)).tokensPerSecond());
  }

  /** All that a block saves goes to the host, to the last 1/rms; the last layer's stays. */
  @ParameterizedTest
  @CsvSource({"llama-2-7b, 18", "qwen2.5-7b, 18"})
  void everythingSavedIsCountedInPinnedMemory(String model, int tensors) {
    Planner planner = planner(model, CardSpec.named("h100").orElseThrow(), 80 * GIB, Placement.AUTO);
    Layout all = new Layout(Layout.Weights.OUTSIDE, 0, Activations.SAVE_ALL, true, true, true);
    Plan plan = planner.choice(all, sequence(100)).plan();
    int layers = spec(model).layers();
    assertThat(plan.offloaded()).hasSize(layers - 1);
    long bytes = 0;
    for (Plan.Offloaded set : plan.offloaded()) {
      String at = "layers." + set.layer() + ".";
      List<Buffer> saved = plan.buffers().stream().filter(b -> b.name().startsWith(at)).toList();
      assertThat(set.buffers()).containsExactlyInAnyOrderElementsOf(saved.stream().map(Buffer::name).toList());
      bytes += saved.stream().mapToLong(b -> Math.ceilDiv(b.bytes(), Plan.ALIGNMENT) * Plan.ALIGNMENT).sum();
    }
    assertThat(plan.offloaded().getFirst().buffers()).hasSize(tensors);
    assertThat(plan.hostBytes(true)).isEqualTo(bytes);
    Plan inputs = planner.choice(all.withActivations(Activations.OFFLOAD), sequence(100)).plan();
    assertThat(inputs.hostBytes(true)).isEqualTo((layers - 1) * 2L * 100 * spec(model).hidden());
  }

  /** Two sets take turns: a set's memory is another's once the layer between them has run. */
  @Test
  void twoSetsTakeTurns() {
    Planner planner = planner("llama-2-7b", CardSpec.named("h100").orElseThrow(), 80 * GIB, Placement.AUTO);
    Layout all = new Layout(Layout.Weights.OUTSIDE, 0, Activations.SAVE_ALL, true, true, true);
    Plan plan = planner.choice(all, sequence(512)).plan();
    Plan kept = planner.choice(all.withActivations(Activations.KEEP), sequence(512)).plan();
    long set = plan.offloaded().getFirst().bytes();
    // 29 of 32 sets leave; three are alive where a layer runs backward below the last one.
    assertThat(kept.arenaBytes() - plan.arenaBytes()).isBetween(28 * set, 31 * set);
    for (int layer = 2; layer < 31; layer++) {
      Buffer here = buffer(plan, "layers." + layer + ".gate");
      assertThat(here.life().meets(buffer(plan, "layers." + (layer - 1) + ".gate").life())).isTrue();
      assertThat(here.life().meets(buffer(plan, "layers." + (layer - 2) + ".gate").life())).isFalse();
    }
  }

  private static Buffer buffer(Plan plan, String name) {
    return plan.buffers().stream().filter(b -> b.name().equals(name)).findFirst().orElseThrow();
  }

  /**
   * With less pinned memory than all layers want the first ones save there, those below the last keep theirs on the device as far as it
   * has room, and the others recompute; more pinned memory is never slower.
   */
  @Test
  void asManyLayersSaveAsMayBePinned() {
    CardSpec card = CardSpec.named("rtx-4060-8gb").orElseThrow();
    Placement saving = new Placement(
        Placement.Weights.AUTO, OptionalInt.empty(), Placement.Activations.SAVE_ALL, Placement.Where.AUTO,
        Placement.Where.AUTO, Placement.Where.AUTO, OptionalLong.empty(), OptionalLong.empty(), OptionalLong.empty());
    double before = 0;
    int again = 31;
    for (long pinned : new long[] {GIB / 2, GIB, 2 * GIB, 4 * GIB, 8 * GIB}) {
      Planner planner = planner("llama-2-7b", card, 5 * GIB / 2, pinned, saving);
      Planner.Choice choice = planner.require(sequence(2048), "run.yaml");
      assertThat(choice.plan().hostBytes(true)).isLessThanOrEqualTo(pinned);
      assertThat(choice.tokensPerSecond()).isGreaterThan(before);
      int there = choice.plan().offloaded().size();
      int kept = choice.layout().keptLayers();
      assertThat(31 - there - kept).isLessThan(again);
      again = 31 - there - kept;
      before = choice.tokensPerSecond();
      System.out.printf(
          "%d MiB pinned: %d layers save there, %d here, %d recompute, %.0f tokens/s%n", choice.plan().hostBytes(true) >> 20, there,
          kept + 1, again, before);
      Layout without = choice.layout().withKeptLayers(0);
      assertThat(choice.tokensPerSecond()).isGreaterThanOrEqualTo(planner.choice(without, sequence(2048)).tokensPerSecond());
      if (again > 0) {
        assertThat(kept).isPositive();
        String reason = planner.reasons(choice).get(1);
        assertThat(reason).startsWith(
            "activations: save_all of the first " + there + " of 32 layers; " + (kept + 1) + " keep theirs on the device; the others");
      }
    }
    assertThat(again).isZero();
  }

  /** What may be pinned and hides behind the kernels leaves; what a slow link would hold up stays, as far as there is room. */
  @Test
  void aSlowLinkKeepsLayersHere() {
    CardSpec fast = CardSpec.named("rtx-4090-24gb").orElseThrow();
    CardSpec slow = new CardSpec("slow link", fast.memory(), fast.flops(), fast.memoryRate(), fast.linkRate() / 4);
    Placement saving = Placement.AUTO.withActivations(Placement.Activations.SAVE_ALL);
    Planner.Choice there = planner("llama-2-7b", fast, 8 * GIB, saving).require(sequence(2048), "run.yaml");
    assertThat(there.layout().keptLayers()).isZero();
    assertThat(there.plan().offloaded()).hasSize(31);
    Planner planner = planner("llama-2-7b", slow, 8 * GIB, saving);
    Planner.Choice here = planner.require(sequence(2048), "run.yaml");
    assertThat(here.layout().keptLayers()).isPositive();
    assertThat(here.plan().offloaded()).hasSize(31 - here.layout().keptLayers());
    Layout all = here.layout().withKeptLayers(0).withHostLayers(31);
    assertThat(here.tokensPerSecond()).isGreaterThan(planner.choice(all, sequence(2048)).tokensPerSecond());
  }

  /** A layer that keeps its activations on the device takes just those; between two that do, nothing is computed again. */
  @Test
  void layersBelowTheLastKeepTheirs() {
    Planner planner = planner("llama-2-7b", CardSpec.named("h100").orElseThrow(), 80 * GIB, Placement.AUTO);
    Layout some = new Layout(Layout.Weights.OUTSIDE, 0, Activations.SAVE_ALL, true, true, true).withHostLayers(10);
    Plan none = planner.choice(some, sequence(512)).plan();
    Plan five = planner.choice(some.withKeptLayers(5), sequence(512)).plan();
    long set = none.offloaded().getFirst().bytes();
    long input = 2L * 512 * spec("llama-2-7b").hidden();
    assertThat(five.arenaBytes() - none.arenaBytes()).isBetween(4 * (set - input), 5 * (set - input));
    assertThat(five.hostBytes(true)).isEqualTo(none.hostBytes(true));
    for (int layer = 0; layer < 32; layer++) {
      Activations expected = layer < 10 ? Activations.SAVE_ALL : layer < 26 ? Activations.RECOMPUTE : Activations.KEEP;
      assertThat(some.withKeptLayers(5).activations(layer, 32)).as("layer " + layer).isEqualTo(expected);
    }
    assertThat(some.withKeptLayers(30).activations(9, 32)).isEqualTo(Activations.SAVE_ALL);
    assertThat(some.withActivations(Activations.OFFLOAD).withKeptLayers(5).activations(28, 32)).isEqualTo(Activations.RECOMPUTE);
  }

  /** Saving costs no time where a layer's set travels faster than the layer runs; elsewhere the link sets the pace. */
  @Test
  void aSlowLinkHoldsSavingUp() {
    CardSpec fast = CardSpec.named("rtx-4090-24gb").orElseThrow();
    CardSpec slow = new CardSpec("slow link", fast.memory(), fast.flops(), fast.memoryRate(), fast.linkRate() / 4);
    Layout all = new Layout(Layout.Weights.ARENA, 32, Activations.SAVE_ALL, true, true, true);
    Layout kept = all.withActivations(Activations.KEEP);
    StepShape step = sequence(2048);
    Planner there = planner("llama-2-7b", fast, 24 * GIB, Placement.AUTO);
    assertThat(there.choice(all, step).tokensPerSecond()).isEqualTo(there.choice(kept, step).tokensPerSecond());
    Planner here = planner("llama-2-7b", slow, 24 * GIB, Placement.AUTO);
    Planner.Choice saving = here.choice(all, step);
    double copies = 2 * saving.plan().offloaded().stream().mapToLong(Plan.Offloaded::bytes).sum() / slow.linkRate();
    double seconds = step.tokens() / saving.tokensPerSecond();
    // Beside the copies: the first layer before the first, the loss, the last layer after the last.
    assertThat(seconds).isBetween(copies, copies + 4 * step.tokens() / here.choice(kept, step).tokensPerSecond() / 32);
  }

  @Test
  void whatCannotFitIsRefusedWithASettingThatWould() {
    CardSpec card = CardSpec.named("rtx-3060-12gb").orElseThrow();
    assertThatThrownBy(() -> planner("llama-2-7b", card, GIB, Placement.AUTO).require(sequence(4096), "run.yaml"))
        .isInstanceOf(UserError.class).hasMessageContaining("run.yaml: this run needs at least")
        .hasMessageContaining("lower cutoff_len");
    Placement resident = new Placement(
        Placement.Weights.RESIDENT, OptionalInt.empty(), Placement.Activations.AUTO, Placement.Where.AUTO,
        Placement.Where.AUTO, Placement.Where.AUTO, OptionalLong.empty(), OptionalLong.empty(), OptionalLong.empty());
    Planner forced = planner("llama-2-7b", card, 3 * GIB, resident);
    assertThatThrownBy(() -> forced.require(sequence(2048), "run.yaml"))
        .isInstanceOf(UserError.class).hasMessageContaining("leave the placement keys out");
    assertThat(forced.with(Placement.AUTO).best(sequence(2048))).isPresent();
    int tokens = planner("llama-2-7b", card, 3 * GIB / 2, Placement.AUTO).largestTokens(sequence(2048));
    Planner small = planner("llama-2-7b", card, 3 * GIB / 2, Placement.AUTO);
    assertThat(small.best(sequence(tokens))).isPresent();
    assertThat(small.best(sequence(tokens + tokens / 8 + 64))).isEmpty();
  }
}
