package dev.hone.cli;

import dev.hone.config.CacheFolder;
import dev.hone.config.UserError;
import dev.hone.engine.Generator;
import dev.hone.engine.Sampling;
import dev.hone.engine.Storage;
import dev.hone.format.PeftConfig;
import dev.hone.generate.Assistant;
import dev.hone.text.Conversation;
import dev.hone.text.Message;
import java.io.BufferedReader;
import java.io.IOException;
import java.io.PrintStream;
import java.io.UncheckedIOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.List;
import java.util.Optional;

/** The decoder behind the generate and chat commands. */
final class RunTalking implements Talking {

  @Override
  public void generate(Setup setup, List<String> prompts, boolean raw, PrintStream out) {
    try (Assistant assistant = open(setup, !raw)) {
      for (String prompt : prompts) {
        if (raw) {
          out.print(prompt);
          assistant.complete(prompt, setup.maxNewTokens(), sampling(setup), piece -> show(out, piece));
        } else {
          Conversation question = conversation(setup, List.of(Message.user(prompt)));
          assistant.answer(question, setup.maxNewTokens(), sampling(setup), piece -> show(out, piece));
        }
        out.println();
      }
    }
  }

  @Override
  public void chat(Setup setup, BufferedReader in, PrintStream out) {
    try (Assistant assistant = open(setup, true)) {
      out.println(assistant.describe() + "; /new begins anew, /quit leaves");
      List<Message> messages = new ArrayList<>();
      while (true) {
        out.print("> ");
        out.flush();
        String line = in.readLine();
        if (line == null || line.strip().equals("/quit")) {
          out.println();
          return;
        }
        if (line.strip().equals("/new")) {
          messages.clear();
        } else if (!line.isBlank()) {
          turn(assistant, setup, messages, line, out);
        }
      }
    } catch (IOException e) {
      throw new UncheckedIOException(e);
    }
  }

  /** One question and its answer; a question that no longer fits is left out of the conversation. */
  private static void turn(Assistant assistant, Setup setup, List<Message> messages, String line, PrintStream out) {
    messages.add(Message.user(line));
    Assistant.Reply reply;
    try {
      reply =
          assistant.answer(
              conversation(setup, messages), setup.maxNewTokens(), sampling(setup), piece -> show(out, piece));
    } catch (UserError e) {
      messages.removeLast();
      out.println(e.getMessage() + ", or begin anew with /new");
      return;
    }
    out.println();
    messages.add(Message.assistant(reply.text()));
    if (reply.stop() == Generator.Stop.CONTEXT) {
      out.println("the context of " + assistant.context() + " tokens is full; /new begins anew");
    }
  }

  private static Conversation conversation(Setup setup, List<Message> messages) {
    return new Conversation(setup.system().orElse(""), "", messages);
  }

  /** A MODEL that is itself an adapter's folder, such as an output_dir, stands for its base with the adapter on it. */
  private static Assistant open(Setup setup, boolean chat) {
    boolean isAdapter = setup.adapter().isEmpty() && Assistant.isAdapter(setup.model());
    return Assistant.open(
        new Assistant.Options(
            isAdapter ? baseOf(setup.model()) : setup.model(),
            isAdapter ? Optional.of(setup.model()) : setup.adapter(),
            setup.template(),
            switch (setup.quantizationBits()) {
              case 4 -> Storage.NF4_DOUBLE_QUANTISED;
              case 8 -> Storage.INT8;
              default -> Storage.AS_STORED;
            },
            setup.layerCache() ? Optional.of(CacheFolder.find()) : Optional.empty(),
            setup.compute(),
            0,
            setup.device(),
            setup.threads()),
        chat);
  }

  private static Path baseOf(Path adapter) {
    String named = PeftConfig.read(adapter).baseModel();
    if (named == null || !Files.isDirectory(Path.of(named))) {
      throw UserError.of(
          "%s is an adapter whose base model %s is no folder here; give the base as MODEL and this as --adapter",
          adapter, named);
    }
    return Path.of(named);
  }

  private static Sampling sampling(Setup setup) {
    return new Sampling(setup.temperature(), setup.topP(), setup.seed());
  }

  private static boolean show(PrintStream out, String piece) {
    out.print(piece);
    out.flush();
    return true;
  }
}
