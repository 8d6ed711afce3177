package dev.hone.engine;

import dev.hone.kernel.Slabs;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.List;

/** The columns (1,S) of logits (1,V) that each slab of a head makes; none when the head is whole. */
final class LogitParts {
  private final List<Tensor> parts = new ArrayList<>();

  LogitParts(Tensor logits, Slabs slabs, Arena arena) {
    if (slabs == null) {
      return;
    }
    Tensor flat = logits.view(arena, logits.name(), 0, logits.elements());
    for (int slab = 0; slab < slabs.count(); slab++) {
      long first = slabs.first(slab);
      parts.add(flat.view(arena, logits.name(), first, 1, Math.min(slabs.slabRows(), slabs.rows() - first)));
    }
  }

  Tensor of(int slab) {
    return parts.get(slab);
  }
}
