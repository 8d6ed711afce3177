package dev.hone.kernel.cuda.redist;

import java.util.List;
import java.util.Map;
import java.util.TreeMap;

/**
 * What NVRTC is to compile: one translation unit with all that it includes, nothing read from the disk.
 *
 * @param name file name, for messages
 * @param text CUDA C++
 * @param headers text of each file by the name by which it is included
 * @param options such as {@code --std=c++17} or {@code -DHONE_K=4096}
 */
public record KernelSource(String name, String text, Map<String, String> headers, List<String> options) {
  public KernelSource {
    headers = Map.copyOf(headers);
    options = List.copyOf(options);
  }

  /** The headers in a fixed order, as the cache's key needs them. */
  TreeMap<String, String> sortedHeaders() {
    return new TreeMap<>(headers);
  }
}
