package dev.hone.kernel.cuda;

import com.fasterxml.jackson.annotation.JsonIgnoreProperties;
import com.fasterxml.jackson.annotation.JsonProperty;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.io.InputStream;
import java.io.UncheckedIOException;
import java.util.List;
import java.util.Map;

/**
 * What the PTX files hold: {@code ptx/manifest.json}, written by {@code kernels/build.py}, whose fields
 * kernels/README.md describes.
 *
 * @param entries every kernel of every tier
 * @param files where the PTX comes from, by file name
 */
record Manifest(List<Entry> entries, Files files) {
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
      Integer value = consts.get(name); // getOrDefault would box the other value
      return value == null ? otherwise : value;
    }
  }

  /** The PTX behind a manifest. */
  interface Files {
    byte[] read(String file);
  }

  /** The file's only object. */
  private record Root(List<Entry> entries) {}

  /** A parameter's name and PTX type: u64 (an address or a seed), s64, s32, f32. */
  record Parameter(String name, String type) {}

  /** The manifest of this build, from its jar or class folder. */
  static Manifest ofBuild() {
    try {
      Root root = new ObjectMapper().readValue(resource("manifest.json"), Root.class);
      return new Manifest(root.entries(), Manifest::resource);
    } catch (IOException e) {
      throw new UncheckedIOException("ptx/manifest.json", e);
    }
  }

  /** A file below ptx/ of this build. */
  private static byte[] resource(String file) {
    try (InputStream in = Manifest.class.getResourceAsStream(FOLDER + file)) {
      if (in == null) {
        throw new IllegalStateException("this build of Hone has no ptx/" + file);
      }
      return in.readAllBytes();
    } catch (IOException e) {
      throw new UncheckedIOException("ptx/" + file, e);
    }
  }
}
