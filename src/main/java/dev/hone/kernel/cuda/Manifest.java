package dev.hone.kernel.cuda;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.net.URL;
import java.util.List;
import java.util.Map;

/**
 * What the PTX files hold: {@code ptx/manifest.json}, written by {@code kernels/build.py} (kernels/README.md has its fields).
 *
 * @param entries every kernel of every tier
 */
record Manifest(List<Entry> entries) {
  private static final String FOLDER = "/ptx/";

  /**
   * One kernel.
   *
   * @param entry its symbol in the PTX
   * @param op what it computes; the entries of an op, tier and dtype have the same parameters and differ in tiles
   * @param tier sm_75 or sm_80
   * @param dtype of the operands it was made for
   * @param file PTX file that holds it
   * @param parameters in launch order
   * @param hidden u64 parameters behind those, which are 0
   * @param block threads of a block
   * @param shared dynamic shared memory, bytes
   * @param staticShared shared memory inside the PTX, bytes
   * @param consts what it was specialised for, such as tile sizes
   * @param divisible by what a parameter must be divisible; addresses in bytes
   * @param ptx version of its PTX
   * @param sources files it was made from, from the repository's root
   * @param hash SHA-256 over their contents
   */
  @JsonIgnoreProperties(ignoreUnknown = true)
  record Entry(
      String entry,
      String op,
      String tier,
      String dtype,
      String file,
      @JsonProperty("params") List<Parameter> parameters,
      int hidden,
      int block,
      int shared,
      @JsonProperty("static_shared") int staticShared,
      Map<String, Integer> consts,
      Map<String, Integer> divisible,
      String ptx,
      List<String> sources,
      String hash) {

    /**
     * A value it was specialised for.
     *
     * @throws IllegalStateException when the manifest has none of that name
     */
    int constant(String name) {
      Integer value = consts.get(name);
      if (value == null) {
        throw new IllegalStateException("ptx/manifest.json: " + entry + " has no constant " + name);
      }
      return value;
    }

    /** As {@link #constant}, or {@code otherwise} where the manifest is silent. */
    int constant(String name, int otherwise) {
      return consts.getOrDefault(name, otherwise);
    }
  }

  /** A parameter's name and PTX type: u64 (an address or a seed), s64, s32, f32. */
  record Parameter(String name, String type) {}

  /** The manifest of this build, from its jar or class folder. */
  static Manifest ofBuild() {
    try (InputStream in = resource("manifest.json").openStream()) {
      return new ObjectMapper().readValue(in, Manifest.class);
    } catch (IOException e) {
      throw new UncheckedIOException("ptx/manifest.json", e);
    }
  }

  /** A PTX file of this build. */
  static byte[] ptx(String file) {
    try (InputStream in = resource(file).openStream()) {
      return in.readAllBytes();
    } catch (IOException e) {
      throw new UncheckedIOException("ptx/" + file, e);
    }
  }

  private static URL resource(String file) {
    URL url = Manifest.class.getResource(FOLDER + file);
    if (url == null) {
      throw new IllegalStateException("this build of Hone has no ptx/" + file);
    }
    return url;
  }
}
