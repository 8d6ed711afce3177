package dev.hone.plan;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.within;

import dev.hone.testing.Golden;
import java.io.IOException;
import java.nio.file.Files;
import java.util.Arrays;
import java.util.List;
import java.util.Locale;
import org.junit.jupiter.api.Test;

/** The table of cards against docs/cards.md, and that against its own arithmetic. */
class CardSpecTest {
  /** Figures are given to three or four digits. */
  private static final double ROUNDED = 0.003;

  private record Row(
      String card, int memory, double multiprocessors, double megahertz, double teraflops, double bits, double pin,
      double gigabytes, String link) {

    static Row of(String line) {
      String[] cells = Arrays.stream(line.split("\\|")).map(String::strip).toArray(String[]::new);
      String[] name = cells[1].split(", ");
      return new Row(
          name[0], Integer.parseInt(name[1].replace(" GB", "")), number(cells[2]), number(cells[3]), number(cells[4]),
          number(cells[5]), number(cells[6]), number(cells[7]), cells[8]);
    }

    private static double number(String cell) {
      return Double.parseDouble(cell);
    }

    String key() {
      String words = card.replace(" SXM", "").toLowerCase(Locale.ROOT).replace(' ', '-');
      return words + "-" + memory + "gb";
    }

    double operationsAClock() {
      return card.startsWith("H100") ? 4096 : 512;
    }

    double linkRate() {
      return switch (link) {
        case "3.0 x16", "4.0 x8" -> 12.5e9;
        case "4.0 x16" -> 25e9;
        case "5.0 x16" -> 50e9;
        default -> throw new IllegalArgumentException(link);
      };
    }
  }

  private static List<Row> rows() throws IOException {
    return Files.readAllLines(Golden.root().resolve("docs/cards.md")).stream()
        .filter(line -> line.matches("\\| (RTX|H100) .*")).map(Row::of).toList();
  }

  @Test
  void everyCardIsInTheDocumentWithTheSameFigures() throws IOException {
    List<Row> rows = rows();
    assertThat(rows).extracting(Row::key).containsExactlyElementsOf(CardSpec.all().stream().map(CardSpec::name).toList());
    for (Row row : rows) {
      CardSpec card = CardSpec.named(row.key()).orElseThrow();
      assertThat(card.memory()).as(row.card).isEqualTo((long) row.memory << 30);
      assertThat(card.flops()).as(row.card).isCloseTo(row.teraflops * 1e12, within(1e9));
      assertThat(card.memoryRate()).as(row.card).isCloseTo(row.gigabytes * 1e9, within(1e6));
      assertThat(card.linkRate()).as(row.card).isEqualTo(row.linkRate());
    }
  }

  @Test
  void ratesFollowFromTheDataSheet() throws IOException {
    for (Row row : rows()) {
      double teraflops = row.multiprocessors * row.megahertz * 1e6 * row.operationsAClock() / 1e12;
      assertThat(row.teraflops / teraflops).as(row.card + " TFLOP/s").isCloseTo(1, within(ROUNDED));
      // The pin's rate of HBM3 is published to two digits.
      double exact = row.card.startsWith("H100") ? 0.01 : ROUNDED;
      assertThat(row.gigabytes / (row.bits / 8 * row.pin)).as(row.card + " GB/s").isCloseTo(1, within(exact));
    }
  }
}
