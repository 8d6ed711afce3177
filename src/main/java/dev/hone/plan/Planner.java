package dev.hone.plan;

import dev.hone.config.Moments;
import dev.hone.config.Placement;
import dev.hone.config.Placement.Where;
import dev.hone.config.Sizes;
import dev.hone.config.UserError;
import dev.hone.model.ModelSpec;
import dev.hone.model.Tuning;
import dev.hone.plan.Layout.Activations;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.function.Predicate;

/**
 * Chooses where a run on a card keeps what: of all placements that the settings allow and the limits take, the one that the
 * {@link Timeline} finds fastest; of equally fast ones the one that takes least of the host.
 */
public final class Planner {
  /** Bytes that a card's ops want, by the step's shape. */
  public interface Ops {
    long crossEntropyBytes(StepShape step, Layout layout);

    long workspaceBytes(StepShape step);
  }

  /**
   * What a run may take.
   *
   * @param vram bytes of device memory, the context's included
   * @param context bytes of the CUDA context
   * @param ram bytes of host memory, pinned ones included
   * @param pinned bytes of page-locked host memory
   */
  public record Limits(long vram, long context, long ram, long pinned) {
    public long arena() {
      return vram - context;
    }
  }

  /**
   * A placement and what it comes to.
   *
   * @param tokensPerSecond predicted
   */
  public record Choice(Layout layout, StepShape step, Plan plan, double tokensPerSecond) {}

  /**
   * What CUDA graphs may take at most: of training, evaluating, reading and decoding eight each, of 6,000 kernels (80 layers) and half a
   * KiB a kernel, 94 MiB; in whole blocks of the driver's.
   */
  static final long GRAPHS = 128L << 20;

  private final ModelSpec spec;
  private final BlobBytes blobs;
  private final Drafts drafts;
  private final Limits limits;
  private final Placement fixed;

  public Planner(
      ModelSpec spec, Tuning tuning, BlobBytes blobs, Ops ops, CardSpec card, Limits limits, Placement fixed) {
    this(spec, blobs, new Drafts(spec, tuning, blobs, ops, card), limits, fixed);
  }

  private Planner(ModelSpec spec, BlobBytes blobs, Drafts drafts, Limits limits, Placement fixed) {
    this.spec = spec;
    this.blobs = blobs;
    this.drafts = drafts;
    this.limits = limits;
    this.fixed = fixed;
  }

  /** What a layout comes to. */
  public Choice choice(Layout layout, StepShape step) {
    return drafts.of(layout, step).choice();
  }

  /** What graphs may take beside a placement: what it leaves of the limit, up to {@link #GRAPHS}. */
  public long graphBytes(Choice choice) {
    return Math.max(0, Math.min(GRAPHS, limits.arena() - choice.plan().arenaBytes()));
  }

  public boolean fits(Choice choice) {
    Plan plan = choice.plan();
    return plan.arenaBytes() <= limits.arena() && plan.hostBytes(true) <= limits.pinned()
        && plan.hostBytes(true) + plan.hostBytes(false) <= limits.ram();
  }

  /** The best placement that fits, empty when none does; of equals the first. */
  public Optional<Choice> best(StepShape step) {
    return candidates(step).stream()
        .sorted(Comparator.comparingDouble(Draft::rate).reversed().thenComparingLong(Draft::hostBytes))
        .filter(draft -> draft.fits(limits)).findFirst().map(Draft::choice);
  }

  /** The placement that takes the least device memory, of those that the settings allow. */
  public Choice smallest(StepShape step) {
    return least(step).choice();
  }

  private Draft least(StepShape step) {
    Activations activations =
        fixed.activations() == Placement.Activations.AUTO ? Activations.OFFLOAD : Activations.valueOf(fixed.activations().name());
    int resident =
        fixed.residentLayers().orElse(fixed.weights() == Placement.Weights.RESIDENT ? spec.layers() : 0);
    return hosted(
        new Layout(
            Layout.Weights.ARENA, Math.min(resident, spec.layers()), activations, fixed.head() == Where.DEVICE,
            fixed.embedding() == Where.DEVICE, fixed.optimizer() == Where.DEVICE),
        step);
  }

