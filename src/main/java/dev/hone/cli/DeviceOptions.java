package dev.hone.cli;

import dev.hone.config.DeviceChoice;
import dev.hone.config.UserError;
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

  DeviceChoice choice() {
    DeviceChoice choice =
        DeviceChoice.parse(device)
            .orElseThrow(() -> UserError.of("--device is `%s`; want %s", device, DeviceChoice.WANT));
    return driver.map(choice::withDriver).orElse(choice);
  }
}
