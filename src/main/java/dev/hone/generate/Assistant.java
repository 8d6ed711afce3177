package dev.hone.generate;

import dev.hone.config.DeviceChoice;
import dev.hone.config.UserError;
import dev.hone.engine.Adapters;
import dev.hone.engine.BaseModel;
import dev.hone.engine.Decoder;
import dev.hone.engine.Generator;
import dev.hone.engine.LayerCache;
import dev.hone.engine.MappedBase;
import dev.hone.engine.Sampling;
import dev.hone.engine.Storage;
import dev.hone.engine.WeightSource;
import dev.hone.format.PeftAdapter;
import dev.hone.kernel.Kernels;
import dev.hone.kernel.cpu.CpuKernels;
import dev.hone.kernel.device.Devices;
import dev.hone.model.ModelSpec;
import dev.hone.model.Tuning;
import dev.hone.tensor.DType;
import dev.hone.tensor.MemorySpace;
import dev.hone.text.ChatEncoder;
import dev.hone.text.Conversation;
import dev.hone.text.StreamDecoder;
import dev.hone.text.Template;
import dev.hone.text.Templates;
import dev.hone.text.Tokenizer;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HashSet;
import java.util.Optional;
import java.util.Set;
import java.util.function.Predicate;

/** A model, perhaps with an adapter on it, that continues text or answers conversations. */
public final class Assistant implements AutoCloseable {
  private final Kernels kernels;
  private final BaseModel base;
  private final Tokenizer tokenizer;
  private final LayerCache cache;
  private final Decoder decoder;
  private final Generator generator;
  private final ChatEncoder encoder;

  /**
   * What to open.
   *
   * @param model a Hugging Face model directory
   * @param adapter a PEFT adapter's folder
   * @param template name of a built-in template; empty: chosen by the model. Unused for plain continuation
   * @param storage how the base's linear layers are kept
   * @param layerCache folder of quantised bases; empty: quantised in memory
   * @param compute dtype of activations: F32 or BF16 on the CPU, where F16 means F32; a card takes F16, else its own
   * @param positions most tokens of prompt and answer together; 0: what the model was made for, at most 4096
   * @param device where to compute
   * @param threads CPU threads; 0: one for each core
   */
  public record Options(
      Path model, Optional<Path> adapter, Optional<String> template, Storage storage, Optional<Path> layerCache,
      DType compute, int positions, DeviceChoice device, int threads) {}

  /**
   * Opens model, adapter and tokenizer.
   *
   * @throws UserError when files are missing or broken
   */
  public static Assistant open(Options options, boolean chat) {
    BaseModel base = BaseModel.open(options.model());
    Tokenizer tokenizer = null;
    try {
      tokenizer = Tokenizer.open(tokenizerFolder(options));
      return new Assistant(options, base, tokenizer, chat);
    } catch (RuntimeException | Error e) {
      base.close();
      if (tokenizer != null) {
        tokenizer.close();
      }
      throw e;
    }
  }

  /** An adapter brings the tokenizer it was trained with; without one the base's serves. */
  private static Path tokenizerFolder(Options options) {
    return options.adapter().filter(Tokenizer::in).orElse(options.model());
  }

  private Assistant(Options options, BaseModel base, Tokenizer tokenizer, boolean chat) {
    this.base = base;
    this.tokenizer = tokenizer;
    ModelSpec spec = base.spec();
    encoder = chat ? new ChatEncoder(template(options, tokenizer), tokenizer) : null;
    int positions = options.positions() > 0 ? options.positions() : Math.min(4096, spec.maxPositions());
    if (positions > spec.maxPositions()) {
      throw UserError.of(
          "%d tokens of context: the model was made for %d; ask for fewer", positions, spec.maxPositions());
    }
    cache = cache(options, base);
    kernels = Devices.open(options.device(), options.threads(), Devices.Use.ADAPTERS_OR_GENERATION, options.compute());
    try (Arena arena = Arena.ofConfined()) {
      PeftAdapter adapter = options.adapter().map(f -> PeftAdapter.read(f, arena, spec.linears())).orElse(null);
      Tuning tuning = adapter == null ? new Tuning.None() : Adapters.tuning(spec, adapter.config(), 0f);
      DType compute = kernels.computeDtype(options.compute());
      decoder = Decoder.open(kernels, spec, weights(options, spec), tuning, options.storage(), compute, positions);
      if (adapter != null) {
        Adapters.load(adapter, decoder.parameters());
      }
    } catch (RuntimeException | Error e) {
      kernels.close();
      throw e;
    }
    Set<Integer> stops = new HashSet<>(spec.eosIds());
    if (tokenizer.eosId() >= 0) {
      stops.add(tokenizer.eosId());
    }
    if (encoder != null) {
      stops.addAll(encoder.stopIds());
    }
    generator = new Generator(decoder, stops);
  }

