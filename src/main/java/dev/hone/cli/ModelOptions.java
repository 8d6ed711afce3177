package dev.hone.cli;

import dev.hone.config.HubCache;
import dev.hone.config.UserError;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.Optional;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;
import picocli.CommandLine.Parameters;

/** The options of generate and chat: which model, how it talks. */
final class ModelOptions {
  @Parameters(index = "0", paramLabel = "MODEL",
      description = "Folder of a Hugging Face model, or an id in the Hugging Face cache.")
  private String model;

  @Option(names = "--adapter", paramLabel = "DIR",
      description = "PEFT LoRA adapter to put on it, such as an output_dir.")
  private Optional<Path> adapter = Optional.empty();

  @Option(names = "--template", paramLabel = "NAME",
      description = "Chat template; default: the one that fits the model.")
  private Optional<String> template = Optional.empty();

  @Option(names = "--system", paramLabel = "TEXT", description = "System text of the conversation.")
  private Optional<String> system = Optional.empty();

  @Option(names = "--max-new-tokens", paramLabel = "N", defaultValue = "256",
      description = "Longest answer (${DEFAULT-VALUE}).")
  private int maxNewTokens;

  @Option(names = "--temperature", paramLabel = "T", defaultValue = "0",
      description = "0 takes the likeliest token; higher is more varied (${DEFAULT-VALUE}).")
  private double temperature;

  @Option(names = "--top-p", paramLabel = "P", defaultValue = "1",
      description = "Choose among the likeliest tokens that together have this probability (${DEFAULT-VALUE}).")
  private double topP;

  @Option(names = "--seed", paramLabel = "N", defaultValue = "42", description = "Of the choices (${DEFAULT-VALUE}).")
  private long seed;

  @Option(names = "--quantization-bit", paramLabel = "4|8", description = "Keep the linear layers as NF4 or int8.")
  private Optional<Integer> quantizationBit = Optional.empty();

  @Option(names = "--no-layer-cache", description = "Quantise in memory instead of keeping the quantised base in a file.")
  private boolean noLayerCache;

  @Mixin private DeviceOptions device;

  @Option(names = "--threads", paramLabel = "N", defaultValue = "0", description = "CPU threads; 0: one for each core.")
  private int threads;

  /** The options, checked. */
  Talking.Setup setup() {
    if (adapter.isPresent() && !Files.isDirectory(adapter.get())) {
      throw UserError.of("--adapter: %s is not a folder; give the folder of a PEFT adapter", adapter.get());
    }
    require(maxNewTokens >= 1, "--max-new-tokens", maxNewTokens, "an integer of at least 1");
    require(temperature >= 0 && temperature <= Double.MAX_VALUE, "--temperature", temperature,
        "a number of at least 0");
    require(topP > 0 && topP <= 1, "--top-p", topP, "a number above 0 up to 1");
    require(threads >= 0, "--threads", threads, "an integer of at least 0");
    int bits = quantizationBit.orElse(0);
    require(quantizationBit.isEmpty() || bits == 4 || bits == 8, "--quantization-bit", bits, "4 or 8");
    return new Talking.Setup(
        folder(), adapter, template, system, maxNewTokens, temperature, topP, seed, bits, !noLayerCache,
        device.compute(), device.choice(), threads);
  }

  private Path folder() {
    Path folder = Path.of(model);
    return Files.isDirectory(folder)
        ? folder
        : HubCache.find(model).orElseThrow(() -> UserError.of(
            "%s is neither a folder nor in the Hugging Face cache; download the model and give its folder", model));
  }

  private static void require(boolean good, String option, Object value, String want) {
    if (!good) {
      throw UserError.of("%s is `%s`; want %s", option, value, want);
    }
  }
}
