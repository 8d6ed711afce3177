package dev.hone.cli;

import dev.hone.config.UserError;
import dev.hone.engine.Storage;
import dev.hone.format.PeftConfig;
import dev.hone.generate.Assistant;
import dev.hone.engine.Sampling;
import dev.hone.tensor.DType;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** The options that generate and chat share. */
final class DecodingOptions {
  @Parameters(index = "0", paramLabel = "FOLDER",
      description = "A model, or an adapter that Hone or PEFT wrote: its adapter_config.json names the base.")
  private Path folder;

  @Option(names = "--base", paramLabel = "FOLDER", description = "The base model, when FOLDER is an adapter that names it wrongly.")
  private Optional<Path> base = Optional.empty();

  @Option(names = "--no-adapter", description = "Run the base of an adapter without the adapter.")
  private boolean noAdapter;

  @Option(names = "--template", paramLabel = "NAME", description = "Chat template; default: the one that fits the model.")
  private Optional<String> template = Optional.empty();

  @Option(names = "--quantization-bit", paramLabel = "4", description = "Keep the base's linear layers in NF4.")
  private Optional<Integer> bits = Optional.empty();

  @Option(names = "--compute-dtype", paramLabel = "DTYPE", defaultValue = "fp32", description = "fp32 or bf16 (${DEFAULT-VALUE}).")
  private String compute;

  @Option(names = "--context", paramLabel = "N", defaultValue = "0",
      description = "Most tokens of prompt and answer together; default: the model's own, at most 4096.")
  private int context;

  @Option(names = "--max-new-tokens", paramLabel = "N", defaultValue = "256", description = "Longest answer (${DEFAULT-VALUE}).")
  private int maxNewTokens;

  @Option(names = "--temperature", paramLabel = "T", defaultValue = "0",
      description = "0 takes the likeliest token (${DEFAULT-VALUE}); higher is more varied.")
  private double temperature;

  @Option(names = "--top-p", paramLabel = "P", defaultValue = "1", description = "Nucleus of the choice (${DEFAULT-VALUE}).")
  private double topP;

  @Option(names = "--seed", paramLabel = "N", defaultValue = "42", description = "Seed of the choice (${DEFAULT-VALUE}).")
  private long seed;

  int maxNewTokens() {
    if (maxNewTokens < 1) {
      throw UserError.of("--max-new-tokens is %d; want at least 1", maxNewTokens);
    }
    return maxNewTokens;
  }

  Sampling sampling() {
    try {
      return new Sampling(temperature, topP, seed);
    } catch (IllegalArgumentException e) {
      throw new UserError(e.getMessage(), e);
    }
  }

  Assistant open(boolean chat) {
    if (!Files.isDirectory(folder)) {
      throw UserError.of("%s is not a folder; give a model's or an adapter's", folder);
    }
    boolean adapter = Assistant.isAdapter(folder);
    Path model = base.orElseGet(() -> adapter ? baseOf(folder) : folder);
    if (bits.isPresent() && bits.get() != 4) {
      throw UserError.of("--quantization-bit is %d; want 4", bits.get());
    }
    if (!compute.equals("fp32") && !compute.equals("bf16")) {
      throw UserError.of("--compute-dtype is `%s`; want fp32 or bf16", compute);
    }
    return Assistant.open(
        new Assistant.Options(
            model,
            adapter && !noAdapter ? Optional.of(folder) : Optional.empty(),
            template,
            bits.isPresent() ? Storage.NF4_DOUBLE_QUANTISED : Storage.AS_STORED,
            compute.equals("bf16") ? DType.BF16 : DType.F32,
            context),
        chat);
  }

  private static Path baseOf(Path adapter) {
    String named = PeftConfig.read(adapter).baseModel();
    Path model = Path.of(named == null ? "" : named);
    if (named == null || !Files.isDirectory(model)) {
      throw UserError.of("%s names the base model %s, which is no folder here; give it with --base", adapter, named);
    }
    return model;
  }
}
