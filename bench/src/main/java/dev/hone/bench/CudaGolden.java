package dev.hone.bench;

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import dev.hone.config.UserError;
import dev.hone.data.Example;
import dev.hone.data.MicroBatch;
import dev.hone.engine.Adapters;
import dev.hone.engine.BaseModel;
import dev.hone.engine.Model;
import dev.hone.engine.Parameters;
import dev.hone.engine.Storage;
import dev.hone.format.PeftConfig;
import dev.hone.format.SafetensorsFile;
import dev.hone.kernel.NativeException;
import dev.hone.kernel.cuda.CudaKernels;
import dev.hone.model.Tuning;
import dev.hone.plan.StepShape;
import dev.hone.tensor.DType;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Locale;
import java.util.stream.Stream;

/**
 * The golden models on a card, from the jar alone: losses and LoRA gradients against those of transformers + PEFT in
 * fp32.
 *
 * <pre>CudaGolden folder [driver]</pre>
 *
 * The bounds are those of CardGoldenTest: 1 % of a loss; a cosine of 0.998 between each tensor's gradient and the
 * reference in bf16, 0.999 in f16. Gradients are scaled up, which keeps those of f16 above its smallest number and
 * changes no angle.
 */
public final class CudaGolden {
  private static final double LOSS = 1e-2;
  private static final float SCALE = 1024;

  private final CudaKernels card;
  private int wrong;

  private CudaGolden(CudaKernels card) {
    this.card = card;
  }

  public static void main(String[] args) throws IOException {
    try (CudaKernels card = CudaKernels.open(args.length > 1 ? args[1] : null, 0)) {
      System.out.println(card.describe());
      CudaGolden golden = new CudaGolden(card);
      List<Path> folders;
      try (Stream<Path> found = Files.walk(Path.of(args[0]), 2)) {
        folders = found.filter(f -> Files.exists(f.resolve("golden/lora_grads.safetensors"))).sorted().toList();
      }
      for (Path folder : folders) {
        golden.check(folder);
      }
      System.out.printf("%d models, %s%n", folders.size(), golden.wrong == 0 ? "all good" : golden.wrong
          + " out of bounds");
      System.exit(golden.wrong == 0 && !folders.isEmpty() ? 0 : 1);
    } catch (UserError | NativeException e) {
      System.err.println("CudaGolden: " + e.getMessage());
      System.exit(1);
    }
  }

  private void check(Path folder) throws IOException {
    Path golden = folder.resolve("golden");
    JsonNode cases = new ObjectMapper().readTree(golden.resolve("golden.json").toFile()).path("cases");
    try (Arena arena = Arena.ofShared(); BaseModel base = BaseModel.open(folder); Model model = open(base, golden)) {
      SafetensorsFile forward = SafetensorsFile.open(golden.resolve("forward.safetensors"), arena);
      SafetensorsFile gradients = SafetensorsFile.open(golden.resolve("lora_grads.safetensors"), arena);
      for (String name : List.of("plain", "padded", "packed")) {
        MicroBatch batch = batch(forward, name);
        model.parameters().zeroGradients();
        double loss = model.train(batch, SCALE / batch.validTargets(), 0, 0) / batch.validTargets();
        double want = cases.path(name).path("lora_loss").asDouble();
        double cosine = leastCosine(model, gradients, name);
        double bound = card.computeDtype(DType.BF16) == DType.BF16 ? 0.998 : 0.999;
        boolean good = Math.abs(loss - want) <= LOSS * want && cosine > bound;
        wrong += good ? 0 : 1;
        System.out.printf(
            Locale.ROOT, "%-22s %-7s loss %.5f for %.5f, least cosine of a gradient %.5f%s%n", folder.getFileName(),
            name,
            loss, want, cosine, good ? "" : "  OUT OF BOUNDS");
      }
    }
  }

  private Model open(BaseModel base, Path golden) {
    Path folder = golden.resolve("adapter_init");
    try (Arena arena = Arena.ofConfined()) {
      Tuning.Lora lora = Adapters.tuning(base.spec(), PeftConfig.read(folder), 0f);
      StepShape step = new StepShape(card.computeDtype(DType.BF16), true, 256, 8, 256);
      Model model = Model.open(card, base.spec(), base, lora, Storage.AS_STORED, step);
      SafetensorsFile adapter = SafetensorsFile.open(folder.resolve("adapter_model.safetensors"), arena);
      for (Parameters.Parameter p : model.parameters().all()) {
        p.value().set(adapter.floats(p.name()));
      }
      return model;
    }
  }

  private static double leastCosine(Model model, SafetensorsFile gradients, String name) {
    double least = 1;
    for (Parameters.Parameter p : model.parameters().all()) {
      float[] got = p.gradient().toFloats();
      float[] want = gradients.floats(name + "/" + p.name());
      double dot = 0;
      double gg = 0;
      double ww = 0;
      for (int i = 0; i < got.length; i++) {
        dot += (double) got[i] * want[i];
        gg += (double) got[i] * got[i];
        ww += (double) want[i] * want[i];
      }
      double cosine = dot / Math.sqrt(gg * ww);
      least = Double.isNaN(cosine) ? -1 : Math.min(least, cosine);
    }
    return least;
  }

  /** A case's rows without padding; a packed row is one whose documents begin where positions restart. */
  private static MicroBatch batch(SafetensorsFile forward, String name) {
    long[] ids = forward.longs(name + ".input_ids");
    long[] labels = forward.longs(name + ".labels");
    int width = (int) forward.shape(name + ".input_ids")[1];
    boolean packed = name.equals("packed");
    long[] kept = forward.longs(name + (packed ? ".position_ids" : ".attention_mask"));
    List<Example> rows = new ArrayList<>();
    for (int from = 0; from < ids.length; from += width) {
      int n = 0;
      while (n < width && (packed || kept[from + n] != 0)) {
        n++;
      }
      int[] rowIds = ints(ids, from, n);
      rows.add(packed ? new Example(rowIds, ints(labels, from, n), ints(kept, from, n))
          : Example.of(rowIds, ints(labels, from, n)));
    }
    return MicroBatch.of(rows);
  }

  private static int[] ints(long[] values, int from, int n) {
    int[] out = new int[n];
    for (int i = 0; i < n; i++) {
      out[i] = Math.toIntExact(values[from + i]);
    }
    return out;
  }
}
