package dev.hone.plan;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.config.Moments;
import dev.hone.config.Placement.Where;
import dev.hone.config.Placement;
import dev.hone.model.Architectures;
import dev.hone.model.BuiltInShapes;
import dev.hone.model.ModelSpec;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import dev.hone.plan.Layout.Activations;
import dev.hone.tensor.DType;
import dev.hone.train.RunPlan;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.OptionalInt;
import java.util.OptionalLong;
import java.util.Random;
import java.util.stream.Stream;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.MethodSource;

/**
 * The search for a placement against one that builds and packs every candidate, and the packing against one that compares every two
 * buffers: the same placement, the same offsets.
 */
class PlacementSearchTest {
  private static final long MIB = 1L << 20;
  private static final CardSpec CARD = CardSpec.named("rtx-4060-8gb").orElseThrow();

  /** A run and its limits. */
  record Run(String model, StepShape step, Planner.Limits limits, Placement fixed) {
    private ModelSpec spec() {
      return Architectures.of(BuiltInShapes.config(model));
    }

    private Tuning tuning() {
      List<Tuning.Lora.Target> targets = new ArrayList<>();
      for (int layer = 0; layer < spec().layers(); layer++) {
        for (Projection p : Projection.values()) {
          targets.add(new Tuning.Lora.Target(layer, p, layer % 3 == 0 ? 8 : 16, 2f));
        }
      }
      return new Tuning.Lora(targets, 0);
    }

    private BlobBytes blobs() {
      return BlobBytes.of(spec(), BlobBytes.Form.NF4_DOUBLE, DType.BF16);
    }

    private Planner planner() {
      ModelSpec spec = spec();
      Tuning tuning = tuning();
      return new Planner(spec, tuning, blobs(), RunPlan.cardOps(spec, tuning), CARD, limits, fixed);
    }
  }

  static Stream<Run> runs() {
    Random random = new Random(11);
    Stream<Run> drawn = Stream.generate(() -> {
      int tokens = 1 + random.nextInt(3000);
      Moments moments = random.nextBoolean() ? Moments.F32 : Moments.EIGHT_BIT;
      StepShape step = new StepShape(DType.BF16, true, tokens, 1 + random.nextInt(3), tokens, moments);
      long vram = (700 + random.nextInt(3000)) * MIB;
      long ram = (500 + random.nextInt(6000)) * MIB;
      return new Run(
          "tinyllama-1.1b", step, new Planner.Limits(vram, CardSpec.CONTEXT, ram, ram / (1 + random.nextInt(4))), fixed(random));
    }).limit(24);
    StepShape row = new StepShape(DType.BF16, true, 2048, 1, 2048);
    return Stream.concat(
        drawn,
        Stream.of(
            new Run("llama-2-7b", row, new Planner.Limits(64 * MIB, 0, 512 * MIB, 256 * MIB), Placement.AUTO),
            new Run(
                "llama-2-7b", row, new Planner.Limits(4 * 1024 * MIB, CardSpec.CONTEXT, 16 * 1024 * MIB, 3 * 1024 * MIB),
                Placement.AUTO)));
  }

  private static Placement fixed(Random random) {
    if (random.nextInt(3) > 0) {
      return Placement.AUTO;
    }
    return new Placement(
        Placement.Weights.values()[random.nextInt(3)],
        random.nextInt(4) == 0 ? OptionalInt.of(random.nextInt(22)) : OptionalInt.empty(),
        Placement.Activations.values()[random.nextInt(5)], Where.values()[random.nextInt(3)], Where.values()[random.nextInt(3)],
        Where.values()[random.nextInt(3)], OptionalLong.empty(), OptionalLong.empty(), OptionalLong.empty());
  }

  @ParameterizedTest
  @MethodSource("runs")
  void theChoiceIsThatOfAnExhaustiveSearch(Run run) {
    Planner planner = run.planner();
    List<Planner.Choice> all = new Candidates(run, planner).all();
    all.forEach(PlacementSearchTest::packedAsByComparingAll);
    Planner.Choice expected = all.stream().filter(c -> fits(c.plan(), run.limits)).max(
        Comparator.comparingDouble((Planner.Choice c) -> Math.round(c.tokensPerSecond() * 10) / 10.0)
            .thenComparingLong(c -> -c.plan().hostBytes(true) - c.plan().hostBytes(false))).orElse(null);
    Planner.Choice chosen = run.planner().best(run.step).orElse(null);
    assertThat(chosen == null).isEqualTo(expected == null);
    if (chosen != null) {
      assertThat(chosen.layout()).isEqualTo(expected.layout());
      assertThat(chosen.step()).isEqualTo(expected.step());
      assertThat(chosen.tokensPerSecond()).isEqualTo(expected.tokensPerSecond());
      assertThat(chosen.plan().buffers()).isEqualTo(expected.plan().buffers());
      assertThat(chosen.plan().host()).isEqualTo(expected.plan().host());
    }
  }

  private static boolean fits(Plan plan, Planner.Limits limits) {
    return plan.arenaBytes() <= limits.arena() && plan.hostBytes(true) <= limits.pinned()
        && plan.hostBytes(true) + plan.hostBytes(false) <= limits.ram();
  }