  private List<Draft> candidates(StepShape step) {
    List<Draft> all = new ArrayList<>();
    for (Activations activations : Activations.values()) {
      if (fixed.activations() != Placement.Activations.AUTO
          && !fixed.activations().name().equals(activations.name())) {
        continue;
      }
      for (boolean head : sides(fixed.head())) {
        for (boolean embedding : sides(fixed.embedding())) {
          for (boolean optimizer : sides(fixed.optimizer())) {
            residencies(new Layout(Layout.Weights.ARENA, 0, activations, head, embedding, optimizer), step, all);
          }
        }
      }
    }
    return all;
  }

  private static boolean[] sides(Where where) {
    return switch (where) {
      case AUTO -> new boolean[] {true, false};
      case DEVICE -> new boolean[] {true};
      case HOST -> new boolean[] {false};
    };
  }

  /** What a layout comes to with the activations of as many layers on the host as the host has room for. */
  private Draft hosted(Layout layout, StepShape step) {
    Draft all = drafts.of(layout, step);
    int layers = all.hostLayers(limits);
    return layers == all.offloadedLayers() ? all : drafts.of(layout.withHostLayers(layers), step);
  }

  /**
   * Adds a layout with as many layers' activations on the host as it has room for; where everything saved goes there, also with as many
   * kept on the device as it has room for. Those were to be computed again, or else need not travel.
   */
  private Draft add(Layout layout, StepShape step, List<Draft> all) {
    Draft hosted = hosted(layout, step);
    all.add(hosted);
    if (layout.activations() == Activations.SAVE_ALL && hosted.mayFit(limits)) {
      int below = spec.layers() - 1;
      int kept = (int) Math.min(below - 1, (limits.arena() - hosted.arenaBytes()) / drafts.savedBytes(step));
      if (kept > 0) {
        int there = Math.min(hosted.offloadedLayers(), below - kept);
        all.add(drafts.of(layout.withHostLayers(there).withKeptLayers(kept), step));
      }
    }
    return hosted;
  }

  /** The layout with all layers resident, and with as many as fit or are asked for. */
  private void residencies(Layout layout, StepShape step, List<Draft> all) {
    int layers = spec.layers();
    if (fixed.residentLayers().isPresent()) {
      add(layout.withResidentLayers(Math.min(layers, fixed.residentLayers().getAsInt())), step, all);
      return;
    }
    if (fixed.weights() != Placement.Weights.STREAMED) {
      add(layout.withResidentLayers(layers), step, all);
    }
    if (fixed.weights() != Placement.Weights.RESIDENT) {
      Draft streamed = add(layout, step, all);
      if (fixed.weights() == Placement.Weights.AUTO && streamed.mayFit(limits)) {
        long room = limits.arena() - streamed.arenaBytes();
        int resident = (int) Math.min(layers - Layout.SLOTS, room / blobs.layer());
        if (resident > 0) {
          add(layout.withResidentLayers(resident), step, all);
        }
      }
    }
  }

  /** As {@link #best}; else an error that names what would make it fit. */
  public Choice require(StepShape step, String where) {
    return require(List.of(step), where);
  }

  /**
   * The best of several ways to deal the rows of an optimiser step.
   *
   * @param steps the preferred first; another one must be at least 1 % faster
   * @param where the run's file, for the message
   * @throws UserError when none fits; it names what would make one fit
   */
  public Choice require(List<StepShape> steps, String where) {
    Choice best = null;
    for (StepShape step : steps) {
      Choice choice = best(step).orElse(null);
      if (choice != null && (best == null || choice.tokensPerSecond() > 1.01 * best.tokensPerSecond())) {
        best = choice;
      }
    }
    if (best == null) {
      throw doesNotFit(steps.stream().min(Comparator.comparingInt(StepShape::tokens)).orElseThrow(), where, steps.size() == 1);
    }
    return best;
  }

