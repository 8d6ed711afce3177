package dev.hone.train;

import dev.hone.config.TrainConfig;
import dev.hone.config.UserError;
import dev.hone.format.PeftConfig;
import dev.hone.model.Projection;
import java.util.Arrays;
import java.util.List;

/** The adapter that a run's settings ask for. */
final class NewAdapter {
  private NewAdapter() {}

  /** @throws UserError when lora_target names a layer that there is not */
  static PeftConfig config(TrainConfig config) {
    TrainConfig.Lora lora = config.lora();
    List<String> known = Arrays.stream(Projection.values()).map(Projection::target).toList();
    List<String> targets = lora.allTargets() ? known : lora.targets();
    for (String target : targets) {
      if (!known.contains(target)) {
        throw UserError.of(
            "%s: lora_target `%s` is no linear layer of this model; it has %s",
            config.where("lora_target"), target, String.join(", ", known));
      }
    }
    String base = config.model().directory().toString();
    return PeftConfig.of(base, lora.rank(), lora.alpha(), lora.dropout(), targets, lora.rslora());
  }
}
