package dev.hone.kernel.cpu;

import static org.assertj.core.api.Assertions.assertThat;
import static org.junit.jupiter.api.Assumptions.assumeTrue;

import dev.hone.testing.HoneHeader;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.TreeSet;
import org.junit.jupiter.api.Test;

/**
 * libhone.so exports hone.h and nothing else. Reads the file by the ELF-64 object file format, section 18 and Symbol
 * Table.
 */
class ExportsTest {
  private static final int SHT_DYNSYM = 11;
  private static final int SECTION_HEADERS_AT = 0x28;
  private static final int SECTION_COUNT_AT = 0x3c;
  private static final int SECTION_BYTES = 64;
  private static final int SYMBOL_BYTES = 24;

  @Test
  void exportsTheHeaderAndNothingElse() throws IOException {
    Path library = CpuKernels.libraryPath();
    assumeTrue(library.toString().endsWith(".so"), "reads ELF files only, and this platform's library is "
        + library.getFileName());
    ByteBuffer elf = ByteBuffer.wrap(Files.readAllBytes(library)).order(ByteOrder.LITTLE_ENDIAN);
    assertThat(elf.getInt(0)).as("ELF magic").isEqualTo(0x464c457f);
    assertThat(elf.get(4)).as("64-bit").isEqualTo((byte) 2);
    assertThat(exported(elf)).containsExactlyInAnyOrderElementsOf(HoneHeader.read().functions().keySet());
  }

  /** Names of the global symbols that the file defines. */
  private static TreeSet<String> exported(ByteBuffer elf) {
    TreeSet<String> names = new TreeSet<>();
    int headers = Math.toIntExact(elf.getLong(SECTION_HEADERS_AT));
    for (int s = 0; s < elf.getShort(SECTION_COUNT_AT); s++) {
      int header = headers + s * SECTION_BYTES;
      if (elf.getInt(header + 4) != SHT_DYNSYM) {
        continue;
      }
      int strings = offset(elf, headers + elf.getInt(header + 40) * SECTION_BYTES);
      int first = offset(elf, header);
      int count = Math.toIntExact(elf.getLong(header + 32) / SYMBOL_BYTES);
      for (int i = 1; i < count; i++) {
        int symbol = first + i * SYMBOL_BYTES;
        boolean local = elf.get(symbol + 4) >> 4 == 0;
        boolean defined = elf.getShort(symbol + 6) != 0;
        if (defined && !local) {
          names.add(text(elf, strings + elf.getInt(symbol)));
        }
      }
    }
    return names;
  }

  private static int offset(ByteBuffer elf, int header) {
    return Math.toIntExact(elf.getLong(header + 24));
  }

  private static String text(ByteBuffer elf, int at) {
    int end = at;
    while (elf.get(end) != 0) {
      end++;
    }
    return new String(elf.array(), at, end - at, StandardCharsets.US_ASCII);
  }
}
