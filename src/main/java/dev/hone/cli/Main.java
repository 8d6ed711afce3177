package dev.hone.cli;

import dev.hone.config.Nearest;
import dev.hone.config.TrainConfig;
import dev.hone.config.UserError;
import dev.hone.train.TrainListener;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintStream;
import java.io.PrintWriter;
import java.nio.charset.StandardCharsets;
import java.util.List;
import picocli.CommandLine;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;
import picocli.CommandLine.ParameterException;
import picocli.CommandLine.ScopeType;
import picocli.CommandLine.UnmatchedArgumentException;

/**
 * The command line. Exit codes: {@value #DONE} done, {@value #USER_ERROR} a user's mistake, {@value #INTERNAL_FAULT}
 * an internal fault, {@value #INTERRUPTED} interrupted and saved. Errors are one line on stderr that begins with
 * {@code hone:}; --debug adds the stack trace.
 */
@Command(
    name = "hone",
    description = "Fine-tunes language models on the machine you own.",
    version = "hone " + Main.VERSION,
    mixinStandardHelpOptions = true,
    synopsisSubcommandLabel = "COMMAND",
    footer = {
      "",
      "Commands of the launcher: hone build, hone verify (all tests), hone jdk.",
      "Start with: hone train examples/quickstart.yaml"
    })
public final class Main {
  static final String VERSION = "0.1.0";

  static final int DONE = 0;
  static final int USER_ERROR = 1;
  static final int INTERNAL_FAULT = 2;
  static final int INTERRUPTED = 130;

  @Option(names = "--debug", scope = ScopeType.INHERIT, description = "Print the stack trace of an error.")
  private boolean debug;

  private final PrintStream err;

  private Main(PrintStream err) {
    this.err = err;
  }

  public static void main(String[] args) {
    BufferedReader in = new BufferedReader(new InputStreamReader(System.in, StandardCharsets.UTF_8));
    System.exit(run(new RunTraining(), new RunTalking(), in, System.out, System.err, args));
  }

  /** Runs one command line and returns its exit code. */
  static int run(
      Training training, Talking talking, BufferedReader in, PrintStream out, PrintStream err, String... args) {
    Main main = new Main(err);
    CommandLine line = new CommandLine(main);
    line.addSubcommand(new TrainCommand(training, out, err));
    line.addSubcommand(new GenerateCommand(talking, in, out));
    line.addSubcommand(new ChatCommand(talking, in, out));
    line.addSubcommand(new PlanCommand(out));
    line.addSubcommand(new NewModelCommand(out));
    line.addSubcommand(new CacheCommand(out));
    line.addSubcommand(new DoctorCommand(out));
    line.addSubcommand(new SelfTestCommand(out));
    line.setOut(new PrintWriter(out, true));
    line.setErr(new PrintWriter(err, true));
    line.setParameterExceptionHandler((e, given) -> main.wrongUsage(e));
    line.setExecutionExceptionHandler((e, command, result) -> main.failed(e));
    if (args.length == 0) {
      line.usage(line.getOut());
      return USER_ERROR;
    }
    try {
      return line.execute(args);
    } catch (Error e) {
      return main.failed(e);
    }
  }

  private int wrongUsage(ParameterException e) {
    String command = e.getCommandLine().getCommandSpec().qualifiedName();
    String what = e.getMessage();
    if (e instanceof UnmatchedArgumentException unmatched && !unmatched.isUnknownOption() && command.equals("hone")) {
      String typed = unmatched.getUnmatched().getFirst();
      what = "unknown command " + typed
          + Nearest.to(typed, e.getCommandLine().getSubcommands().keySet()).map(s -> "; did you mean " + s + "?").orElse("");
    }
    err.println("hone: " + oneLine(what) + " (see `" + command + " --help`)");
    return USER_ERROR;
  }

  private int failed(Throwable e) {
    boolean user = e instanceof UserError;
    err.println("hone: " + (user ? oneLine(e.getMessage()) : internal(e)));
    if (debug) {
      e.printStackTrace(err);
    }
    return user ? USER_ERROR : INTERNAL_FAULT;
  }

  private String internal(Throwable e) {
    String what = e instanceof OutOfMemoryError
        ? "the Java heap is full; give it more with HONE_JAVA_OPTS=-Xmx8g"
        : "internal fault: " + e.getClass().getSimpleName() + (e.getMessage() == null ? "" : ": " + e.getMessage());
    return oneLine(what) + (debug ? "" : " (run again with --debug for the stack trace)");
  }

  private static String oneLine(String message) {
    return message.strip().replaceAll("\\s*\\R\\s*", " ");
  }
}
