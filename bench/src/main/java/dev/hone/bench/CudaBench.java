package dev.hone.bench;

import dev.hone.config.Rivalry;
import dev.hone.config.UserError;
import dev.hone.kernel.NativeException;
import dev.hone.kernel.cuda.CudaKernels;
import dev.hone.tensor.DType;
import java.io.IOException;
import java.nio.file.Path;
import java.util.HashMap;
import java.util.List;
import java.util.Map;

/**
 * Times a card's ops and a training step; bench/gpu.sh runs it.
 *
 * <pre>CudaBench out=rows.csv [shape=7b|tiny] [driver=PATH] [against=torch.csv] [products=auto|ptx|cublaslt]
 *           [kernels=auto|ptx|nvrtc] [what=ops|step|all|none] [by=hone] [date=...] [commit=...] [version=...]</pre>
 *
 * {@code by} names the rows' maker, {@code version} is the driver's; {@code what=none} only opens the card.
 */
public final class CudaBench {
  private static final List<Integer> BATCHES = List.of(512, 2048, 8192);

  private CudaBench() {}

  public static void main(String[] args) throws IOException {
    Map<String, String> given = new HashMap<>();
    for (String arg : args) {
      String[] pair = arg.split("=", 2);
      if (pair.length < 2) {
        throw new IllegalArgumentException(arg + ": want name=value");
      }
      given.put(pair[0], pair[1]);
    }
    System.exit(run(given));
  }

  private static int run(Map<String, String> given) throws IOException {
    String name = given.getOrDefault("shape", "7b");
    String what = given.getOrDefault("what", "all");
    Rivalry rivalry = Rivalry.of(given.getOrDefault("products", "auto"), given.getOrDefault("kernels", "auto"), "off");
    boolean tiny = name.equals("tiny");
    Shape shape = Shape.ofCard(name);
    try (CudaKernels card = CudaKernels.open(given.get("driver"), 0, rivalry, DType.F32)) {
      System.out.println(card.describe());
      List<String> machine = List.of(
          given.getOrDefault("date", ""), card.card().name(), given.getOrDefault("version", "").isBlank() ? "CUDA "
          + card.card().cudaVersion() : given.get("version"),
          given.getOrDefault("commit", ""), given.getOrDefault("by", "hone"));
      String against = given.get("against");
      CudaRows rows = new CudaRows(Path.of(given.get("out")), machine, against == null ? null : Path.of(against));
      if (what.equals("ops") || what.equals("all")) {
        Timing timing = tiny ? Timing.once(card) : Timing.thorough(card);
        new CudaOps(card, timing, rows, shape).run(tiny ? List.of(shape.length()) : BATCHES);
      }
      if (what.equals("step") || what.equals("all")) {
        CudaStep.run(card, rows, name, shape, tiny ? 1 : 3, tiny ? 1 : 5);
      }
      card.remarks().forEach(System.out::println);
      return 0;
    } catch (UserError | NativeException e) {
      System.err.println("CudaBench: " + e.getMessage());
      return 1;
    }
  }
}
