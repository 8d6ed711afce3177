package dev.hone.cli;

import dev.hone.generate.Assistant;
import dev.hone.text.Conversation;
import dev.hone.text.Message;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Mixin;
import picocli.CommandLine.Option;

/** {@code hone chat FOLDER}. */
@Command(
    name = "chat",
    description = "Talk with a model or an adapter in the terminal.",
    footer = {"", "In the chat: /new forgets the conversation, /quit or the end of input leaves."})
final class ChatCommand implements Callable<Integer> {
  @Mixin private DecodingOptions decoding = new DecodingOptions();

  @Option(names = "--system", paramLabel = "TEXT", description = "The system message.")
  private Optional<String> system = Optional.empty();

  private final PrintStream out;
  private final PrintStream err;

  ChatCommand(PrintStream out, PrintStream err) {
    this.out = out;
    this.err = err;
  }

  @Override
  public Integer call() throws IOException {
    int maxNewTokens = decoding.maxNewTokens();
    try (Assistant assistant = decoding.open(true)) {
      err.println(assistant.describe() + "; /new begins anew, /quit leaves");
      BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
      List<Message> messages = new ArrayList<>();
      while (true) {
        err.print("> ");
        err.flush();
        String line = in.readLine();
        if (line == null || line.strip().equals("/quit")) {
          return Main.DONE;
        }
        if (line.strip().equals("/new")) {
          messages.clear();
        } else if (!line.isBlank()) {
          messages.add(Message.user(line));
          Conversation conversation = new Conversation(system.orElse(null), null, List.copyOf(messages));
          Assistant.Reply reply = assistant.answer(conversation, maxNewTokens, decoding.sampling(), this::show);
          out.println();
          messages.add(Message.assistant(reply.text()));
          if (reply.stop() == dev.hone.engine.Generator.Stop.CONTEXT) {
            err.println("the context of " + assistant.context() + " tokens is full; /new begins anew");
          }
        }
      }
    }
  }

  private boolean show(String piece) {
    out.print(piece);
    out.flush();
    return true;
  }
}
