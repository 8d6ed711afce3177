package dev.hone.cli;

import dev.hone.train.TrainListener;
import java.io.PrintStream;
import java.nio.file.Path;
import java.time.Duration;
import java.util.Locale;
import java.util.Optional;
import java.util.function.BooleanSupplier;
import me.tongfei.progressbar.InteractiveConsoleProgressBarConsumer;
import me.tongfei.progressbar.ProgressBar;
import me.tongfei.progressbar.ProgressBarBuilder;
import me.tongfei.progressbar.ProgressBarStyle;

/**
 * A run on the console: a progress bar on a terminal, elsewhere one line for each logged step.
 *
 * <p>Everything goes to one stream (stderr in the command line), so that stdout stays free for results.
 */
final class ConsoleReport implements TrainListener, AutoCloseable {
  private static final int PROBES_SHOWN = 5;

  private final PrintStream out;
  private final boolean terminal;
  private final BooleanSupplier stop;
  private ProgressBar bar;
  private double remainingSeconds;

  /**
   * @param terminal whether {@code out} can redraw a line
   * @param stop whether the user asked to stop
   */
  ConsoleReport(PrintStream out, boolean terminal, BooleanSupplier stop) {
    this.out = out;
    this.terminal = terminal;
    this.stop = stop;
  }

  @Override
  public void planned(Planned plan) {
    plan.summary().forEach(out::println);
    if (terminal) {
      bar = new ProgressBarBuilder()
          .setTaskName("train")
          .setInitialMax(plan.totalSteps())
          .setStyle(ProgressBarStyle.COLORFUL_UNICODE_BLOCK)
          .setUpdateIntervalMillis(200)
          .startsFrom(plan.firstStep(), Duration.ZERO)
          .setEtaFunction(state -> Optional.of(Duration.ofSeconds(Math.round(remainingSeconds))))
          .setConsumer(new InteractiveConsoleProgressBarConsumer(out))
          .build();
    }
  }

  @Override
  public void step(StepReport s) {
    remainingSeconds = s.remainingSeconds();
    if (bar != null) {
      bar.setExtraMessage(format(" loss %.4f  lr %.2e  |g| %.3f  %,.0f tok/s",
          s.loss(), s.learningRate(), s.gradNorm(), s.tokensPerSecond()));
      bar.stepTo(s.step());
    } else if (s.logged()) {
      out.println(format("step %d/%d  epoch %.2f  loss %.4f  lr %.3e  grad_norm %.4f  %,.0f tok/s  left %s",
          s.step(), s.totalSteps(), s.epoch(), s.meanLoss(), s.learningRate(), s.gradNorm(), s.tokensPerSecond(),
          time(s.remainingSeconds())));
    }
  }

  @Override
  public void evaluated(EvalReport e) {
    print(format("eval at step %d: loss %.4f, perplexity %.2f, %d rows in %s",
        e.step(), e.loss(), e.perplexity(), e.rows(), time(e.seconds())));
  }

  @Override
  public void probed(ProbeReport report) {
    boolean before = report.moment() == ProbeReport.Moment.BEFORE;
    int total = report.answers().size();
    print(format("held-out rows answered exactly %s training: %d of %d (%.0f %%)",
        before ? "before" : "after", report.exact(), total, 100.0 * report.exact() / total));
    for (Answer answer : report.answers().subList(0, Math.min(PROBES_SHOWN, total))) {
      print(format("  %s %s", answer.exact() ? "+" : "-", oneLine(answer.prompt(), 70)));
      print(format("      answer: %s%s", oneLine(answer.got(), 60),
          answer.exact() ? "" : "   wanted: " + oneLine(answer.wanted(), 60)));
    }
  }

  @Override
  public void saved(Path path) {
    print("saved " + path);
  }

  @Override
  public void warning(String line) {
    print("note: " + line);
  }

  @Override
  public void finished(Finished end) {
    close();
    out.println(end.interrupted()
        ? format("stopped after step %d; go on with resume_from_checkpoint=%s", end.steps(), end.output())
        : format("done: %d steps in %s, mean loss %.4f; result in %s",
            end.steps(), time(end.seconds()), end.meanLoss(), end.output()));
  }

  @Override
  public boolean stopRequested() {
    return stop.getAsBoolean();
  }

  /** Leaves the terminal as it was, with the bar's last state; nothing when there is none. */
  @Override
  public void close() {
    if (bar != null) {
      bar.close();
      bar = null;
    }
  }

  /** A line above the bar, which is drawn again below it. */
  private void print(String line) {
    if (bar == null) {
      out.println(line);
      return;
    }
    out.print("\r\u001b[K" + line + "\n");
    bar.refresh();
  }

  /** The end of a long prompt says more than its beginning. */
  private static String oneLine(String text, int width) {
    String line = text.strip().replaceAll("\\s+", " ");
    return line.length() <= width ? line : "..." + line.substring(line.length() - width + 3);
  }

  private static String time(double seconds) {
    long s = Math.round(seconds);
    return s < 3600 ? format("%d:%02d", s / 60, s % 60) : format("%d:%02d:%02d", s / 3600, s / 60 % 60, s % 60);
  }

  private static String format(String pattern, Object... values) {
    return String.format(Locale.ROOT, pattern, values);
  }
}
