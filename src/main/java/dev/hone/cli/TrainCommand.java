package dev.hone.cli;

import dev.hone.config.TrainConfig;
import java.io.Console;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code hone train FILE.yaml [key=value ...]}. */
@Command(
    name = "train",
    description = "Fine-tune a model as a YAML file says.",
    footer = {"", "Example: hone train examples/quickstart.yaml learning_rate=1e-4 max_steps=20"})
final class TrainCommand implements Callable<Integer> {
  private static final int PREVIEW_ROWS = 3;

  @Parameters(index = "0", paramLabel = "FILE.yaml", description = "The settings; docs/config.md lists all keys.")
  private Path file;

  @Parameters(index = "1..*", paramLabel = "key=value", description = "Settings that win over the file's.")
  private List<String> overrides = List.of();

  @Option(names = "--preview", arity = "0..1", fallbackValue = "" + PREVIEW_ROWS, paramLabel = "N",
      description = "Print the first N rows (" + PREVIEW_ROWS + ") with the trained tokens marked, and stop.")
  private Optional<Integer> preview = Optional.empty();

  @Option(names = "--resume", description = "Continue the newest checkpoint of output_dir.")
  private boolean resume;

  @Option(names = "--device", paramLabel = "DEVICE", description = "auto, cpu, cuda or cuda:N; the same as device=DEVICE.")
  private Optional<String> device = Optional.empty();

  @Option(names = "--driver", paramLabel = "PATH",
      description = "CUDA driver library; the same as cuda_driver=PATH.")
  private Optional<String> driver = Optional.empty();

  @Option(names = "--threads", paramLabel = "N", description = "CPU threads; the same as threads=N.")
  private Optional<String> threads = Optional.empty();

  private final Training training;
  private final PrintStream out;
  private final PrintStream err;

  TrainCommand(Training training, PrintStream out, PrintStream err) {
    this.training = training;
    this.out = out;
    this.err = err;
  }

  @Override
  public Integer call() {
    TrainConfig config = TrainConfig.load(file, settings());
    if (preview.isPresent()) {
      training.preview(config, preview.get(), out);
      return Main.DONE;
    }
    Console console = System.console();
    boolean terminal = console != null && console.isTerminal();
    try (Interrupt interrupt = new Interrupt();
        ConsoleReport report = new ConsoleReport(err, terminal, interrupt::requested)) {
      config.notes().forEach(report::warning);
      training.run(config, report);
      return interrupt.requested() ? Main.INTERRUPTED : Main.DONE;
    }
  }

  private List<String> settings() {
    List<String> all = new ArrayList<>(overrides);
    device.ifPresent(d -> all.add("device=" + d));
    driver.ifPresent(path -> all.add("cuda_driver=" + path));
    threads.ifPresent(n -> all.add("threads=" + n));
    if (resume) {
      all.add("resume_from_checkpoint=true");
    }
    return all;
  }
}