  /** The largest first, each at the lowest offset where it meets no other that is alive with it. */
  private static void packedAsByComparingAll(Planner.Choice choice) {
    List<Buffer> order = new ArrayList<>(choice.plan().buffers());
    order.sort(Comparator.comparingLong(Buffer::bytes).reversed());
    List<Buffer> placed = new ArrayList<>();
    long end = 0;
    for (Buffer buffer : order) {
      long at = 0;
      for (Buffer other : placed) {
        if (other.life().meets(buffer.life())) {
          if (other.offset() >= at + buffer.bytes()) {
            break;
          }
          at = Math.max(at, Plan.aligned(other.end()));
        }
      }
      assertThat(buffer.offset()).as("%s of %s", buffer.name(), choice.layout()).isEqualTo(at);
      placed.add(buffer);
      placed.sort(Comparator.comparingLong(Buffer::offset));
      end = Math.max(end, Plan.aligned(buffer.end()));
    }
    assertThat(choice.plan().arenaBytes()).isEqualTo(end);
    for (int moment = 0; moment <= choice.plan().peak(); moment += 7) {
      int now = moment;
      assertThat(choice.plan().bytesAt(moment)).isEqualTo(
          order.stream().filter(b -> b.life().at(now)).mapToLong(b -> Plan.aligned(b.bytes())).sum());
    }
  }

  /** Every candidate of a run, in the order in which equals are preferred. */
  private record Candidates(Run run, Planner planner) {
    private List<Planner.Choice> all() {
      List<Planner.Choice> all = new ArrayList<>();
      Placement fixed = run.fixed;
      for (Activations activations : Activations.values()) {
        if (fixed.activations() == Placement.Activations.AUTO || fixed.activations().name().equals(activations.name())) {
          for (boolean head : sides(fixed.head())) {
            for (boolean embedding : sides(fixed.embedding())) {
              for (boolean optimizer : sides(fixed.optimizer())) {
                residencies(new Layout(Layout.Weights.ARENA, 0, activations, head, embedding, optimizer), all);
              }
            }
          }
        }
      }
      return all;
    }

    private static boolean[] sides(Where where) {
      return where == Where.AUTO ? new boolean[] {true, false} : new boolean[] {where == Where.DEVICE};
    }

    private void residencies(Layout layout, List<Planner.Choice> all) {
      int layers = run.spec().layers();
      Placement fixed = run.fixed;
      if (fixed.residentLayers().isPresent()) {
        add(layout.withResidentLayers(Math.min(layers, fixed.residentLayers().getAsInt())), all);
        return;
      }
      if (fixed.weights() != Placement.Weights.STREAMED) {
        add(layout.withResidentLayers(layers), all);
      }
      if (fixed.weights() == Placement.Weights.RESIDENT) {
        return;
      }
      Planner.Choice streamed = add(layout, all);
      long room = run.limits.arena() - streamed.plan().arenaBytes();
      int resident = (int) Math.min(layers - Layout.SLOTS, room / run.blobs().layer());
      if (fixed.weights() == Placement.Weights.AUTO && resident > 0) {
        add(layout.withResidentLayers(resident), all);
      }
    }

    /**
     * Where everything saved goes to the host, also with as many layers' activations on the device as there is room for: if the host does
     * not take all, or if it is faster.
     */
    private Planner.Choice add(Layout layout, List<Planner.Choice> all) {
      Planner.Choice hosted = hosted(layout);
      all.add(hosted);
      long room = run.limits.arena() - hosted.plan().arenaBytes();
      if (layout.activations() == Activations.SAVE_ALL && room > 0) {
        int below = run.spec().layers() - 1;
        Layout everything = new Layout(Layout.Weights.OUTSIDE, 0, Activations.SAVE_ALL, true, true, true);
        long set = planner.choice(everything, run.step).plan().offloaded().stream().mapToLong(Plan.Offloaded::bytes).max().orElseThrow();
        int kept = (int) Math.min(below - 1, room / set);
        if (kept > 0) {
          int there = Math.min(hosted.plan().offloaded().size(), below - kept);
          Planner.Choice mixed = planner.choice(layout.withHostLayers(there).withKeptLayers(kept), run.step);
          if (hosted.plan().offloaded().size() < below
              || Math.round(10 * mixed.tokensPerSecond()) > Math.round(10 * hosted.tokensPerSecond())) {
            all.add(mixed);
          }
        }
      }
      return hosted;
    }

    /** With one layer's activations less on the host, until the host has room for them. */
    private Planner.Choice hosted(Layout layout) {
      Planner.Choice all = planner.choice(layout, run.step);
      List<Plan.Offloaded> there = all.plan().offloaded();
      long pinned = all.plan().hostBytes(true);
      long over = Math.max(pinned - run.limits.pinned(), pinned + all.plan().hostBytes(false) - run.limits.ram());
      int layers = there.size();
      while (over > 0 && layers > 0) {
        layers--;
        over -= there.get(layers).bytes();
      }
      return layers == there.size() ? all : planner.choice(layout.withHostLayers(layers), run.step);
    }
  }
}
