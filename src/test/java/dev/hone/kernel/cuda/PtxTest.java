package dev.hone.kernel.cuda;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.hone.kernel.cuda.Manifest.Entry;
import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.security.MessageDigest;
import java.security.NoSuchAlgorithmException;
import java.util.ArrayList;
import java.util.HashSet;
import java.util.HexFormat;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import org.junit.jupiter.api.Test;

/** The committed PTX belongs to the sources beside it, and is what the cards of each tier take. */
class PtxTest {
  private static final Path ROOT = Path.of(System.getProperty("hone.root", "."));

  /** Dynamic plus static shared memory that every card of a tier has: 7.5, and the least of 8.x, 9.0 and later. */
  private static final Map<String, Integer> SHARED = Map.of("sm_75", 64 << 10, "sm_80", 163 << 10);
  /** What consumer cards of compute capability 8.6, 8.9 and 12.0 have: each op must have a kernel within it. */
  private static final int CONSUMER_SHARED = 99 << 10;

  private static final List<Entry> ENTRIES = Manifest.ofBuild().entries();

  @Test
  void everyHashIsThatOfTheSourcesAsTheyAre() throws IOException, NoSuchAlgorithmException {
    Map<List<String>, String> now = new TreeMap<>((a, b) -> a.toString().compareTo(b.toString()));
    Set<String> stale = new TreeSet<>();
    for (Entry entry : ENTRIES) {
      String hash = now.get(entry.sources());
      if (hash == null) {
        MessageDigest digest = MessageDigest.getInstance("SHA-256");
        for (String source : entry.sources()) {
          digest.update(Files.readAllBytes(ROOT.resolve(source)));
        }
        hash = HexFormat.of().formatHex(digest.digest());
        now.put(entry.sources(), hash);
      }
      if (!hash.equals(entry.hash())) {
        stale.add(entry.sources().getFirst());
      }
    }
    assertThat(stale).as("compile these again with kernels/build.py").isEmpty();
  }

  @Test
  void everyFileIsListedAndEveryEntryIsInItsFile() throws IOException {
    Set<String> listed = ENTRIES.stream().map(Entry::file).collect(Collectors.toSet());
    try (Stream<Path> files = Files.list(ROOT.resolve("ptx"))) {
      assertThat(files.map(p -> p.getFileName().toString()).filter(n -> n.endsWith(".ptx")).collect(Collectors.toSet()))
          .isEqualTo(listed);
    }
    Set<String> seen = new HashSet<>();
    for (Entry entry : ENTRIES) {
      String text = Files.readString(ROOT.resolve("ptx").resolve(entry.file()));
      assertThat(text).as(entry.entry()).contains(".entry " + entry.entry() + "(")
          .contains(".version " + entry.ptx()).contains(".target " + entry.tier());
      assertThat(seen.add(entry.tier() + " " + entry.entry())).as("%s stands once", entry.entry()).isTrue();
      assertThat(Double.parseDouble(entry.ptx())).as(entry.entry() + ": drivers from 520 on").isLessThanOrEqualTo(8.0);
      assertThat(entry.shared() + entry.staticShared()).as(entry.entry()).isLessThanOrEqualTo(SHARED.get(entry.tier()));
    }
  }

  @Test
  void bothTiersHaveTheSameOpsWithTheSameParameters() {
    Map<String, List<Manifest.Parameter>> parameters = new TreeMap<>();
    Map<String, Set<String>> ops = new TreeMap<>();
    for (Entry entry : ENTRIES) {
      ops.computeIfAbsent(entry.tier(), t -> new TreeSet<>()).add(entry.op());
      assertThat(parameters.computeIfAbsent(entry.op(), o -> entry.parameters())).as(entry.entry())
          .extracting(Manifest.Parameter::type)
          .isEqualTo(entry.parameters().stream().map(Manifest.Parameter::type).toList());
    }
    assertThat(ops.get("sm_75")).isEqualTo(ops.get("sm_80"));
  }

  @Test
  void consumerCardsHaveAKernelOfEveryOp() {
    Map<String, Integer> least = new TreeMap<>();
    for (Entry entry : ENTRIES) {
      String shape =
          List.of(entry.tier(), entry.op(), entry.constant("DP", 0), entry.constant("CAP", 0), entry.constant("R", 0))
              .toString();
      least.merge(shape, entry.shared() + entry.staticShared(), Math::min);
    }
    assertThat(least.values()).allSatisfy(bytes -> assertThat(bytes).isLessThanOrEqualTo(CONSUMER_SHARED));
  }

  /** A quick gate without optimisation; registers and spills of the optimised code stand in kernels/README.md. */
  @Test
  void ptxasTakesEveryFile() throws IOException, InterruptedException {
    boolean there = Stream.of(System.getenv("PATH").split(java.io.File.pathSeparator))
        .anyMatch(folder -> Files.isExecutable(Path.of(folder, "ptxas")));
    if (!there) {
      System.out.println("skipped: no ptxas on PATH, so no PTX was assembled");
    }
    assumeTrue(there, "no ptxas");
    Path folder = Files.createTempDirectory("hone-ptxas");
    List<String> refused = new ArrayList<>();
    Set<String> files = ENTRIES.stream().map(Entry::file).collect(Collectors.toCollection(TreeSet::new));
    for (String file : files) {
      String own = file.contains(".sm_75.") ? "sm_75" : "sm_80";
      for (String target : List.of(own, "sm_120")) {
        Process process = new ProcessBuilder(
            "ptxas", "-O0", "-arch=" + target, ROOT.resolve("ptx").resolve(file).toString(), "-o",
            folder.resolve("out.cubin").toString()).redirectErrorStream(true).start();
        String said = new String(process.getInputStream().readAllBytes(), java.nio.charset.StandardCharsets.UTF_8);
        if (process.waitFor() != 0) {
          refused.add(file + " for " + target + ": " + said);
        }
      }
    }
    Files.deleteIfExists(folder.resolve("out.cubin"));
    Files.delete(folder);
    assertThat(refused).isEmpty();
  }
}
