package dev.hone.kernel.cpu;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.kernel.Activation;
import dev.hone.tensor.DType;
import dev.hone.tensor.Tensor;
import dev.hone.testing.HoneHeader;
import dev.hone.testing.HoneHeader.Field;
import dev.hone.testing.HoneHeader.Function;
import dev.hone.testing.HoneHeader.Type;
import java.io.IOException;
import java.lang.foreign.MemoryLayout;
import java.lang.foreign.MemoryLayout.PathElement;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Locale;
import java.util.Map;
import java.util.regex.Pattern;
import org.junit.jupiter.api.BeforeAll;
import org.junit.jupiter.api.Test;

/** The bindings against the header they bind: a difference would corrupt memory instead of failing. */
class HoneHeaderTest {
  private static HoneHeader header;

  @BeforeAll
  static void readHeader() throws IOException {
    header = HoneHeader.read();
  }

  /** HoneH.java's handles as its text says, in its order: field name and C name to result and parameters. */
  private static Map<String, Function> bindings() throws IOException {
    String text = Files.readString(
        Path.of(System.getProperty("hone.root", "."), "src/main/java/dev/hone/kernel/cpu/HoneH.java"));
    Map<String, Function> found = new LinkedHashMap<>();
    Pattern.compile("MethodHandle\\s+(\\w+)\\s*=\\s*function\\(\\s*\"(\\w+)\"\\s*,([^;]*)\\)\\s*;").matcher(text)
        .results()
        .forEach(m -> {
          List<Type> types = Arrays.stream(m.group(3).split(",")).map(t -> Type.valueOf(t.strip())).toList();
          found.put(m.group(1) + " " + m.group(2), new Function(types.getFirst(), types.subList(1, types.size())));
        });
    return found;
  }

  @Test
  void everyFunctionIsBoundWithItsOwnTypesAndInOrder() throws IOException {
    Map<String, Function> wanted = new LinkedHashMap<>();
    header.functions().forEach((name, f) ->
        wanted.put(name.substring("hone_".length()).toUpperCase(Locale.ROOT) + " " + name, f));
    assertThat(wanted).hasSizeGreaterThan(30);
    Map<String, Function> bound = bindings();
    assertThat(bound).containsExactlyEntriesOf(wanted);
  }

  @Test
  void theLibraryHasEveryFunction() {
    // Initialising the class looks all of them up.
    assertThat(HoneH.ABI_VERSION.type().returnType()).isEqualTo(int.class);
    assertThat(CpuKernels.ABI_VERSION).isEqualTo(header.constants().get("HONE_ABI_VERSION"));
  }

  @Test
  void structsHaveTheCompilersLayout() {
    assertSameLayout(header.structs().get("hone_tensor"), Tensor.LAYOUT);
    assertSameLayout(header.structs().get("hone_quant"), Tensor.QUANT_LAYOUT);
  }

  private static void assertSameLayout(List<Field> fields, MemoryLayout layout) {
    long offset = 0;
    long alignment = 1;
    List<String> names = new ArrayList<>();
    for (Field field : fields) {
      int bytes = field.type().bytes;
      offset = Math.ceilDiv(offset, bytes) * bytes;
      assertThat(layout.byteOffset(PathElement.groupElement(field.name()))).as(field.name()).isEqualTo(offset);
      assertThat(layout.select(PathElement.groupElement(field.name())).byteSize()).as(field.name())
          .isEqualTo((long) bytes * field.count());
      offset += (long) bytes * field.count();
      alignment = Math.max(alignment, bytes);
      names.add(field.name());
    }
    assertThat(names).isNotEmpty();
    assertThat(layout.byteSize()).isEqualTo(Math.ceilDiv(offset, alignment) * alignment);
  }

  @Test
  void enumsHaveTheHeadersValues() {
    for (DType type : DType.values()) {
      assertThat(type.code()).as(type.name()).isEqualTo(header.constants().get("HONE_" + type.name()));
    }
    for (Activation activation : Activation.values()) {
      assertThat(activation.code()).as(activation.name()).isEqualTo(header.constants().get("HONE_"
          + activation.name()));
    }
    for (CpuKernels.Isa isa : CpuKernels.Isa.values()) {
      assertThat(isa.ordinal()).as(isa.name()).isEqualTo(header.constants().get("HONE_ISA_" + isa.name()));
    }
  }
}
