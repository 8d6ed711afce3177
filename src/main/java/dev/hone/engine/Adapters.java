package dev.hone.engine;

import dev.hone.format.PeftAdapter;
import dev.hone.format.PeftConfig;
import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.model.Projection;
import dev.hone.model.Tuning;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.List;
import java.util.Set;

/** Adapters as PEFT describes them, joined to a model's linear layers. */
public final class Adapters {
  private Adapters() {}

  /**
   * The layers that a PEFT config adapts in a model of this shape.
   *
   * @param dropout of the coming training; 0 for generation
   * @throws dev.hone.config.UserError when no layer fits the config's targets
   */
  public static Tuning.Lora tuning(ModelSpec spec, PeftConfig config, float dropout) {
    List<String> modules = spec.linears().stream().map(PeftAdapter.Linear::module).toList();
    Set<String> chosen = new HashSet<>(config.resolve(modules));
    List<Tuning.Lora.Target> targets = new ArrayList<>();
    for (int layer = 0; layer < spec.layers(); layer++) {
      for (Projection p : Projection.values()) {
        String module = p.module(layer);
        if (chosen.contains(module)) {
          targets.add(new Tuning.Lora.Target(layer, p, config.rank(module), config.scale(module)));
        }
      }
    }
    return new Tuning.Lora(List.copyOf(targets), dropout);
  }

  /** Copies an adapter's matrices into the parameters that {@link #tuning} of its config made. */
  public static void load(PeftAdapter adapter, Parameters parameters) {
    for (PeftAdapter.Pair pair : adapter.pairs().values()) {
      parameters.get(ParameterShape.loraA(pair.module())).value().set(pair.a().toFloats());
      parameters.get(ParameterShape.loraB(pair.module())).value().set(pair.b().toFloats());
    }
  }

  /** Writes the parameters as a PEFT adapter. */
  public static void save(Path folder, PeftConfig config, Tuning.Lora lora, Parameters parameters) {
    List<PeftAdapter.Pair> pairs = new ArrayList<>();
    for (Tuning.Lora.Target target : lora.targets()) {
      String module = target.module();
      pairs.add(
          new PeftAdapter.Pair(
              module,
              parameters.get(ParameterShape.loraA(module)).value(),
              parameters.get(ParameterShape.loraB(module)).value()));
    }
    PeftAdapter.write(folder, config, pairs);
  }
}
