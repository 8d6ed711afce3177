package dev.hone.kernel.cuda;

import dev.hone.config.Rivalry;
import dev.hone.kernel.NativeException;
import dev.hone.kernel.cuda.Program.Kernel;
import dev.hone.kernel.cuda.redist.KernelCompiler;
import dev.hone.kernel.cuda.redist.Nvrtc;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.lang.foreign.Arena;
import java.lang.foreign.MemorySegment;
import java.lang.foreign.ValueLayout;
import java.nio.charset.StandardCharsets;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Kernels of {@code kernels/cuda} compiled for this card by NVRTC with the arguments fixed that stay the same through a
 * run: widths and head dims, by which the shipped kernel divides and over which it loops. Of a batch's size nothing is
 * fixed.
 */
final class CompiledRival implements Rival {
  /** What is fixed, by op; and how many of the first parameters are outputs. */
  private record Plan(int outputs, List<String> fixed) {}

  private static final Map<String, Plan> PLANS = Map.ofEntries(
      Map.entry("embedding_fwd", new Plan(1, List.of("C"))),
      Map.entry("rmsnorm_fwd", new Plan(2, List.of("C"))),
      Map.entry("residual_rmsnorm_fwd", new Plan(3, List.of("C"))),
      Map.entry("rmsnorm_bwd", new Plan(1, List.of("C", "accumulate"))),
      Map.entry("rope_fwd", new Plan(2, List.of("H", "KV", "D", "half"))),
      Map.entry("rope_bwd", new Plan(2, List.of("H", "KV", "D", "half"))),
      Map.entry("gated_fwd", new Plan(1, List.of("activation"))),
      Map.entry("gated_bwd", new Plan(2, List.of("activation"))),
      Map.entry("attention_delta", new Plan(1, List.of("H", "D"))),
      Map.entry("nf4_dequant", new Plan(1, List.of("cols", "K"))),
      Map.entry("int8_dequant", new Plan(1, List.of("cols", "K"))));

  private final CudaDevice device;
  private final KernelCompiler compiler;
  private final Rivalry.Use use;
  private final Map<String, MemorySegment> functions = new HashMap<>();
  private final List<MemorySegment> modules = new ArrayList<>();

  CompiledRival(CudaDevice device, KernelCompiler compiler, Rivalry.Use use) {
    this.device = device;
    this.compiler = compiler;
    this.use = use;
  }

  /** The compiler of this machine for the card, if any. */
  static Optional<Rival> find(CudaDevice device, Rivalry rivalry, Path cache, Map<String, String> environment) {
    Card card = device.card();
    int tier = device.tier() == Card.Tier.SM_75 ? 75 : 80;
    return Nvrtc.find(environment).map(nvrtc -> new CompiledRival(
        device,
        KernelCompiler.open(nvrtc, cache, Nvrtc.Version.of(card.driverVersion()), 10 * card.major() + card.minor(),
        tier),
        rivalry.kernels()));
  }

  @Override
  public String name() {
    return compiler.describe();
  }

  @Override
  public String setting() {
    return "cuda_kernels";
  }

  @Override
  public Rivalry.Use use() {
    return use;
  }

  @Override
  public int outputs(Kernel kernel) {
    Plan plan = PLANS.get(kernel.entry().op());
    return plan == null || !kernel.entry().sources().getFirst().endsWith(".cu") ? 0 : plan.outputs;
  }

  @Override
  public String work(Kernel kernel, Launcher launch) {
    List<String> fixed = PLANS.get(kernel.entry().op()).fixed;
    StringBuilder text = new StringBuilder(kernel.entry().entry() + "#" + kernel.entry().hash().substring(0, 8));
    for (Manifest.Parameter parameter : kernel.entry().parameters()) {
      boolean whole = parameter.type().equals("s32") || parameter.type().equals("s64");
      if (fixed.contains(parameter.name())) {
        text.append(' ').append(parameter.name()).append('=').append(launch.value(parameter.name()));
      } else if (whole && !parameter.name().endsWith("0")) {
        long roof = Long.highestOneBit(Math.max(1, 2 * launch.value(parameter.name()) - 1));
        text.append(' ').append(parameter.name()).append("<=").append(roof);
      }
    }
    return text.toString();
  }

  @Override
  public Work prepare(Kernel kernel, Launcher launch) {
    Map<String, Long> values = new LinkedHashMap<>();
    PLANS.get(kernel.entry().op()).fixed.forEach(name -> values.put(name, launch.value(name)));
    MemorySegment function =
        functions.computeIfAbsent(kernel.entry().entry() + values, key -> load(kernel.entry(), values));
    return (now, gridX, gridY) -> now.run(function, kernel, gridX, gridY);
  }

  private MemorySegment load(Manifest.Entry entry, Map<String, Long> values) {
    Map<String, String> headers = new HashMap<>();
    entry.sources().stream().skip(1).forEach(header -> headers.put(header.replaceAll(".*/", ""), source(header)));
    String file = entry.sources().getFirst();
    String stem = "hone_" + entry.op() + "_" + entry.dtype();
    String variant = entry.entry().equals(stem) ? "" : entry.entry().substring(stem.length() + 1);
    byte[] module;
    try {
      module = compiler.module(file.replaceAll(".*/", ""), source(file), headers, entry.op(), variant, values);
    } catch (IllegalArgumentException e) {
      throw new NativeException(0, e.getMessage());
    }
    try (Arena arena = Arena.ofConfined()) {
      MemorySegment code = arena.allocateFrom(ValueLayout.JAVA_BYTE, module);
      MemorySegment loaded = device.use().loadModule(compiler.describe() + " of " + entry.entry(), code);
      modules.add(loaded);
      return device.driver().function(loaded, entry.entry());
    }
  }

  /** A file of {@code kernels/} as it went into this build. */
  private static String source(String file) {
    try (InputStream in = CompiledRival.class.getResourceAsStream("/" + file)) {
      if (in == null) {
        throw new NativeException(0, "this build of Hone has no " + file);
      }
      return new String(in.readAllBytes(), StandardCharsets.UTF_8);
    } catch (IOException e) {
      throw new UncheckedIOException(file, e);
    }
  }

  @Override
  public void close() {
    modules.forEach(device.use()::unloadModule);
  }
}
