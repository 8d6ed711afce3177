package dev.hone.cli;

import dev.hone.config.CacheFolder;
import dev.hone.config.Sizes;
import dev.hone.engine.LayerCaches;
import java.io.PrintStream;
import java.nio.file.Path;
import java.time.Duration;
import java.time.LocalDate;
import java.time.ZoneId;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.concurrent.Callable;
import picocli.CommandLine.Command;
import picocli.CommandLine.Option;

/** {@code hone cache [--prune]}. */
@Command(
    name = "cache",
    description = "List the quantised bases that Hone keeps in files, or remove those of no use.",
    footer = {"", "Example: hone cache --prune --unused 30"})
final class CacheCommand implements Callable<Integer> {
  @Option(names = "--dir", paramLabel = "DIR", description = "Another folder than HONE_CACHE or the user's cache.")
  private Optional<Path> folder = Optional.empty();

  @Option(names = "--prune", description = "Remove files whose source is gone or has changed, and what crashes left.")
  private boolean prune;

  @Option(names = "--unused", paramLabel = "DAYS", description = "With --prune: also what was not used for so long; 0: all.")
  private Optional<Integer> unused = Optional.empty();

  private final PrintStream out;

  CacheCommand(PrintStream out) {
    this.out = out;
  }

  @Override
  public Integer call() {
    Path where = folder.orElseGet(CacheFolder::find);
    List<LayerCaches.Found> files =
        prune ? LayerCaches.prune(where, unused.map(Duration::ofDays).orElse(null)) : LayerCaches.list(where);
    long bytes = files.stream().mapToLong(LayerCaches.Found::bytes).sum();
    out.printf(
        Locale.ROOT, "%s: %d %s, %s%s%n", where, files.size(), files.size() == 1 ? "file" : "files", Sizes.text(bytes),
        prune ? " removed" : "");
    for (LayerCaches.Found file : files) {
      out.printf(
          Locale.ROOT, "  %-44s %10s  %-20s used %s  %s%s%n", file.path().getFileName(), Sizes.text(file.bytes()),
          file.storage().toLowerCase(Locale.ROOT), LocalDate.ofInstant(file.used(), ZoneId.systemDefault()),
          file.state().words(), file.source().isEmpty() ? "" : ": " + file.source());
    }
    return Main.DONE;
  }
}
