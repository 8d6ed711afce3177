package dev.hone.text;

import static dev.hone.text.Segment.Special.BOS;
import static dev.hone.text.Segment.Special.EOS;

import dev.hone.config.UserError;
import dev.hone.text.Segment.Text;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/**
 * The built-in templates. Names and strings are LLaMA-Factory's (src/llamafactory/data/template.py, August 2026);
 * {@code plain_alpaca} is Hone's: alpaca without its system text, with a part of its own for the input, one EOS after
 * the answer and BOS before the prompt.
 */
public final class Templates {
  private static final Map<String, Template> ALL = new LinkedHashMap<>();

  static {
    add(
        new Spec("default")
            .user("Human: {{content}}", EOS, "\nAssistant:")
            .assistant("{{content}}", EOS, "\n")
            .system("System: {{content}}", EOS, "\n"));
    add(new Spec("empty").assistant("{{content}}"));
    add(new Spec("vanilla"));
    add(
        new Spec("alpaca")
            .user("### Instruction:\n{{content}}\n\n### Response:\n")
            .assistant("{{content}}", EOS, "\n\n")
            .defaultSystem(
                "Below is an instruction that describes a task. "
                    + "Write a response that appropriately completes the request.\n\n"));
    add(
        new Spec("plain_alpaca")
            .prefix(BOS)
            .user("### Instruction:\n{{content}}\n\n{{input}}### Response:\n")
            .input("### Input:\n{{input}}\n\n"));
    add(new Spec("llama2").user(BOS, "[INST] {{content}} [/INST]").system("<<SYS>>\n{{content}}\n<</SYS>>\n\n").fuse());
    add(
        new Spec("llama3")
            .prefix(BOS)
            .user(llama3("user"))
            .assistant("{{content}}<|eot_id|>")
            .system("<|start_header_id|>system<|end_header_id|>\n\n{{content}}<|eot_id|>")
            .observation(llama3("ipython"))
            .tools(ToolFormat.LLAMA3)
            .endsWith("<|eot_id|>", "<|eom_id|>"));
    add(
        chatml("chatml")
            .observation("<|im_start|>tool\n{{content}}<|im_end|>\n<|im_start|>assistant\n")
            .endsWith("<|im_end|>", "<|im_start|>"));
    add(qwen("qwen").defaultSystem("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."));
    add(qwen("qwen3_nothink"));
    add(chatml("smollm").stop("<|im_end|>"));
    add(
        chatml("smollm2")
            .stop("<|im_end|>")
            .defaultSystem("You are a helpful AI assistant named SmolLM, trained by Hugging Face."));
    add(
        new Spec("mistral")
            .prefix(BOS)
            .user("[INST] {{content}}[/INST]")
            .assistant(" {{content}}", EOS)
            .system("{{content}}\n\n")
            .function("[TOOL_CALLS] {{content}}", EOS)
            .observation("[TOOL_RESULTS] {\"content\": {{content}}}[/TOOL_RESULTS]")
            .tools(ToolFormat.MISTRAL)
            .fuse());
    add(gemma("gemma").endsWith("<end_of_turn>"));
    add(gemma("gemma2").stop("<eos>", "<end_of_turn>").efficientEos());
    add(gemma("gemma3").endsWith("<end_of_turn>"));
  }

  private Templates() {}

  /** The names of all templates. */
  public static List<String> names() {
    return List.copyOf(ALL.keySet());
  }

  /** The template of a name; throws {@link UserError} with all names for an unknown one. */
  public static Template named(String name) {
    Template template = ALL.get(name);
    if (template == null) {
      throw UserError.of("template %s is not known; known are %s", name, String.join(", ", ALL.keySet()));
    }
    return template;
  }

  /**
   * The template for a model whose settings name none, by its tokenizer's special tokens and its chat template. Refuses
   * when these do not tell.
   *
   * <ul>
   *   <li>{@code <|start_header_id|>} and {@code <|eot_id|>}: llama3
   *   <li>{@code <|im_start|>} and {@code <|im_end|>}: qwen if the chat template names Qwen as the system does by
   *       default, smollm2 if it names SmolLM, refused if it has a thinking part, else chatml
   *   <li>{@code <start_of_turn>} and {@code <end_of_turn>}: gemma
   *   <li>{@code [INST]} and {@code [/INST]}: mistral
   *   <li>a chat template with {@code <<SYS>>}: llama2
   * </ul>
   */
  public static Template choose(Tokenizer tokenizer) {
    String chat = tokenizer.chatTemplate();
    String ask = "template is not set and %s; set template to one of " + String.join(", ", ALL.keySet());
    if (has(tokenizer, "<|start_header_id|>", "<|eot_id|>")) {
      return named("llama3");
    }
    if (has(tokenizer, "<|im_start|>", "<|im_end|>")) {
      if (chat.contains("<think>")) {
        throw UserError.of(
            ask + " (qwen3_nothink trains Qwen3 without thinking)", "the model's own has a thinking part");
      }
      return named(
          chat.contains("You are Qwen, created by Alibaba Cloud")
              ? "qwen"
              : chat.contains("named SmolLM") ? "smollm2" : "chatml");
    }
    if (has(tokenizer, "<start_of_turn>", "<end_of_turn>")) {
      return named("gemma");
    }
    if (has(tokenizer, "[INST]", "[/INST]")) {
      return named("mistral");
    }
    if (chat.contains("<<SYS>>")) {
      return named("llama2");
    }
    throw UserError.of(
        ask + " (a base model takes any, such as default)", "the model's tokenizer does not show which it uses");
  }

