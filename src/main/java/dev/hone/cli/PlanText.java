package dev.hone.cli;

import com.fasterxml.jackson.databind.node.JsonNodeFactory;
import com.fasterxml.jackson.databind.node.ObjectNode;
import dev.hone.config.Sizes;
import dev.hone.plan.Buffer;
import dev.hone.plan.CardSpec;
import dev.hone.plan.Layout;
import dev.hone.plan.Plan;
import dev.hone.plan.Planner;
import dev.hone.plan.StepShape;
import dev.hone.plan.Timeline;
import dev.hone.train.RunPlan;
import java.io.PrintStream;
import java.util.Locale;
import java.util.Map;

/** A plan for people and, as JSON, for programs. */
final class PlanText {
  private final PrintStream out;

  PlanText(PrintStream out) {
    this.out = out;
  }

  /** A plan for the CPU: the arena lies in host memory, the base stays where it is mapped. */
  void cpu(RunPlan run, Plan plan, boolean json) {
    if (json) {
      ObjectNode root = JsonNodeFactory.instance.objectNode();
      root.putObject("device").put("arena_bytes", plan.arenaBytes()).put("context_bytes", 0);
      root.putObject("host").put("pinned_bytes", 0).put("pageable_bytes", plan.arenaBytes());
      buffers(root, plan);
      out.println(root.toPrettyString());
      return;
    }
    title(run, run.step());
    line("on the CPU, beside the base's mapped file:");
    table(plan);
  }

  private void title(RunPlan run, StepShape step) {
    line("%s, %,d parameters; one micro-batch: %,d tokens in %d rows", run.spec().architecture(), run.spec().parameters(),
        step.tokens(), step.documents());
  }

  /** A plan for a card. */
  void card(RunPlan run, Planner planner, Planner.Choice choice, Planner.Limits limits, CardSpec card) {
    Plan plan = choice.plan();
    title(run, choice.step());
    line("on %s:", card.name());
    table(plan);
    line("  %-24s %12s", "CUDA context (typical)", Sizes.text(limits.context()));
    long graphs = run.graphBytes(planner, choice);
    if (graphs > 0) {
      line("  %-24s %12s", "CUDA graphs (at most)", Sizes.text(graphs));
    }
    line("  %-24s %12s  of %s", "device memory", Sizes.text(plan.arenaBytes() + limits.context() + graphs), Sizes.text(limits.vram()));
    line("  %-24s %12s  of %s", "pinned host memory", Sizes.text(plan.hostBytes(true)), Sizes.text(limits.pinned()));
    line("  %-24s %12s  of %s with the pinned", "pageable host memory", Sizes.text(plan.hostBytes(false)), Sizes.text(limits.ram()));
    line("placement");
    planner.reasons(choice).forEach(reason -> line("  %s", reason));
    line("predicted %,.0f tokens/s at %.0f %% of %.1f TFLOP/s and %.1f GB/s", choice.tokensPerSecond(),
        100 * CardSpec.EFFICIENCY, card.flops() / 1e12, card.linkRate() / 1e9);
    line("otherwise");
    planner.alternatives(choice).forEach(other -> line("  %s", other));
    line("streaming costs no time from %,d tokens a micro-batch on; at most %,d tokens fit",
        Timeline.crossover(run.spec(), run.tuning(), run.blobs(), choice.step().compute(), card),
        planner.largestTokens(run.step()));
  }

  private void table(Plan plan) {
    int peak = plan.peak();
    line("  %-24s %12s  %s", "kind", "at the peak", "(" + plan.momentName(peak) + ")");
    long sum = 0;
    for (Map.Entry<Buffer.Kind, Long> entry : plan.bytesByKind().entrySet()) {
      sum += entry.getValue();
      if (entry.getValue() > 0) {
        line("  %-24s %12s", entry.getKey().title(), Sizes.text(entry.getValue()));
      }
    }
    if (plan.arenaBytes() > sum) {
      line("  %-24s %12s", "gaps", Sizes.text(plan.arenaBytes() - sum));
    }
    line("  %-24s %12s", "buffers", Sizes.text(plan.arenaBytes()));
  }

  /** The plan of a card as JSON. */
  void json(RunPlan run, Planner planner, Planner.Choice choice, Planner.Limits limits, CardSpec card) {
    Plan plan = choice.plan();
    ObjectNode root = JsonNodeFactory.instance.objectNode();
    root.putObject("device").put("arena_bytes", plan.arenaBytes()).put("context_bytes", limits.context())
        .put("graph_bytes", run.graphBytes(planner, choice)).put("limit_bytes", limits.vram()).put("card", card.name()).put("peak", plan.momentName(plan.peak()));
    root.putObject("host").put("pinned_bytes", plan.hostBytes(true)).put("pageable_bytes", plan.hostBytes(false))
        .put("limit_bytes", limits.ram());
    root.putObject("prediction").put("tokens_per_second", choice.tokensPerSecond());
    Layout layout = choice.layout();
    root.putObject("placement").put("resident_layers", layout.residentLayers())
        .put("activations", layout.activations().name().toLowerCase(Locale.ROOT))
        .put("offloaded_layers", plan.offloaded().size()).put("kept_layers", layout.keptLayers())
        .put("head", layout.head() ? "device" : "host").put("embedding", layout.embedding() ? "device" : "host")
        .put("optimizer", layout.optimizer() ? "device" : "host");
    buffers(root, plan);
    out.println(root.toPrettyString());
  }

  private static void buffers(ObjectNode root, Plan plan) {
    var list = root.putArray("buffers");
    for (Buffer b : plan.buffers()) {
      ObjectNode node = list.addObject().put("name", b.name()).put("where", "arena").put("kind", b.kind().title())
          .put("dtype", b.dtype().toString()).put("offset", b.offset()).put("bytes", b.bytes());
      b.shape().forEach(node.withArray("shape")::add);
      b.life().ranges().forEach(range -> node.withArray("alive").addArray().add(range[0]).add(range[1]));
    }
    for (Plan.HostBuffer b : plan.host()) {
      list.addObject().put("name", b.name()).put("where", b.pinned() ? "pinned" : "pageable").put("kind", b.kind().title())
          .put("bytes", b.bytes());
    }
  }

  private void line(String format, Object... values) {
    out.println(String.format(Locale.ROOT, format, values).stripTrailing());
  }
}
