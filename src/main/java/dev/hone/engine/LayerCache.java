package dev.hone.engine;

import dev.hone.config.UserError;
import dev.hone.format.LayerCacheFile;
import dev.hone.format.LayerCacheIndex;
import dev.hone.format.LayerCacheWriter;
import dev.hone.kernel.Kernels;
import dev.hone.model.ModelSpec;
import dev.hone.model.ParameterShape;
import dev.hone.plan.BlobBytes;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.attribute.FileTime;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.function.Consumer;
import java.util.function.Predicate;

/**
 * A base model in the form the engine uses, mapped from one file that is made on first use: linear layers quantised, norms and biases
 * f32, embedding and head as stored. A file belongs to its source's fingerprint and to the form of its weights; when either changes,
 * another file is made.
 */
public final class LayerCache implements BaseBlobs, AutoCloseable {
  /** Changes when the content of the files does. */
  private static final int VERSION = 1;

  static final String EMBEDDING = "embedding";
  static final String FINAL = "final";
  static final String HEAD = "head";

  private final Arena arena = Arena.ofShared();
  private final LayerCacheFile file;

  private LayerCache(Path path) {
    try {
      file = LayerCacheFile.open(path, arena);
    } catch (RuntimeException | Error e) {
      arena.close();
      throw e;
    }
  }

  /**
   * Maps the cache of a base model, after making it where it is not there yet.
   *
   * @param folder where caches lie
   * @param note hears that a cache is being made, which takes a while
   * @throws UserError when it cannot be written; it says what to do
   */
  public static LayerCache open(Kernels kernels, BaseModel base, Storage storage, Path folder, Consumer<String> note) {
    return open(kernels, base, storage, null, folder, note);
  }

  /**
   * As {@link #open(Kernels, BaseModel, Storage, Path, Consumer)} for a device that reads matrices in one dtype only.
   *
   * @param kernels of the host
   * @param matrices dtype of matrices that are not quantised; null: as stored
   */
  public static LayerCache open(
      Kernels kernels, BaseModel base, Storage storage, DType matrices, Path folder, Consumer<String> note) {
    Path path = path(base, storage, matrices, folder);
    if (!Files.exists(path)) {
      note.accept("making the base's layer cache once: " + path);
      try {
        build(kernels, base, storage, matrices, path);
      } catch (UserError e) {
        throw e.getMessage().startsWith("cannot write") ? new UserError(e.getMessage() + REMEDY, e) : e;
      }
    }
    LayerCache cache = new LayerCache(path);
    touch(path);
    return cache;
  }

  private static final String REMEDY = "; layer_cache_dir chooses another folder, layer_cache: false goes without";

  /** Where the cache of a base lies or would lie. */
  public static Path path(BaseModel base, Storage storage, Path folder) {
    return path(base, storage, null, folder);
  }

  private static Path path(BaseModel base, Storage storage, DType matrices, Path folder) {
    String name = String.valueOf(base.folder().getFileName()).replaceAll("[^A-Za-z0-9._-]", "_");
    return folder.resolve(name + "-" + key(base, storage, matrices).substring(0, 16) + ".hone");
  }

  private static String key(BaseModel base, Storage storage, DType matrices) {
    try {
      MessageDigest digest = MessageDigest.getInstance("SHA-256");
      String all = VERSION + " " + storage + " " + matrices + " " + base.fingerprint() + " " + ParameterShape.ofModel(base.spec());
      return HexFormat.of().formatHex(digest.digest(all.getBytes(StandardCharsets.UTF_8)));
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException(e);
    }
  }

  /**
   * What a cache takes, so that a disk that will not do is found out before an hour of quantising; of matrices that stay as stored the
   * least.
   */
  private static long leastBytes(BaseModel base, Storage storage, DType matrices) {
    return BlobBytes.total(base.spec(), p -> UncachedBase.form(base, storage, p), matrices == null ? DType.BF16 : matrices);
  }

  private static void build(Kernels kernels, BaseModel base, Storage storage, DType matrices, Path path) {
    Map<String, String> about = new LinkedHashMap<>();
    about.put("source", base.folder().toAbsolutePath().toString());
    about.put("fingerprint", base.fingerprint());
    about.put("architecture", base.spec().architecture());
    about.put("storage", storage.name());
    LayerCacheWriter.write(path, leastBytes(base, storage, matrices), about, content(kernels, base, storage, matrices, segment -> true));
  }

