package dev.hone.kernel.cuda.redist;

import java.io.IOException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.Arrays;
import java.util.HexFormat;
import java.util.Map;
import java.util.function.Supplier;

/**
 * Compiled kernels on the disk, so that each is compiled once for each card.
 *
 * <p>A file's name is the SHA-256 of all that decides its content: compiler version, architecture, options, source and
 * headers. It holds the SHA-256 of the code and then the code, is written beside its name and renamed: other processes
 * see none or all of it. One that is damaged counts as absent, and a folder that cannot be written costs only the time
 * to compile again.
 */
final class KernelCache {
  private static final int HASH_BYTES = 32;

  private final Path folder;

  KernelCache(Path folder) {
    this.folder = folder;
  }

  /** The code for a key; {@code compile} is asked when it is not there. */
  byte[] get(String key, Supplier<byte[]> compile) {
    Path file = folder.resolve(key);
    byte[] kept = read(file);
    if (kept != null) {
      return kept;
    }
    byte[] code = compile.get();
    write(file, code);
    return code;
  }

  /** @param target as the compiler names it: {@code sm_89}, {@code compute_80} */
  static String key(Nvrtc.Version compiler, String target, KernelSource source) {
    MessageDigest hash = sha256();
    add(hash, "nvrtc " + compiler);
    add(hash, target);
    source.options().forEach(option -> add(hash, option));
    add(hash, source.text());
    for (Map.Entry<String, String> header : source.sortedHeaders().entrySet()) {
      add(hash, header.getKey());
      add(hash, header.getValue());
    }
    String stem = source.name().replaceAll(".*/|\\.\\w+$", "");
    return stem + "." + target + "." + HexFormat.of().formatHex(hash.digest());
  }

  /** The length goes first, so that no two lists of texts hash alike. */
  private static void add(MessageDigest hash, String text) {
    byte[] bytes = text.getBytes(StandardCharsets.UTF_8);
    hash.update((bytes.length + ":").getBytes(StandardCharsets.US_ASCII));
    hash.update(bytes);
  }

  private static byte[] read(Path file) {
    byte[] all;
    try {
      all = Files.readAllBytes(file);
    } catch (IOException e) {
      return null;
    }
    if (all.length < HASH_BYTES) {
      return null;
    }
    byte[] code = Arrays.copyOfRange(all, HASH_BYTES, all.length);
    return Arrays.equals(sha256().digest(code), Arrays.copyOf(all, HASH_BYTES)) ? code : null;
  }

  private static void write(Path file, byte[] code) {
    byte[] all = Arrays.copyOf(sha256().digest(code), HASH_BYTES + code.length);
    System.arraycopy(code, 0, all, HASH_BYTES, code.length);
    CacheFiles.write(file, all);
  }

  private static MessageDigest sha256() {
    try {
      return MessageDigest.getInstance("SHA-256");
    } catch (NoSuchAlgorithmException e) {
      throw new IllegalStateException("every Java has SHA-256", e);
    }
  }
}
