package dev.hone.engine;

import dev.hone.config.UserError;
import dev.hone.format.Checkpoint;
import dev.hone.format.LayerCacheFile;
import java.io.IOException;
import java.lang.foreign.Arena;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.stream.Stream;

/** The layer caches of a folder: which are there, which are of use, and removing them. */
public final class LayerCaches {
  private static final String SUFFIX = ".hone";

  /** What is left of a cache whose making was cut off by a crash; its name is that of AtomicFiles. */
  private static final String LEFTOVER = SUFFIX + ".";

  private LayerCaches() {}

  /** What became of a cache's source. */
  public enum State {
    CURRENT("in use"),
    CHANGED("its source has changed"),
    GONE("its source is gone"),
    LEFTOVER("left over from an interrupted run"),
    DAMAGED("damaged");

    private final String words;

    State(String words) {
      this.words = words;
    }

    public String words() {
      return words;
    }
  }

  /**
   * One file.
   *
   * @param storage form of its linear layers, as {@link Storage}; empty when it cannot be read
   * @param source the checkpoint's folder; empty likewise
   * @param used when it was last opened
   */
  public record Found(Path path, long bytes, String storage, String source, Instant used, State state) {}

  /** Everything of Hone's in the folder, by name; empty when there is no folder. */
  public static List<Found> list(Path folder) {
    if (!Files.isDirectory(folder)) {
      return List.of();
    }
    List<Found> all = new ArrayList<>();
    try (Stream<Path> files = Files.list(folder)) {
      for (Path path : files.sorted(Comparator.comparing(Path::getFileName)).toList()) {
        String name = path.getFileName().toString();
        if (name.endsWith(SUFFIX) || name.startsWith(".") && name.contains(LEFTOVER) && name.endsWith(".tmp")) {
          all.add(look(path, name.endsWith(SUFFIX)));
        }
      }
    } catch (IOException e) {
      throw new UserError(folder + " cannot be read: " + e.getMessage(), e);
    }
    return all;
  }

  private static Found look(Path path, boolean whole) throws IOException {
    Instant used = Files.getLastModifiedTime(path).toInstant();
    long bytes = Files.size(path);
    if (!whole) {
      return new Found(path, bytes, "", "", used, State.LEFTOVER);
    }
    try (Arena arena = Arena.ofConfined()) {
      Map<String, String> about = LayerCacheFile.open(path, arena).index().metadata();
      String source = about.getOrDefault("source", "");
      return new Found(path, bytes, about.getOrDefault("storage", ""), source, used, state(source, about.get("fingerprint")));
    } catch (UserError e) {
      return new Found(path, bytes, "", "", used, State.DAMAGED);
    }
  }

  private static State state(String source, String fingerprint) {
    if (fingerprint != null && fingerprint.startsWith("like ")) {
      return State.CURRENT; // random weights of a built-in shape: their source is the program itself
    }
    try (Checkpoint checkpoint = Checkpoint.open(Path.of(source))) {
      return checkpoint.fingerprint().equals(fingerprint) ? State.CURRENT : State.CHANGED;
    } catch (UserError e) {
      return State.GONE;
    }
  }

  /**
   * Removes files that are of no use: everything but {@link State#CURRENT}, leftovers only when they are an hour old, since another
   * run may be writing them; and what was not used for {@code unused}.
   *
   * @param unused {@link Duration#ZERO} removes all; null removes no file that is current
   * @return what was removed
   */
  public static List<Found> prune(Path folder, Duration unused) {
    List<Found> removed = new ArrayList<>();
    Instant now = Instant.now();
    for (Found found : list(folder)) {
      Duration age = Duration.between(found.used(), now);
      boolean useless =
          found.state() == State.LEFTOVER ? age.toHours() >= 1 : found.state() != State.CURRENT;
      if (useless || unused != null && age.compareTo(unused) >= 0) {
        try {
          Files.deleteIfExists(found.path());
          removed.add(found);
        } catch (IOException e) {
          throw new UserError(found.path() + " cannot be removed: " + e.getMessage(), e);
        }
      }
    }
    return removed;
  }
}
