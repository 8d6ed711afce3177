package dev.hone.cli;

import dev.hone.config.UserError;
import dev.hone.engine.NewModel;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.model.BuiltInShapes;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** {@code hone new-model --like NAME --random OUT}. */
@Command(
    name = "new-model",
    description = "Write a model folder of a known shape with random NF4 weights, for measuring without a download.",
    footer = {"", "Example: hone new-model --like llama-2-7b --random models/random-7b"})
final class NewModelCommand implements Callable<Integer> {
  @Option(names = "--like", required = true, paramLabel = "NAME|CONFIG.json",
      description = "A built-in shape (tinyllama-1.1b, llama-2-7b, mistral-7b, qwen2.5-7b, llama-3-8b, llama-2-13b,"
          + " llama-3-70b), or a config.json.")
  private String like;

  @Option(names = "--random", required = true, description = "The weights are random: there is no other kind yet.")
  private boolean random;

  @Option(names = "--seed", paramLabel = "N", defaultValue = "42", description = "Of the weights (${DEFAULT-VALUE}).")
  private long seed;

  @Parameters(index = "0", paramLabel = "OUT", description = "The folder to make.")
  private Path folder;

  private final PrintStream out;

  NewModelCommand(PrintStream out) {
    this.out = out;
  }

  @Override
  public Integer call() {
    if (Files.exists(folder)) {
      throw UserError.of("%s exists already; choose another folder or remove it", folder);
    }
    try (CpuKernels kernels = new CpuKernels()) {
      NewModel.write(kernels, json(), like, seed, folder);
    }
    out.println("wrote " + folder);
    return Main.DONE;
  }

  private String json() {
    Path file = Path.of(like);
    if (!Files.isRegularFile(file)) {
      return BuiltInShapes.json(like);
    }
    try {
      return Files.readString(file);
    } catch (IOException e) {
      throw new UserError(file + ": cannot be read: " + e.getMessage(), e);
    }
  }
}