  private UserError doesNotFit(StepShape step, String where, boolean fixedRows) {
    Choice least = smallest(step);
    Plan plan = least.plan();
    List<String> remedies = remedies(step, fixedRows);
    return UserError.of(
        "%s: this run needs at least %s of device memory (%s of buffers beside %s of context and whatever else is there), %s pinned and"
            + " %s pageable on the host; the limits are %s, %s and %s in all; %s",
        where, Sizes.text(plan.arenaBytes() + limits.context()), Sizes.text(plan.arenaBytes()), Sizes.text(limits.context()),
        Sizes.text(plan.hostBytes(true)), Sizes.text(plan.hostBytes(false)), Sizes.text(limits.vram()),
        Sizes.text(limits.pinned()), Sizes.text(limits.ram()),
        remedies.isEmpty() ? "no setting alone makes it fit: take a smaller model or a larger card" : String.join(", or ", remedies));
  }

  /** Settings that, changed alone, make the run fit. */
  private List<String> remedies(StepShape step, boolean fixedRows) {
    List<String> remedies = new ArrayList<>();
    if (smallest(step).plan().arenaBytes() <= limits.arena()) {
      remedies.add("take a host with more memory: the card would do (a higher ram_limit lets the base be read from the disk again and again)");
    }
    int tokens = largestTokens(step);
    if (tokens >= 16 && tokens < step.tokens()) {
      remedies.add(
          "lower cutoff_len x per_device_train_batch_size from " + step.tokens() + " to " + tokens + " tokens"
              + (fixedRows && tokens >= step.positions() ? " (auto_find_batch_size: true deals the rows anew)" : ""));
    }
    if (!fixed.equals(freed(Placement.AUTO)) && with(freed(Placement.AUTO)).best(step).isPresent()) {
      remedies.add("leave the placement keys out");
    }
    return remedies;
  }

  /** {@code other} with this run's limits. */
  private Placement freed(Placement other) {
    return new Placement(
        other.weights(), other.residentLayers(), other.activations(), other.head(), other.embedding(), other.optimizer(),
        fixed.vramLimit(), fixed.ramLimit(), fixed.pinnedLimit());
  }

  /** The same run with other fixed choices. */
  public Planner with(Placement other) {
    return new Planner(spec, blobs, drafts, limits, other);
  }

  /** The most tokens of a micro-batch that fit, a multiple of 16, 0 when not even 16 do; documents grow with them. */
  public int largestTokens(StepShape step) {
    Predicate<Integer> fit = tokens -> {
      int documents = Math.max(1, (int) ((long) step.documents() * tokens / step.tokens()));
      return least(step.withTokens(tokens, documents)).fits(limits);
    };
    int low = 0;
    int high = 1;
    while (high < 1 << 17 && fit.test(16 * high)) {
      low = high;
      high *= 2;
    }
    while (high - low > Math.max(1, low / 32)) {
      int middle = (low + high) / 2;
      if (fit.test(16 * middle)) {
        low = middle;
      } else {
        high = middle;
      }
    }
    return 16 * low;
  }