  private static boolean has(Tokenizer tokenizer, String... tokens) {
    return Arrays.stream(tokens).allMatch(t -> tokenizer.id(t).isPresent());
  }

  private static void add(Spec spec) {
    Template template = spec.template();
    ALL.put(template.name(), template);
  }

  private static String llama3(String role) {
    return "<|start_header_id|>"
        + role
        + "<|end_header_id|>\n\n{{content}}<|eot_id|>"
        + "<|start_header_id|>assistant<|end_header_id|>\n\n";
  }

  private static Spec chatml(String name) {
    return new Spec(name)
        .user("<|im_start|>user\n{{content}}<|im_end|>\n<|im_start|>assistant\n")
        .assistant("{{content}}<|im_end|>\n")
        .system("<|im_start|>system\n{{content}}<|im_end|>\n");
  }

  private static Spec qwen(String name) {
    return chatml(name)
        .observation(
            "<|im_start|>user\n<tool_response>\n{{content}}\n</tool_response><|im_end|>\n<|im_start|>assistant\n")
        .tools(ToolFormat.QWEN)
        .endsWith("<|im_end|>");
  }

  private static Spec gemma(String name) {
    return new Spec(name)
        .prefix(BOS)
        .user("<start_of_turn>user\n{{content}}<end_of_turn>\n<start_of_turn>model\n")
        .assistant("{{content}}<end_of_turn>\n")
        .system("{{content}}\n\n")
        .observation("<start_of_turn>tool\n{{content}}<end_of_turn>\n<start_of_turn>model\n")
        .fuse();
  }

  /** Collects a template's parts; what is not said is as LLaMA-Factory's register_template leaves it. */
  private static final class Spec {
    private static final List<Segment> BARE = List.of(new Text("{{content}}"));
    private final String name;
    private List<Segment> prefix = List.of();
    private List<Segment> system = BARE;
    private List<Segment> user = BARE;
    private String input;
    private List<Segment> assistant;
    private List<Segment> observation;
    private List<Segment> function;
    private String defaultSystem = "";
    private List<String> stopWords = List.of();
    private boolean efficientEos;
    private boolean replaceEos;
    private boolean fuse;
    private ToolFormat tools = ToolFormat.DEFAULT;

    Spec(String name) {
      this.name = name;
    }

    private static List<Segment> slots(Object... parts) {
      List<Segment> slots = new ArrayList<>();
      for (Object part : parts) {
        slots.add(part instanceof String text ? new Text(text) : (Segment) part);
      }
      return List.copyOf(slots);
    }

    Spec prefix(Object... parts) {
      prefix = slots(parts);
      return this;
    }

    Spec system(Object... parts) {
      system = slots(parts);
      return this;
    }

    Spec user(Object... parts) {
      user = slots(parts);
      return this;
    }

    Spec input(String slot) {
      input = slot;
      return this;
    }

    Spec assistant(Object... parts) {
      assistant = slots(parts);
      return this;
    }

    Spec observation(Object... parts) {
      observation = slots(parts);
      return this;
    }

    Spec function(Object... parts) {
      function = slots(parts);
      return this;
    }

    Spec defaultSystem(String text) {
      defaultSystem = text;
      return this;
    }

    Spec stop(String... words) {
      stopWords = List.of(words);
      return this;
    }

    /** The first stop word is the end token. */
    Spec endsWith(String... words) {
      replaceEos = true;
      return stop(words);
    }

    Spec efficientEos() {
      efficientEos = true;
      return this;
    }

    Spec fuse() {
      fuse = true;
      return this;
    }

    Spec tools(ToolFormat format) {
      tools = format;
      return this;
    }

    Template template() {
      List<Segment> answer = assistant != null ? assistant : efficientEos ? BARE : slots("{{content}}", EOS);
      return new Template(
          name,
          prefix,
          system,
          user,
          input,
          answer,
          observation != null ? observation : user,
          function != null ? function : answer,
          defaultSystem,
          stopWords,
          efficientEos,
          replaceEos,
          fuse,
          tools);
    }
  }
}
