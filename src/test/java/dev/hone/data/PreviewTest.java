package dev.hone.data;

import static org.assertj.core.api.Assertions.assertThat;

import dev.hone.testing.TinyTokenizer;
import dev.hone.text.Tokenizer;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.api.Test;

class PreviewTest {
  @Test
  void marksTrainedTokens() {
    try (Tokenizer tokenizer = TinyTokenizer.open()) {
      Example example = example(tokenizer, "<s>Q é:", "hello\n€</s>");
      assertThat(Preview.render(example, tokenizer, false)).isEqualTo("<s>Q é:⟦hello↵\n€</s>⟧");
      assertThat(Preview.render(example, tokenizer, true))
          .isEqualTo("<s>Q é:\u001B[30;42mhello↵\u001B[0m\n\u001B[30;42m€</s>\u001B[0m");
      Example turns = new Example(example.ids(), example.labels().clone(), example.positions());
      Arrays.fill(turns.labels(), example.length() - 1, example.length(), Example.IGNORED);
      assertThat(Preview.render(turns, tokenizer, false)).isEqualTo("<s>Q é:⟦hello↵\n€⟧</s>");
    }
  }

  @Test
  void startsEachDocumentOnItsOwnLine() {
    try (Tokenizer tokenizer = TinyTokenizer.open()) {
      Example packed = Packing.pack(List.of(example(tokenizer, "a", "b"), example(tokenizer, "c", "d")), 8).getFirst();
      assertThat(Preview.render(packed, tokenizer, false)).isEqualTo("a⟦b⟧\n--- document 2 ---\nc⟦d⟧");
    }
  }

  @Test
  void doesNotMarkALabelThatNothingPredicts() {
    try (Tokenizer tokenizer = TinyTokenizer.open()) {
      int[] ids = tokenizer.encode("ab", false);
      assertThat(Preview.render(Example.of(ids, ids), tokenizer, false)).isEqualTo("a⟦b⟧");
    }
  }

  @Test
  void showsIdsWithoutATokenizer() {
    Example example = Example.of(new int[] {5, 6, 7}, new int[] {-100, 6, -100});
    assertThat(Preview.render(example, null, false)).isEqualTo("5 ⟦6 ⟧7 ");
  }

  private static Example example(Tokenizer tokenizer, String prompt, String answer) {
    int[] p = tokenizer.encode(prompt, false);
    int[] a = tokenizer.encode(answer, false);
    int[] ids = Arrays.copyOf(p, p.length + a.length);
    System.arraycopy(a, 0, ids, p.length, a.length);
    int[] labels = ids.clone();
    Arrays.fill(labels, 0, p.length, Example.IGNORED);
    return Example.of(ids, labels);
  }
}
