package dev.hone.engine;

import dev.hone.model.Tuning;

/** An adapter that is at work from the first step on: B is not zero, so that A has gradients too. */
final class StirredAdapter {
  private StirredAdapter() {}

  static void fill(Parameters parameters, Tuning.Lora lora, long seed) {
    AdapterStart.fill(parameters, lora, seed);
    for (Parameters.Parameter p : parameters.all()) {
      if (p.name().contains("lora_B")) {
        float[] b = p.value().toFloats();
        for (int i = 0; i < b.length; i++) {
          b[i] = (i % 7 - 3) * 0.01f;
        }
        p.value().set(b);
      }
    }
  }
}
