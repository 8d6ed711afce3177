package dev.hone.format;

import dev.hone.config.UserError;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Collections;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;

/**
 * A LoRA adapter as PEFT stores it: adapter_config.json and adapter_model.safetensors with {@code
 * base_model.model.MODULE.lora_A.weight} and {@code .lora_B.weight}.
 *
 * @param config its settings
 * @param pairs the matrices by module name, in the model's order
 */
public record PeftAdapter(PeftConfig config, Map<String, Pair> pairs) {
  private static final String WEIGHTS = "adapter_model.safetensors";
  private static final String PREFIX = "base_model.model.";
  private static final String A = ".lora_A.weight";
  private static final String B = ".lora_B.weight";

  /**
   * The matrices of one module: y += scale B A x.
   *
   * @param module such as {@code model.layers.0.self_attn.q_proj}
   * @param a (R, in)
   * @param b (out, R)
   */
  public record Pair(String module, Tensor a, Tensor b) {}

  /** A linear layer of the model that an adapter may sit on. */
  public record Linear(String module, long out, long in) {}

  /**
   * Reads an adapter for a model with these linear layers. The matrices come as f32 copies in {@code arena}, whatever
   * the file's type is, and the file is closed again.
   *
   * @throws UserError when files, matrices or shapes do not fit the config or the model
   */
  public static PeftAdapter read(Path folder, Arena arena, Collection<Linear> linears) {
    PeftConfig config = PeftConfig.read(folder);
    Path weights = folder.resolve(WEIGHTS);
    if (!Files.exists(weights) && Files.exists(folder.resolve("adapter_model.bin"))) {
      throw new UserError(folder + ": holds only a pickled adapter_model.bin; save it again with safe_serialization");
    }
    List<String> chosen = config.resolve(linears.stream().map(Linear::module).toList());
    try (var mapping = Arena.ofConfined()) {
      var file = SafetensorsFile.open(weights, mapping);
      Map<String, String> stored = storedNames(file);
      var pairs = new LinkedHashMap<String, Pair>();
      var missing = new ArrayList<String>();
      for (Linear linear : linears) {
        String module = linear.module();
        if (!chosen.contains(module)) {
          continue;
        }
        String a = stored.remove(PREFIX + module + A);
        String b = stored.remove(PREFIX + module + B);
        if (a == null || b == null) {
          missing.add(module);
          continue;
        }
        int rank = config.rank(module);
        Tensor left = load(file, a, module + ".lora_A", arena, rank, linear.in());
        Tensor right = load(file, b, module + ".lora_B", arena, linear.out(), rank);
        pairs.put(module, new Pair(module, left, right));
      }
      if (!missing.isEmpty()) {
        throw UserError.of("%s: no lora_A or lora_B for %s, which target_modules names", weights, first(missing));
      }
      if (!stored.isEmpty()) {
        throw UserError.of(
            "%s: %s: no such LoRA module among the model's target_modules", weights, first(stored.values()));
      }
      return new PeftAdapter(config, Collections.unmodifiableMap(pairs));
    }
  }

  /**
   * Names as PEFT 0.21 writes them, to names in the file: some old files have an adapter's name before {@code .weight}.
   */
  private static Map<String, String> storedNames(SafetensorsFile file) {
    var names = new LinkedHashMap<String, String>();
    file.names().forEach(name -> names.put(name.replaceFirst("(\\.lora_[AB])\\.default\\.weight$", "$1.weight"), name));
    return names;
  }

  private static String first(Collection<String> names) {
    String name = new TreeSet<>(names).first();
    return names.size() == 1 ? name : name + " and " + (names.size() - 1) + " more";
  }

  private static Tensor load(SafetensorsFile file, String stored, String name, Arena arena, long rows, long columns) {
    long[] shape = file.shape(stored);
    if (shape.length != 2 || shape[0] != rows || shape[1] != columns) {
      throw UserError.of(
          "%s: %s, the adapter's config and the model ask for [%d, %d]",
          file.path(), file.entry(stored), rows, columns);
    }
    Tensor tensor = Tensor.allocate(arena, name, DType.F32, rows, columns);
    float[] values = file.floats(stored);
    MemorySegment.copy(values, 0, tensor.data(), ValueLayout.JAVA_FLOAT, 0, values.length);
    return tensor;
  }

  /**
   * Writes both files, each atomically, matrices in the tensors' own dtype.
   *
   * @throws UserError when the folder cannot be written
   */
  public static void write(Path folder, PeftConfig config, Collection<Pair> pairs) {
    var writer = new SafetensorsWriter().metadata("format", "pt");
    pairs.stream()
        .sorted(Comparator.comparing(Pair::module))
        .forEach(pair -> writer.add(PREFIX + pair.module + A, pair.a).add(PREFIX + pair.module + B, pair.b));
    writer.write(folder.resolve(WEIGHTS));
    AtomicFiles.writeText(folder.resolve(PeftConfig.FILE), config.toJson());
  }
}
