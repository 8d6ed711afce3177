package dev.hone.config;

import java.nio.file.Files;
import java.nio.file.Path;

/**
 * What relative paths of a YAML are relative to.
 *
 * @param workingDirectory tried first, as LLaMA-Factory does
 * @param yamlFolder the YAML's own folder, tried when nothing is there
 */
public record Locations(Path workingDirectory, Path yamlFolder) {

  /** The file or folder meant by {@code path}; where neither place has it, the one in the working directory. */
  public Path locate(String path) {
    Path here = workingDirectory.resolve(path).normalize();
    Path beside = yamlFolder.resolve(path).normalize();
    return !Files.exists(here) && Files.exists(beside) ? beside : here;
  }
}
