package dev.hone.kernel.cpu;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;

/**
 * The memory that Linux lets this process's control group have: the least limit of the group and of those around it, as each holds for
 * all below it.
 *
 * <pre>
 *   version 2   0::/PATH            PATH/memory.max, beyond which it kills, and PATH/memory.high, from which on it slows down
 *   version 1   N:memory:/PATH      memory/PATH/memory.limit_in_bytes
 * </pre>
 *
 * A container may see its own group as the root of the tree, whatever its path says; a group that is not there is passed over.
 */
final class ControlGroup {
  private final List<String> memberships;
  private final Path tree;

  private ControlGroup(List<String> memberships, Path tree) {
    this.memberships = memberships;
    this.tree = tree;
  }

  /** This process's, on any system: without control groups there is no limit. */
  static ControlGroup ofThisProcess() {
    return of(Path.of("/proc/self/cgroup"), Path.of("/sys/fs/cgroup"));
  }

  /**
   * @param memberships lines of {@code hierarchy:controllers:path}
   * @param tree where the groups are mounted
   */
  static ControlGroup of(Path memberships, Path tree) {
    try {
      return new ControlGroup(Files.readAllLines(memberships), tree);
    } catch (IOException notThere) {
      return new ControlGroup(List.of(), tree);
    }
  }

  /** Bytes of the least limit, {@link Long#MAX_VALUE} without one. */
  long memoryLimit() {
    long least = Long.MAX_VALUE;
    for (String line : memberships) {
      String[] parts = line.split(":", 3);
      if (parts.length == 3 && parts[0].equals("0") && parts[1].isEmpty()) {
        // On a mixed system the second version is mounted at unified.
        Path root = Files.exists(tree.resolve("unified")) ? tree.resolve("unified") : tree;
        least = Math.min(least, least(root, parts[2], "memory.max", "memory.high"));
      } else if (parts.length == 3 && List.of(parts[1].split(",")).contains("memory")) {
        least = Math.min(least, least(tree.resolve("memory"), parts[2], "memory.limit_in_bytes"));
      }
    }
    return least;
  }

  /** The least of a group and those around it, up to the root. */
  private static long least(Path root, String path, String... files) {
    Path group = root.resolve(path.replaceFirst("^/+", "")).normalize();
    if (!group.startsWith(root)) {
      group = root; // a path of "/../..": the group lies outside what can be seen
    }
    long least = Long.MAX_VALUE;
    for (; group.startsWith(root); group = group.getParent()) {
      for (String file : files) {
        least = Math.min(least, read(group.resolve(file)));
      }
    }
    return least;
  }

  /** "max", a number, or nothing there; the first version's "no limit" is a number beyond all memory. */
  private static long read(Path file) {
    try {
      String text = Files.readString(file).strip();
      return text.equals("max") ? Long.MAX_VALUE : Long.parseLong(text);
    } catch (IOException | NumberFormatException noLimit) {
      return Long.MAX_VALUE;
    }
  }
}