  /** The base; on the CPU read layer by layer where it takes more than three quarters of the memory. */
  private WeightSource weights(Options options, ModelSpec spec) {
    WeightSource source = cache == null ? base : cache;
    boolean readWhereMapped =
        kernels.memory() == MemorySpace.HOST && source.isMapped()
            && (cache != null || options.storage() == Storage.AS_STORED);
    return readWhereMapped ? new MappedBase(source, spec, kernels.memoryBytes() / 4 * 3) : source;
  }

  /** The quantised base in a file, where one is wanted; else null. */
  private static LayerCache cache(Options options, BaseModel base) {
    if (options.storage() == Storage.AS_STORED || options.layerCache().isEmpty()) {
      return null;
    }
    try (CpuKernels host = new CpuKernels()) {
      return LayerCache.open(host, base, options.storage(), options.layerCache().get(), note -> {});
    }
  }

  private static Template template(Options options, Tokenizer tokenizer) {
    return options.template().map(Templates::named).orElseGet(() -> Templates.choose(tokenizer));
  }

  /** A finished text and why it ended. */
  public record Reply(String text, int tokens, Generator.Stop stop) {}

  /** Continues a text as it stands, with the special tokens that the tokenizer puts before it. */
  public Reply complete(String prompt, int maxNewTokens, Sampling sampling, Predicate<String> each) {
    return reply(tokenizer.encode(prompt, true), maxNewTokens, sampling, each);
  }

  /** Answers a conversation that ends with a user's message; only for an assistant opened for chat. */
  public Reply answer(Conversation conversation, int maxNewTokens, Sampling sampling, Predicate<String> each) {
    return reply(encoder.prompt(conversation), maxNewTokens, sampling, each);
  }

  private Reply reply(int[] prompt, int maxNewTokens, Sampling sampling, Predicate<String> each) {
    if (prompt.length == 0) {
      throw new UserError("the prompt is empty, and this model's tokenizer has no token to begin with; give some text");
    }
    if (prompt.length >= decoder.capacity()) {
      throw UserError.of(
          "the prompt has %d tokens and the context takes %d; shorten it", prompt.length, decoder.capacity());
    }
    StreamDecoder text = tokenizer.stream(true);
    StringBuilder whole = new StringBuilder();
    Generator.Result result =
        generator.generate(
            prompt,
            maxNewTokens,
            sampling,
            id -> {
              String piece = text.push(id);
              whole.append(piece);
              return piece.isEmpty() || each.test(piece);
            });
    String rest = text.flush();
    if (!rest.isEmpty()) {
      whole.append(rest);
      each.test(rest);
    }
    return new Reply(whole.toString(), result.ids().length, result.stop());
  }

  /** Tokens that prompt and answer may have together. */
  public int context() {
    return decoder.capacity();
  }

  public String describe() {
    return base.spec().architecture() + " on " + kernels.describe()
        + (encoder == null ? "" : ", template " + encoder.template().name());
  }

  /** Whether a folder is an adapter rather than a model. */
  public static boolean isAdapter(Path folder) {
    return Files.isRegularFile(folder.resolve("adapter_config.json"));
  }

  @Override
  public void close() {
    decoder.close();
    if (cache != null) {
      cache.close();
    }
    kernels.close();
    tokenizer.close();
    base.close();
  }
}
