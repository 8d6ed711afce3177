package dev.hone.cli;

import dev.hone.config.DeviceChoice;
import dev.hone.config.Rivalry;
import dev.hone.config.UserError;
import java.util.List;
import java.util.Optional;
import picocli.CommandLine.Option;

/** Where a command computes. */
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

  DeviceChoice choice() {
    DeviceChoice choice =
        DeviceChoice.parse(device)
            .orElseThrow(() -> UserError.of("--device is `%s`; want %s", device, DeviceChoice.WANT));
    require("--cuda-products", products, "cublaslt");
    require("--cuda-kernels", kernels, "nvrtc");
    return driver.map(choice::withDriver).orElse(choice).withRivalry(Rivalry.of(products, kernels));
  }

  private static void require(String option, String word, String rival) {
    if (!List.of("auto", "ptx", rival).contains(word)) {
      throw UserError.of("%s is `%s`; want auto, ptx or %s", option, word, rival);
    }
  }
}
