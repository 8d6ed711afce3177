package dev.hone.format;

import dev.hone.config.UserError;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Collection;
import java.util.Collections;
import java.util.Comparator;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;

/**
 * The weights of a Hugging Face model folder: model.safetensors, or shards listed by model.safetensors.index.json.
 * Files are mapped, not read: a tensor is a view of its file wherever it is aligned, and pages come in when they are
 * touched.
 *
 * <p>Linear weights of a checkpoint that bitsandbytes has quantised to NF4 come as NF4 tensors by {@link #weight}.
 */
public final class Checkpoint implements AutoCloseable {
  private static final String SINGLE = "model.safetensors";
  private static final String INDEX = "model.safetensors.index.json";
  private static final int LISTED = 5;

  private final Path folder;
  private final Arena arena;
  private final boolean ownsArena;
  private final Map<String, SafetensorsFile> files;

  private Checkpoint(Path folder, Arena arena, boolean ownsArena, Map<String, SafetensorsFile> files) {
    this.folder = folder;
    this.arena = arena;
    this.ownsArena = ownsArena;
    this.files = files;
  }

  /**
   * As {@link #open(Path, Arena)} with an arena of its own, which {@link #close} ends together with all tensors given
   * out.
   */
  public static Checkpoint open(Path folder) {
    Arena arena = Arena.ofShared();
    try {
      return new Checkpoint(folder, arena, true, map(folder, arena));
    } catch (RuntimeException | Error e) {
      arena.close();
      throw e;
    }
  }

  /**
   * Maps all files and checks every header and the index against the files.
   *
   * @param arena holds the mappings and all tensors; {@link #close} leaves it open
   * @throws UserError when weights, shards or tensors are missing, unlisted or garbled; it lists which
   */
  public static Checkpoint open(Path folder, Arena arena) {
    return new Checkpoint(folder, arena, false, map(folder, arena));
  }

  private static Map<String, SafetensorsFile> map(Path folder, Arena arena) {
    if (!Files.isDirectory(folder)) {
      throw HfConfig.noFolder(folder);
    }
    if (Files.exists(folder.resolve(SINGLE))) {
      var file = SafetensorsFile.open(folder.resolve(SINGLE), arena);
      var files = new LinkedHashMap<String, SafetensorsFile>();
      file.names().forEach(name -> files.put(name, file));
      return files;
    }
    if (Files.exists(folder.resolve(INDEX))) {
      return mapShards(folder, arena);
    }
    throw noWeights(folder);
  }

  private static Map<String, SafetensorsFile> mapShards(Path folder, Arena arena) {
    Path index = folder.resolve(INDEX);
    var weightMap = JsonFile.read(index).path("weight_map");
    if (!weightMap.isObject() || weightMap.isEmpty()) {
      throw new UserError(index + ": weight_map is missing or empty; fetch the file again");
    }
    var shardOf = new LinkedHashMap<String, String>();
    weightMap.properties().forEach(e -> shardOf.put(e.getKey(), e.getValue().asText()));
    var names = new TreeSet<>(shardOf.values());
    List<String> absent = names.stream().filter(name -> !Files.exists(folder.resolve(name))).toList();
    if (!absent.isEmpty()) {
      throw UserError.of(
          "%s: %d of %d shards are missing: %s; fetch them", folder, absent.size(), names.size(), listed(absent));
    }
    var shards = new LinkedHashMap<String, SafetensorsFile>();
    names.forEach(name -> shards.put(name, SafetensorsFile.open(folder.resolve(name), arena)));
    var missing = new ArrayList<String>();
    var files = new LinkedHashMap<String, SafetensorsFile>();
    shardOf.forEach(
        (tensor, shard) -> {
          if (shards.get(shard).has(tensor)) {
            files.put(tensor, shards.get(shard));
          } else {
            missing.add(tensor + " (" + shard + ")");
          }
        });
    if (!missing.isEmpty()) {
      throw UserError.of(
          "%s: %d tensors are not in the shard that %s names: %s; index and shards do not belong together,"
              + " fetch them again",
          folder, missing.size(), INDEX, listed(missing));
    }
    var unlisted = new ArrayList<String>();
    shards.forEach(
        (shard, file) ->
            file.names().stream()
                .filter(tensor -> files.get(tensor) != file)
                .forEach(tensor -> unlisted.add(tensor + " (" + shard + ")")));
    if (!unlisted.isEmpty()) {
      throw UserError.of(
          "%s: %d tensors are not listed by %s: %s; index and shards do not belong together, fetch them again",
          folder, unlisted.size(), INDEX, listed(unlisted));
    }
    return files;
  }

