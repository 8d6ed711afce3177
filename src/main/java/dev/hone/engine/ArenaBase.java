package dev.hone.engine;

import dev.hone.format.LayerCacheIndex;
import dev.hone.kernel.BlobStream;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.Slabs;
import dev.hone.model.ModelSpec;
import dev.hone.plan.Layout;
import dev.hone.plan.Plan;
import dev.hone.plan.TrainingPlan;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * A base whose frozen weights lie in the plan's arena: blobs that stay were copied in once, the layers below them take turns in the
 * slots, layer n in slot n modulo their number, and a head that does not stay passes through slots of its own. Frozen weights only ever
 * travel to the device.
 */
final class ArenaBase implements WeightSource, LayerWalk {
  private static final int NOTHING = -1;

  private final BaseBlobs base;
  private final LayerCacheIndex index;
  private final Arena arena;
  private final Plan.Memory memory;
  private final int streamed;
  private final boolean tied;
  private final List<Tensor> blobs = new ArrayList<>();
  private final BlobStream stream;
  private final int[] holds;
  private final Slabs head;

  ArenaBase(Kernels kernels, BaseBlobs base, ModelSpec spec, Layout layout, Plan.Memory memory, Arena arena) {
    this.base = base;
    this.arena = arena;
    this.memory = memory;
    streamed = spec.layers() - layout.residentLayers();
    tied = spec.tiedHead();
    Map<String, Tensor> places = new LinkedHashMap<>();
    for (int layer = streamed; layer < spec.layers(); layer++) {
      places.put(LayerCache.layer(layer), memory.tensor("weights.layers." + layer));
    }
    places.put(LayerCache.FINAL, memory.tensor("weights.final"));
    if (layout.embedding()) {
      places.put(LayerCache.EMBEDDING, memory.tensor("weights.embedding"));
    }
    if (memory.has("weights.head")) {
      places.put(tied ? LayerCache.EMBEDDING : LayerCache.HEAD, memory.tensor("weights.head"));
    }
    index = base.fill(places);
    List<Tensor> slots = new ArrayList<>();
    for (int slot = 0; slot < Math.min(Layout.SLOTS, streamed); slot++) {
      slots.add(memory.tensor("weights.slot." + slot));
    }
    holds = new int[slots.size()];
    List<Tensor> slabs = new ArrayList<>();
    for (int slot = 0; !layout.head() && slot < TrainingPlan.HEAD_SLOTS; slot++) {
      slabs.add(memory.tensor(TrainingPlan.headSlab(slot)));
    }
    slots.addAll(slabs);
    Arrays.fill(holds, NOTHING);
    for (int layer = 0; layer < streamed; layer++) {
      blobs.add(base.blob(LayerCache.layer(layer)));
    }
    stream = slots.isEmpty() ? null : kernels.blobStream(slots, TrainingPlan.RING_BYTES);
    head = layout.head() ? null : new Slabs(stream, holds.length, slabs, base.tensor(headName(spec), spec.vocab(), spec.hidden()), arena);
  }

  private static String headName(ModelSpec spec) {
    return spec.tiedHead() ? "model.embed_tokens.weight" : spec.headName();
  }

  /** Where a weight's blob is when its layer runs; null: on the host. */
  private Tensor place(String name) {
    String segment = LayerCache.segment(name);
    if (segment.equals(LayerCache.EMBEDDING)) {
      return memory.has("weights.embedding") ? memory.tensor("weights.embedding") : null;
    }
    if (segment.equals(LayerCache.FINAL) || segment.equals(LayerCache.HEAD)) {
      return memory.tensor("weights." + segment);
    }
    int layer = Integer.parseInt(segment.substring("layers.".length()));
    return memory.tensor(layer < streamed ? "weights.slot." + layer % holds.length : "weights.layers." + layer);
  }

  @Override
  public Tensor tensor(String name, long... shape) {
    Tensor place = place(name);
    return place == null ? base.tensor(name, shape) : index.tensorIn(arena, name, place);
  }

  @Override
  public Tensor weight(String name, long out, long in) {
    return tensor(name, out, in);
  }

  /** Whether weights travel while the kernels run. */
  boolean streams() {
    return stream != null;
  }

  /** A head that passes through slots, else null. */
  Slabs headSlabs() {
    return head;
  }

  /** A head on the device; a tied one whose table's rows are gathered on the host has a copy there for the loss. */
  Tensor head(ModelSpec spec) {
    return memory.has("weights.head")
        ? index.tensorIn(arena, headName(spec), memory.tensor("weights.head")) : tensor(headName(spec), spec.vocab(), spec.hidden());
  }

  @Override
  public boolean isChecked() {
    return true;
  }

  @Override
  public boolean isPlaced() {
    return true;
  }

  @Override
  public void before(int layer) {
    if (layer < streamed) {
      bring(layer);
      stream.await(layer % holds.length);
    }
  }

  @Override
  public void after(int layer, int next) {
    if (layer < streamed) {
      stream.release(layer % holds.length);
    }
    if (next >= 0 && next < streamed) {
      bring(next);
    }
  }

  private void bring(int layer) {
    int slot = layer % holds.length;
    if (holds[slot] != layer) {
      stream.fetch(slot, blobs.get(layer));
      holds[slot] = layer;
    }
  }

  @Override
  public void close() {
    if (stream != null) {
      stream.close();
    }
  }
}
