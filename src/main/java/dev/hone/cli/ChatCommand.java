package dev.hone.cli;

import java.io.BufferedReader;
import java.io.PrintStream;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;

/** {@code hone chat MODEL}. */
@Command(
    name = "chat",
    description = "Talk with a model, line by line; Ctrl-D ends.",
    footer = {"", "Example: hone chat path/to/model --adapter out --temperature 0.7 --top-p 0.9"})
final class ChatCommand implements Callable<Integer> {
  @Mixin private ModelOptions options;

  private final Talking talking;
  private final BufferedReader in;
  private final PrintStream out;

  ChatCommand(Talking talking, BufferedReader in, PrintStream out) {
    this.talking = talking;
    this.in = in;
    this.out = out;
  }

  @Override
  public Integer call() {
    talking.chat(options.setup(), in, out);
    return Main.DONE;
  }
}
