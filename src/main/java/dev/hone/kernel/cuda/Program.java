package dev.hone.kernel.cuda;

import dev.hone.kernel.cuda.Manifest.Entry;
import dev.hone.kernel.cuda.Manifest.Parameter;
import dev.hone.tensor.DType;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** The kernels for one card by op; a PTX file is loaded when the first of its kernels is wanted. */
final class Program implements AutoCloseable {
  /** CU_FUNC_ATTRIBUTE_MAX_DYNAMIC_SHARED_SIZE_BYTES: must be raised above what every kernel may have. */
  private static final int MAX_DYNAMIC_SHARED = 8;

  private static final int SHARED_WITHOUT_ASKING = 48 << 10;
  /** Bytes of the widest access. */
  private static final int VECTOR = 16;

  private final CudaDevice device;
  private final Card.Tier tier;
  private final Manifest.Files files;
  private final Map<String, Map<DType, Op>> ops = new HashMap<>();
  private final Map<String, MemorySegment> modules = new LinkedHashMap<>();
  private final Launcher launcher;

  /** An op's kernels for one dtype: the same parameters, different tiles. */
  static final class Op {
    private final String name;
    private final List<Parameter> parameters;
    private final List<Kernel> kernels = new ArrayList<>();
    private boolean aligned;

    private Op(Entry first) {
      name = first.op();
      parameters = first.parameters();
    }

    String name() {
      return name;
    }

    List<Parameter> parameters() {
      return parameters;
    }

    List<Kernel> kernels() {
      return kernels;
    }

    /** The one kernel of an op that has no variants. */
    Kernel only() {
      if (kernels.size() != 1) {
        throw new IllegalStateException(name + " has " + kernels.size() + " kernels, want one");
      }
      return kernels.getFirst();
    }

    /**
     * Whether a kernel reads single elements, where another one of this op asks for aligned memory to read 16 bytes.
     */
    boolean isElementwise(Kernel kernel) {
      return aligned && kernel.divisors[0] < VECTOR;
    }

    private void add(Kernel kernel) {
      if (!kernel.entry.parameters().equals(parameters)) {
        throw new IllegalStateException(
            "ptx/manifest.json: " + kernel.entry.entry() + " takes " + kernel.entry.parameters() + ", others of " + name
                + " take " + parameters);
      }
      aligned |= kernel.divisors[0] >= VECTOR;
      kernels.add(kernel);
    }
  }

  /** A kernel and, once wanted, its function on the card. */
  static final class Kernel {
    private final Entry entry;
    /** By which each parameter must be divisible; 1 none. */
    private final long[] divisors;
    private MemorySegment function;

    private Kernel(Entry entry) {
      this.entry = entry;
      divisors = new long[entry.parameters().size()];
      for (int i = 0; i < divisors.length; i++) {
        divisors[i] = entry.divisible().getOrDefault(entry.parameters().get(i).name(), 1);
      }
    }

    Entry entry() {
      return entry;
    }

    long divisor(int parameter) {
      return divisors[parameter];
    }
  }

  Program(CudaDevice device, Manifest manifest) {
    this.device = device;
    tier = device.tier();
    files = manifest.files();
    for (Entry entry : manifest.entries()) {
      boolean fits = entry.shared() + entry.staticShared() <= device.card().sharedPerBlock();
      if (entry.tier().equals(tier.target()) && fits) {
        ops.computeIfAbsent(entry.op(), name -> new HashMap<>())
            .computeIfAbsent(dtype(entry.dtype()), d -> new Op(entry))
            .add(new Kernel(entry));
      }
    }
    launcher = new Launcher(device);
  }

  private static DType dtype(String name) {
    for (DType dtype : DType.values()) {
      if (dtype.toString().equals(name)) {
        return dtype;
      }
    }
    throw new IllegalStateException("ptx/manifest.json: dtype " + name);
  }

  /** An op over the activations' dtype. */
  Op op(String name) {
    return op(name, tier.dtype());
  }

  /**
   * An op's kernels.
   *
   * @throws IllegalStateException when this build has none for the card
   */
  Op op(String name, DType dtype) {
    Map<DType, Op> byType = ops.get(name);
    Op op = byType == null ? null : byType.get(dtype);
    if (op == null) {
      throw new IllegalStateException("this build has no kernel " + name + " for " + dtype + " on " + tier.target());
    }
    return op;
  }

  Launcher launcher() {
    return launcher;
  }

  /** The function on the card; loads its module when it is the first. */
  MemorySegment function(Kernel kernel) {
    if (kernel.function == null) {
      Driver driver = device.use();
      Entry entry = kernel.entry;
      MemorySegment module = modules.computeIfAbsent(entry.file(), file -> load(driver, file, files.read(file)));
      MemorySegment function = driver.function(module, entry.entry());
      if (entry.shared() > SHARED_WITHOUT_ASKING) {
        driver.setFunctionAttribute(function, MAX_DYNAMIC_SHARED, entry.shared(), entry.entry());
      }
      kernel.function = function;
    }
    return kernel.function;
  }

  private static MemorySegment load(Driver driver, String file, byte[] text) {
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment terminated = arena.allocate(text.length + 1L);
      MemorySegment.copy(text, 0, terminated, ValueLayout.JAVA_BYTE, 0, text.length);
      return driver.loadModule(file, terminated);
    }
  }

  @Override
  public void close() {
    modules.values().forEach(device.driver()::unloadModule);
  }
}