  /**
   * Writes a base's weights tensor by tensor in the form in which a device takes them.
   *
   * @param wanted the segments to write
   */
  static LayerCacheWriter.Content content(
      Kernels kernels, BaseModel base, Storage storage, DType matrices, Predicate<String> wanted) {
    return writer -> {
      // What has been read is let go of, so that a checkpoint larger than memory passes through it.
      WeightSource source = base.isMapped() ? new MappedBase(base, base.spec(), 0) : base;
      String segment = "";
      for (ParameterShape p : ParameterShape.ofModel(base.spec())) {
        if (!wanted.test(segment(p.name()))) {
          continue;
        }
        if (!segment(p.name()).equals(segment)) {
          segment = segment(p.name());
          writer.segment(segment);
        }
        try (Arena passing = Arena.ofShared()) {
          writer.add(tensor(kernels, source, storage, matrices, p, passing));
        }
      }
    };
  }

  /** The segment that a weight belongs to. */
  static String segment(String name) {
    if (name.startsWith("model.layers.")) {
      return layer(Integer.parseInt(name.substring(13, name.indexOf('.', 13))));
    }
    return name.startsWith("model.embed") ? EMBEDDING : name.startsWith("lm_head") ? HEAD : FINAL;
  }

  /** Name of a layer's segment. */
  static String layer(int layer) {
    return "layers." + layer;
  }

  /** One weight in its cached form; what is made for it lives in {@code passing}. */
  private static Tensor tensor(
      Kernels kernels, WeightSource source, Storage storage, DType matrices, ParameterShape p, Arena passing) {
    long[] shape = p.shape().stream().mapToLong(Long::longValue).toArray();
    Tensor counter = Tensor.allocate(passing, "non_finite", DType.F64, 1);
    if (shape.length == 2 && p.name().startsWith("model.layers.")) {
      Tensor weight = ModelWeights.requireFinite(kernels, counter, source.weight(p.name(), shape[0], shape[1]));
      Tensor kept = new Quantizer(kernels, passing).quantise(weight, storage);
      return kept.dtype().isFloat() && matrices != null ? cast(kernels, kept, matrices, passing) : kept;
    }
    Tensor stored = ModelWeights.requireFinite(kernels, counter, source.tensor(p.name(), shape));
    if (shape.length == 2) {
      return matrices == null ? stored : cast(kernels, stored, matrices, passing);
    }
    return cast(kernels, stored, DType.F32, passing);
  }

  private static Tensor cast(Kernels kernels, Tensor stored, DType dtype, Arena passing) {
    if (stored.dtype() == dtype) {
      return stored;
    }
    Tensor out = Tensor.allocate(passing, stored.name(), dtype, stored.shape());
    kernels.cast(out, stored);
    return out;
  }

  /** The file's time says when it was last used, for {@code hone cache}. */
  private static void touch(Path path) {
    try {
      Files.setLastModifiedTime(path, FileTime.fromMillis(System.currentTimeMillis()));
    } catch (IOException e) {
      // A folder of somebody else's: then nobody learns when it was used.
    }
  }

  @Override
  public Tensor tensor(String name, long... shape) {
    return checked(name, shape);
  }

  @Override
  public Tensor weight(String name, long out, long in) {
    return checked(name, out, in);
  }

  private Tensor checked(String name, long... shape) {
    Tensor tensor = file.tensor(name);
    if (!Arrays.equals(tensor.shape(), shape)) {
      throw new IllegalStateException(file.path() + ": " + tensor + ", want " + Arrays.toString(shape));
    }
    return tensor;
  }

  /** The numbers were looked at when the file was made. */
  @Override
  public boolean isChecked() {
    return true;
  }

  @Override
  public boolean isMapped() {
    return true;
  }

  @Override
  public BlobBytes blobs(ModelSpec spec) {
    LayerCacheIndex index = file.index();
    long layer = 0;
    for (int i = 0; i < spec.layers(); i++) {
      layer = Math.max(layer, index.blobBytes(layer(i)));
    }
    return new BlobBytes(layer, index.blobBytes(EMBEDDING), spec.tiedHead() ? 0 : index.blobBytes(HEAD));
  }

  @Override
  public LayerCacheIndex fill(Map<String, Tensor> places) {
    places.forEach((segment, place) -> {
      Tensor blob = file.blob(segment);
      place.rows(blob.bytes()).copyFrom(blob);
    });
    return file.index();
  }

  @Override
  public Tensor blob(String segment) {
    return file.blob(segment);
  }

  public LayerCacheFile file() {
    return file;
  }

  @Override
  public void close() {
    arena.close();
  }

}
