package dev.hone.cli;

import dev.hone.config.UserError;
import java.io.BufferedReader;
import java.io.PrintStream;
import java.util.List;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code hone generate MODEL [--prompt TEXT]}. */
@Command(
    name = "generate",
    description = "Answer prompts: those given, or each line of the standard input.",
    footer = {"", "Example: hone generate path/to/model --adapter out --prompt \"Name three rivers.\""})
final class GenerateCommand implements Callable<Integer> {
  @Mixin private ModelOptions options;

  @Option(names = "--prompt", paramLabel = "TEXT", description = "A prompt; may be given several times.")
  private List<String> prompts = List.of();

  @Option(names = "--raw", description = "Continue the text as it is, without a chat template.")
  private boolean raw;

  private final Talking talking;
  private final BufferedReader in;
  private final PrintStream out;

  GenerateCommand(Talking talking, BufferedReader in, PrintStream out) {
    this.talking = talking;
    this.in = in;
    this.out = out;
  }

  @Override
  public Integer call() {
    Talking.Setup setup = options.setup();
    List<String> texts = prompts.isEmpty() ? in.lines().filter(line -> !line.isBlank()).toList() : prompts;
    if (texts.isEmpty()) {
      throw new UserError("no prompt; give --prompt TEXT or lines on the standard input");
    }
    talking.generate(setup, texts, raw, out);
    return Main.DONE;
  }
}
