package dev.hone.kernel.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.List;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.api.io.TempDir;

/** Limits of control groups, read from a tree made for the purpose. */
class ControlGroupTest {
  private static final long NONE = Long.MAX_VALUE;

  @TempDir
  private Path folder;

  private Path tree() {
    return folder.resolve("cgroup");
  }

  private void write(String file, String text) throws IOException {
    Path path = tree().resolve(file);
    Files.createDirectories(path.getParent());
    Files.writeString(path, text + "\n");
  }

  private long limit(String... memberships) throws IOException {
    Path file = Files.write(folder.resolve("membership"), List.of(memberships));
    return ControlGroup.of(file, tree()).memoryLimit();
  }

  @Test
  void theLeastOfMaxAndHighCounts() throws IOException {
    write("user/run/memory.max", "4000000000");
    write("user/run/memory.high", "max");
    assertThat(limit("0::/user/run")).isEqualTo(4_000_000_000L);
    write("user/run/memory.high", "3000000000");
    assertThat(limit("0::/user/run")).isEqualTo(3_000_000_000L);
    write("user/run/memory.max", "max");
    assertThat(limit("0::/user/run")).isEqualTo(3_000_000_000L);
    write("user/run/memory.high", "max");
    assertThat(limit("0::/user/run")).isEqualTo(NONE);
  }

  /** A group may have no more than those around it; one beside it does not matter, nor do those below. */
  @Test
  void groupsAroundItHoldToo() throws IOException {
    write("user/memory.max", "2000");
    write("user/run/memory.max", "5000");
    write("user/run/below/memory.max", "10");
    write("other/memory.max", "20");
    assertThat(limit("0::/user/run")).isEqualTo(2000);
    assertThat(limit("0::/user")).isEqualTo(2000);
    assertThat(limit("0::/user/run/below")).isEqualTo(10);
    write("memory.high", "1500");
    assertThat(limit("0::/user/run")).isEqualTo(1500);
  }

  /** The path is the host's and the tree the container's: what is seen is the root. */
  @Test
  void aContainerSeesItsGroupAsTheRoot() throws IOException {
    write("memory.max", "7000");
    assertThat(limit("0::/")).isEqualTo(7000);
    assertThat(limit("0::/system.slice/docker-1f.scope")).isEqualTo(7000);
    assertThat(limit("0::/../..")).isEqualTo(7000);
    Files.writeString(folder.resolve("memory.max"), "1");
    assertThat(limit("0::/../x")).as("nothing beside the tree is read").isEqualTo(7000);
  }

  @Test
  void theFirstVersionHasOneLimit() throws IOException {
    write("memory/jobs/7/memory.limit_in_bytes", "6000");
    write("memory/jobs/memory.limit_in_bytes", "9223372036854771712");
    write("memory/memory.limit_in_bytes", "9223372036854771712");
    write("cpu/jobs/7/memory.limit_in_bytes", "1");
    assertThat(limit("5:cpu,cpuacct:/jobs/7", "4:name=systemd:/jobs/7", "3:hugetlb,memory:/jobs/7", "0::/")).isEqualTo(6000);
    assertThat(limit("3:memory:/jobs/8")).as("not visible here").isEqualTo(9_223_372_036_854_771_712L);
    write("unified/jobs/memory.high", "500");
    assertThat(limit("3:memory:/jobs/7", "0::/jobs")).as("both versions").isEqualTo(500);
  }

  @Test
  void withoutGroupsThereIsNoLimit() throws IOException {
    assertThat(ControlGroup.of(folder.resolve("none"), tree()).memoryLimit()).isEqualTo(NONE);
    assertThat(limit("0::/user")).isEqualTo(NONE);
    write("user/memory.max", "a lot");
    assertThat(limit("0::/user", "nonsense", "")).isEqualTo(NONE);
  }

  @Test
  void thisMachinesMemoryRespectsThisProcesssGroup() {
    try (CpuKernels kernels = new CpuKernels()) {
      assertThat(kernels.memoryBytes()).isPositive().isLessThanOrEqualTo(ControlGroup.ofThisProcess().memoryLimit());
    }
  }
}
