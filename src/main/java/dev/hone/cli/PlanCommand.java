package dev.hone.cli;

import dev.hone.config.Placement;
import dev.hone.config.Sizes;
import dev.hone.config.TrainConfig;
import dev.hone.config.UserError;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.plan.CardSpec;
import dev.hone.plan.Plan;
import dev.hone.plan.Planner;
import dev.hone.train.RunPlan;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;
import java.util.OptionalLong;
import java.util.concurrent.Callable;
import java.util.stream.Collectors;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code hone plan FILE.yaml [--card NAME] [--vram SIZE]}. */
@Command(
    name = "plan",
    description = "Show what a run will take and where it puts it, from its settings and config.json alone.",
    footer = {"", "Example: hone plan run.yaml --card rtx-3060-12gb --vram 6GB model_name_or_path=like:llama-2-7b"})
final class PlanCommand implements Callable<Integer> {
  private static final String DEFAULT_CARD = "rtx-3060-12gb";

  @Parameters(index = "0", paramLabel = "FILE.yaml", description = "The settings, as for hone train.")
  private Path file;

  @Parameters(index = "1..*", paramLabel = "key=value", description = "Settings that win over the file's.")
  private List<String> overrides = List.of();

  @Option(names = "--card", paramLabel = "NAME", description = "Plan for a graphics card: its rates and its memory.")
  private Optional<String> card = Optional.empty();

  @Option(names = "--vram", paramLabel = "SIZE", description = "Device memory that the run may take, such as 6GB.")
  private Optional<String> vram = Optional.empty();

  @Option(names = "--ram", paramLabel = "SIZE", description = "Host memory that the run may take.")
  private Optional<String> ram = Optional.empty();

  @Option(names = "--json", description = "Print the plan for programs.")
  private boolean json;

  private final PrintStream out;

  PlanCommand(PrintStream out) {
    this.out = out;
  }

  @Override
  public Integer call() {
    TrainConfig config = TrainConfig.load(file, overrides);
    RunPlan run = new RunPlan(config);
    Placement fixed = config.machine().fixed();
    Optional<Long> limit = size("--vram", vram).or(() -> box(fixed.vramLimit()));
    PlanText text = new PlanText(out);
    if (card.isEmpty() && limit.isEmpty()) {
      text.cpu(run, onCpu(config, run), json);
      return Main.DONE;
    }
    CardSpec spec = CardSpec.named(card.orElse(DEFAULT_CARD)).orElseThrow(() -> UserError.of(
        "--card: no card is called %s; there are %s", card.orElse(""),
        CardSpec.all().stream().map(CardSpec::name).collect(Collectors.joining(", "))));
    long memory = size("--ram", ram).or(() -> box(fixed.ramLimit())).orElseGet(PlanCommand::physicalMemory);
    Planner.Limits limits =
        new Planner.Limits(
            limit.orElse(spec.memory()), CardSpec.CONTEXT, memory, fixed.pinnedLimit().orElse(memory / 2));
    Planner planner = run.planner(spec, limits, fixed);
    Planner.Choice choice = planner.require(run.steps(), file.toString());
    if (json) {
      text.json(run, planner, choice, limits, spec);
    } else {
      text.card(run, planner, choice, limits, spec);
    }
    return Main.DONE;
  }

  private static Plan onCpu(TrainConfig config, RunPlan run) {
    return switch (config.machine().recomputes()) {
      case ON -> run.onCpu(true);
      case OFF -> run.onCpu(false);
      case AUTO -> {
        Plan keep = run.onCpu(false);
        yield keep.arenaBytes() <= physicalMemory() / 2 ? keep : run.onCpu(true);
      }
    };
  }

  private static Optional<Long> box(OptionalLong value) {
    return value.isPresent() ? Optional.of(value.getAsLong()) : Optional.empty();
  }

  private static Optional<Long> size(String option, Optional<String> text) {
    return text.map(t -> Sizes.parse(t).orElseThrow(() -> UserError.of("%s is `%s`; want a size such as 6GB", option, t)));
  }

  private static long physicalMemory() {
    try (CpuKernels kernels = new CpuKernels()) {
      return kernels.memoryBytes();
    }
  }
}