  private static UserError noWeights(Path folder) {
    List<String> names;
    try (var list = Files.list(folder)) {
      names = list.map(path -> path.getFileName().toString()).sorted().toList();
    } catch (IOException e) {
      return new UserError(folder + ": cannot be read: " + JsonFile.reason(e), e);
    }
    List<String> pickled =
        names.stream().filter(n -> n.endsWith(".bin") || n.endsWith(".pt") || n.endsWith(".pth")).toList();
    if (!pickled.isEmpty()) {
      return UserError.of(
          "%s: holds only pickled weights (%s), which Hone does not load; convert them to safetensors first:"
              + " AutoModelForCausalLM.from_pretrained(DIR).save_pretrained(DIR) with transformers",
          folder, listed(pickled));
    }
    if (names.contains("adapter_model.safetensors")) {
      return new UserError(
          folder
              + ": is a PEFT adapter, not a model; give the base model's folder as model_name_or_path and this one"
              + " as adapter_name_or_path");
    }
    return new UserError(folder + ": has neither " + SINGLE + " nor " + INDEX);
  }

  private static String listed(Collection<String> names) {
    String first = String.join(", ", names.stream().limit(LISTED).toList());
    return names.size() <= LISTED ? first : first + " and " + (names.size() - LISTED) + " more";
  }

  public Path folder() {
    return folder;
  }

  /**
   * Tells this checkpoint from any other without reading its weights: SHA-256 over each file's name, size, time of writing and
   * safetensors header, in the order of the names. Writing a file anew changes it; changing weights in place under an old time does
   * not, which no tool does.
   */
  public String fingerprint() {
    MessageDigest digest;
    try {
      digest = MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
    files.values().stream().distinct().sorted(Comparator.comparing(SafetensorsFile::path)).forEach(f -> f.stamp(digest));
    return HexFormat.of().formatHex(digest.digest());
  }

  public boolean has(String name) {
    return files.containsKey(name);
  }

  /** All stored tensors, the side data of quantised weights among them. */
  public Set<String> names() {
    return Collections.unmodifiableSet(files.keySet());
  }

  /** The stored type of a tensor; for an NF4 weight the type its codes are stored as. */
  public StoredType type(String name) {
    return file(name).type(name);
  }

  public long[] shape(String name) {
    return file(name).shape(name);
  }

  /** Whether the weight is stored as 4-bit codes with side data. */
  public boolean isQuantised(String name) {
    return has(name + ".absmax");
  }

  /**
   * A float tensor (F32, F16 or BF16) as it is stored, not copied where it is aligned. Read-only memory.
   *
   * @param wantShape what the model's config asks for; none: whatever the file has
   * @throws UserError when it is missing or has another shape or type
   */
  public Tensor tensor(String name, long... wantShape) {
    var entry = file(name).entry(name);
    DType dtype = entry.type().dtype().filter(DType::isFloat).orElse(null);
    if (dtype == null) {
      throw UserError.of(
          "%s: %s is stored as %s; Hone reads F32, F16 and BF16%s", file(name).path(), name, entry.type(),
          isQuantised(name) ? " here, this one is quantised" : "");
    }
    if (wantShape.length > 0 && !Arrays.equals(wantShape, entry.shape())) {
      throw UserError.of(
          "%s: %s is %s, config.json asks for %s; weights and config do not belong together",
          file(name).path(), name, Arrays.toString(entry.shape()), Arrays.toString(wantShape));
    }
    long[] shape = entry.shape().length == 0 ? new long[] {1} : entry.shape();
    return Tensor.of(arena, name, dtype, aligned(name), shape);
  }

  /**
   * A linear layer's weight: an NF4 tensor with its side data where the checkpoint is quantised so, else a float
   * tensor.
   *
   * @param out output features, rows
   * @param in input features
   */
  public Tensor weight(String name, long out, long in) {
    return isQuantised(name) ? Nf4Weights.read(this, name, out, in) : tensor(name, out, in);
  }

  SafetensorsFile file(String name) {
    SafetensorsFile file = files.get(name);
    if (file == null) {
      // Checkpoints of another wrapping class differ in the front of their names: showing one tells the reader so.
      String last = name.substring(name.lastIndexOf('.', name.lastIndexOf('.') - 1) + 1);
      var like = files.keySet().stream().filter(other -> other.endsWith(last)).findFirst();
      throw new UserError(
          folder + ": the tensor " + name + " is missing" + like.map(other -> "; there is " + other).orElse(""));
    }
    return file;
  }

  /** The bytes of a tensor on an address that its elements can be read from: the mapping itself, else a copy. */
  MemorySegment aligned(String name) {
    MemorySegment mapped = file(name).bytes(name);
    int element = type(name).bytes();
    if (mapped.address() % element == 0) {
      return mapped;
    }
    return arena.allocate(Math.max(1, mapped.byteSize()), 64).copyFrom(mapped);
  }

  Arena arena() {
    return arena;
  }

  /** Unmaps the files where this checkpoint owns its arena: no tensor of it may be used afterwards. */
  @Override
  public void close() {
    if (ownsArena) {
      arena.close();
    }
  }
}