  /** What each choice of a placement would save or cost beside another, one line each. */
  public List<String> alternatives(Choice chosen) {
    Layout now = chosen.layout();
    List<String> lines = new ArrayList<>();
    List<Layout> others = new ArrayList<>();
    others.add(now.withResidentLayers(now.residentLayers() == 0 ? spec.layers() : 0));
    for (Activations a : Activations.values()) {
      if (a != now.activations()) {
        others.add(now.withActivations(a).withHostLayers(Integer.MAX_VALUE).withKeptLayers(0));
      }
    }
    others.add(now.withHead(!now.head()));
    others.add(now.withEmbedding(!now.embedding()));
    others.add(now.withOptimizer(!now.optimizer()));
    for (Layout other : others) {
      if (!other.equals(now)) {
        lines.add(alternative(difference(now, other), chosen, hosted(other, chosen.step()).choice()));
      }
    }
    Moments moments = chosen.step().moments() == Moments.F32 ? Moments.EIGHT_BIT : Moments.F32;
    lines.add(alternative("optim: " + moments.optim(), chosen, choice(now, chosen.step().withMoments(moments))));
    return lines;
  }

  private String alternative(String setting, Choice chosen, Choice there) {
    long bytes = there.plan().arenaBytes() - chosen.plan().arenaBytes();
    return String.format(
        Locale.ROOT, "%-34s %s%s, %,.0f tokens/s%s", setting, bytes < 0 ? "saves " : "takes ", Sizes.text(Math.abs(bytes)),
        there.tokensPerSecond(), fits(there) ? "" : " (does not fit)");
  }

  private String difference(Layout now, Layout other) {
    if (other.residentLayers() != now.residentLayers()) {
      return "weight_placement: " + (other.residentLayers() == 0 ? "streamed" : "resident");
    }
    if (other.activations() != now.activations()) {
      return "activation_placement: " + other.activations().name().toLowerCase(Locale.ROOT);
    }
    if (other.head() != now.head()) {
      return "head_placement: " + side(other.head());
    }
    return other.embedding() != now.embedding()
        ? "embedding_placement: " + side(other.embedding()) : "optimizer_placement: " + side(other.optimizer());
  }

  private static String side(boolean device) {
    return device ? "device" : "host";
  }

  /** Why a placement is what it is, one line a choice. */
  public List<String> reasons(Choice chosen) {
    Layout l = chosen.layout();
    List<String> lines = new ArrayList<>();
    int layers = spec.layers();
    lines.add(
        "weights: " + (l.residentLayers() == layers ? "all " + layers + " layers stay on the device"
            : l.residentLayers() + " of " + layers + " layers stay on the device, the others stream through " + Layout.SLOTS + " slots")
            + because(fixed.weights() != Placement.Weights.AUTO || fixed.residentLayers().isPresent(),
                l.residentLayers() == layers ? "they fit" : "all of them would take "
                    + Sizes.text(blobs.layer() * layers) + " of " + Sizes.text(limits.arena())));
    lines.add("activations: " + activations(chosen)
        + because(fixed.activations() != Placement.Activations.AUTO, "fastest of those that fit"));
    lines.add("head: " + side(l.head()) + because(fixed.head() != Where.AUTO, l.head() ? "it fits" : "room for what is read more often"));
    lines.add("embedding: " + side(l.embedding())
        + because(fixed.embedding() != Where.AUTO, l.embedding() ? "it fits" : "a gather of rows costs nothing on the host"));
    lines.add("optimizer: " + side(l.optimizer()) + because(fixed.optimizer() != Where.AUTO, l.optimizer() ? "it fits" : "room"));
    return lines;
  }

  private String activations(Choice choice) {
    String name = choice.layout().activations().name().toLowerCase(Locale.ROOT);
    int there = choice.plan().offloaded().size();
    int below = spec.layers() - 1;
    if (!choice.layout().activations().offloads() || there == below) {
      return name;
    }
    int kept = Math.min(choice.layout().keptLayers(), below - there);
    int again = below - there - kept;
    return name + " of the first " + there + " of " + spec.layers() + " layers"
        + (kept > 0 ? "; " + (kept + 1) + " keep theirs on the device" : ", as much as may be pinned")
        + (again > 0 ? "; the others recompute" : "");
  }

  private static String because(boolean forced, String reason) {
    return forced ? " (as set)" : " (" + reason + ")";
  }
}
