package dev.hone.engine;

import dev.hone.format.LayerCacheFile;
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
import java.util.List;

/**
 * A base whose frozen weights lie in the plan's arena: blobs of the layer cache that stay were copied in once, the layers below them
 * take turns in the slots, layer n in slot n modulo their number, and a head that does not stay passes through slots of its own.
 * Frozen weights only ever travel to the device.
 */
final class ArenaBase implements WeightSource, LayerWalk {
  private static final int NOTHING = -1;

  private final LayerCacheFile file;
  private final Arena arena;
  private final Plan.Memory memory;
  private final int streamed;
  private final boolean tied;
  private final List<Tensor> blobs = new ArrayList<>();
  private final BlobStream stream;
  private final int[] holds;
  private final Slabs head;

  ArenaBase(Kernels kernels, LayerCache cache, ModelSpec spec, Layout layout, Plan.Memory memory, Arena arena) {
    file = cache.file();
    this.arena = arena;
    this.memory = memory;
    streamed = spec.layers() - layout.residentLayers();
    tied = spec.tiedHead();
    for (int layer = streamed; layer < spec.layers(); layer++) {
      put("weights.layers." + layer, LayerCache.layer(layer));
    }
    put("weights.final", LayerCache.FINAL);
    if (layout.embedding()) {
      put("weights.embedding", LayerCache.EMBEDDING);
    }
    if (memory.has("weights.head")) {
      put("weights.head", tied ? LayerCache.EMBEDDING : LayerCache.HEAD);
    }
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
    java.util.Arrays.fill(holds, NOTHING);
    for (int layer = 0; layer < streamed; layer++) {
      blobs.add(file.blob(LayerCache.layer(layer)));
    }
    stream = slots.isEmpty() ? null : kernels.blobStream(slots, TrainingPlan.RING_BYTES);
    head = layout.head() ? null : new Slabs(stream, holds.length, slabs, file.tensor(headName(spec)), arena);
  }

  private static String headName(ModelSpec spec) {
    return spec.tiedHead() ? "model.embed_tokens.weight" : spec.headName();
  }

  private void put(String buffer, String segment) {
    Tensor blob = file.blob(segment);
    memory.tensor(buffer).rows(blob.bytes()).copyFrom(blob);
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
    return place == null ? file.tensor(name) : file.tensorIn(arena, name, place);
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
        ? file.tensorIn(arena, headName(spec), memory.tensor("weights.head")) : tensor(headName(spec));
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
