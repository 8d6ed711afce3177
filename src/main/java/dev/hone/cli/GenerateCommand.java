package dev.hone.cli;

import dev.hone.config.UserError;
import dev.hone.generate.Assistant;
import dev.hone.text.Conversation;
import dev.hone.text.Message;
import java.io.IOException;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code hone generate FOLDER --prompt TEXT}. */
@Command(
    name = "generate",
    description = "Continue a text, or answer one question with --chat.",
    footer = {"", "Example: hone generate saves/my-adapter --chat --prompt \"What is the opposite of hot?\""})
final class GenerateCommand implements Callable<Integer> {
  @Mixin private DecodingOptions decoding = new DecodingOptions();

  @Option(names = {"-p", "--prompt"}, paramLabel = "TEXT", description = "The text; default: all of standard input.")
  private Optional<String> prompt = Optional.empty();

  @Option(names = "--chat", description = "The text is a question, put into the model's chat template.")
  private boolean chat;

  @Option(names = "--system", paramLabel = "TEXT", description = "With --chat: the system message.")
  private Optional<String> system = Optional.empty();

  private final PrintStream out;
  private final PrintStream err;

  GenerateCommand(PrintStream out, PrintStream err) {
    this.out = out;
    this.err = err;
  }

  @Override
  public Integer call() throws IOException {
    String text = prompt.isPresent() ? prompt.get() : new String(System.in.readAllBytes(), StandardCharsets.UTF_8);
    int maxNewTokens = decoding.maxNewTokens();
    try (Assistant assistant = decoding.open(chat)) {
      if (system.isPresent() && !chat) {
        throw new UserError("--system goes with --chat");
      }
      long began = System.nanoTime();
      Assistant.Reply reply;
      if (chat) {
        Conversation question = new Conversation(system.orElse(null), null, java.util.List.of(Message.user(text)));
        reply = assistant.answer(question, maxNewTokens, decoding.sampling(), this::show);
      } else {
        out.print(text);
        reply = assistant.complete(text, maxNewTokens, decoding.sampling(), this::show);
      }
      out.println();
      double seconds = (System.nanoTime() - began) / 1e9;
      err.printf(
          java.util.Locale.ROOT, "%d tokens, %.1f tok/s, ended by %s%n", reply.tokens(), reply.tokens() / seconds,
          switch (reply.stop()) {
            case END -> "the model";
            case LENGTH -> "--max-new-tokens";
            case CONTEXT -> "the end of the context";
            case INTERRUPTED -> "the user";
          });
      return Main.DONE;
    }
  }

  private boolean show(String piece) {
    out.print(piece);
    out.flush();
    return true;
  }
}
