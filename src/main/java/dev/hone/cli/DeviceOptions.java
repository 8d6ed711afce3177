package dev.hone.cli;

import dev.hone.config.DeviceChoice;
import dev.hone.config.Rivalry;
import dev.hone.config.UserError;
import dev.hone.tensor.DType;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.Option;

/** Where a command computes, and in what. */
final class DeviceOptions {
  @Option(names = "--device", paramLabel = "DEVICE", defaultValue = "auto",
      description = "auto, cpu, cuda or cuda:N (${DEFAULT-VALUE}: a card when there is one that can serve).")
  private String device;

  @Option(names = "--driver", paramLabel = "PATH",
      description = "CUDA driver library; default: HONE_CUDA_DRIVER, else the system's.")
  private Optional<String> driver = Optional.empty();

  @Option(names = "--cuda-products", paramLabel = "WHO", defaultValue = "auto",
      description = "auto, ptx or cublaslt (${DEFAULT-VALUE}); as the setting cuda_products.")
  private String products;

  @Option(names = "--cuda-kernels", paramLabel = "WHO", defaultValue = "auto",
      description = "auto, ptx or nvrtc (${DEFAULT-VALUE}); as the setting cuda_kernels.")
  private String kernels;

  @Option(names = "--cuda-graphs", paramLabel = "WHEN", defaultValue = "auto",
      description = "auto, on or off (${DEFAULT-VALUE}); as the setting cuda_graphs.")
  private String graphs;

  @Option(names = "--compute-dtype", paramLabel = "DTYPE", defaultValue = "fp32",
      description = "fp32, bf16 or fp16 (${DEFAULT-VALUE}); as the setting compute_dtype.")
  private String computeDtype;

  /** The wanted dtype of activations. */
  DType compute() {
    require("--compute-dtype", computeDtype, "fp32", "bf16", "fp16");
    return switch (computeDtype) {
      case "bf16" -> DType.BF16;
      case "fp16" -> DType.F16;
      default -> DType.F32;
    };
  }

  DeviceChoice choice() {
    DeviceChoice choice =
        DeviceChoice.parse(device)
            .orElseThrow(() -> UserError.of("--device is `%s`; want %s", device, DeviceChoice.WANT));
    require("--cuda-products", products, "auto", "ptx", "cublaslt");
    require("--cuda-kernels", kernels, "auto", "ptx", "nvrtc");
    require("--cuda-graphs", graphs, "auto", "on", "off");
    return driver.map(choice::withDriver).orElse(choice).withRivalry(Rivalry.of(products, kernels, graphs));
  }

  private static void require(String option, String word, String... words) {
    if (!List.of(words).contains(word)) {
      throw UserError.of("%s is `%s`; want %s, %s or %s", option, word, words[0], words[1], words[2]);
    }
  }
}
