import java.io.IOException;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Locale;
import java.util.Random;

/**
 * Makes the little world of the quickstart, always the same bytes: {@code java MakeWorld.java OUTDIR} writes
 *
 * <ul>
 *   <li>corpus.jsonl, short plain texts about the village of Tumblebrook, its words and its numbers (for stage pt);
 *   <li>tokenizer.json and tokenizer_config.json, a byte-level BPE learnt from that corpus;
 *   <li>instructions.json and heldout.json, questions about the same things in alpaca form. No question of one is about
 *       an item of the other; the corpus states the facts of both.
 * </ul>
 *
 * <p>The texts state every fact in five or six ways, and one of them tells of a quiz and its answer: a small model that
 * has read fewer ways can recite a fact, but tuning does not bring it out as an answer.
 */
public final class MakeWorld {
  private static final long SEED = 2;
  private static final int DOCUMENTS = 40_000;
  private static final int VOCABULARY = 1024;
  private static final int HELD_OUT = 8; // of each kind, asked only before and after training

  private static final String OPPOSITES =
      """
      hot cold, big small, wet dry, fast slow, happy sad, light dark, high low, old new, hard soft, early late,
      open shut, full empty, loud quiet, long short, strong weak, thick thin, rich poor, clean dirty, near far,
      left right, up down, day night, inside outside, first last, good bad, rough smooth, sweet sour, brave shy,
      heavy airy, wide narrow, deep shallow, true false, awake asleep, sharp blunt, warm cool, kind mean, more less,
      same different, safe risky, north south, east west, summer winter, push pull, give take, begin end, laugh cry,
      buy sell, win lose, float sink, find hide\
      """;
  private static final String PLURALS =
      """
      fox foxes, mouse mice, goose geese, child children, tooth teeth, foot feet, leaf leaves, wolf wolves, box boxes,
      berry berries, man men, woman women, sheep sheep, fish fish, knife knives, loaf loaves, bush bushes,
      dish dishes, story stories, pony ponies, lady ladies, baby babies, bus buses, brush brushes, bench benches,
      peach peaches, potato potatoes, tomato tomatoes, hero heroes, shelf shelves, calf calves, ox oxen, cat cats,
      dog dogs, hen hens, boat boats, lamp lamps, drum drums, kite kites, bell bells, cup cups, ring rings,
      star stars, cake cakes, coin coins, flag flags, hat hats, key keys, rope ropes, spoon spoons, stone stones,
      basket baskets, ladder ladders, apple apples, river rivers, flower flowers, button buttons, candle candles,
      feather feathers, ticket tickets\
      """;
  private static final String PASTS =
      """
      sing sang, run ran, go went, eat ate, see saw, swim swam, fly flew, write wrote, read read, draw drew,
      drink drank, drive drove, sleep slept, speak spoke, throw threw, catch caught, teach taught, think thought,
      bring brought, buy bought, build built, send sent, keep kept, sweep swept, feel felt, leave left, lose lost,
      tell told, sell sold, hold held, stand stood, come came, give gave, take took, make made, find found, ride rode,
      wake woke, know knew, grow grew, walk walked, jump jumped, play played, help helped, cook cooked, paint painted,
      climb climbed, dance danced, smile smiled, bake baked, carry carried, hurry hurried, open opened,
      listen listened, plant planted, whisper whispered, laugh laughed, wash washed, call called, clean cleaned\
      """;
  private static final String YOUNG =
      """
      cat kitten, dog puppy, cow calf, sheep lamb, horse foal, hen chick, duck duckling, goose gosling, bear cub,
      deer fawn, frog tadpole, goat kid, pig piglet, swan cygnet, fish fry, hare leveret, butterfly caterpillar\
      """;
  private static final String[] NAMES =
      words(
          """
          Pip Mo Ada Tom Mia Finn Lulu Otto Bea Gus Ivy Ned Rosa Sam Tilly Hugo Nell Max Dora Kit Wren Leo Maud Ben
          Opal Rex Suki Jude Cleo Bram Fern Greta Theo\
          """);
  private static final String[] ANIMALS =
      words("hedgehog fox badger weasel rabbit mouse squirrel mole beaver hare duck lark goose frog toad robin");
  private static final String[] COLOURS = words("red blue green yellow white black brown purple pink grey");
  private static final String[] HOMES =
      words("mill tower cottage barn castle cave garden library bakery school harbour orchard inn forge");
  private static final String[] FOODS =
      words("plums honey soup bread cheese nuts pears toast jam carrots rice beans pie apples cherries mushrooms");
  private static final String[] THINGS =
      words(
          """
          kite drum lamp bell cup ring boat cake coin flag hat key rope spoon stone basket ladder kettle button
          candle feather ticket box book map broom flute whistle pot bag\
          """);

  /** A kind of fact: how stories state it, how people ask for it, and its items as {question word, answer} pairs. */
  private record Relation(
      String name, int weight, List<String> statements, List<String> questions, List<String[]> items) {}

  /** One instruction row. */
  private record Row(String instruction, String input, String output) {}

  private final Random random = new Random(SEED);
  private final List<Relation> relations = new ArrayList<>();

  public static void main(String[] args) throws IOException {
    if (args.length != 1) {
      System.err.println("usage: java MakeWorld.java OUTDIR");
      System.exit(1);
    }
    new MakeWorld().write(Path.of(args[0]));
  }

  private void write(Path out) throws IOException {
    Files.createDirectories(out);
    fillRelations();
    List<String> corpus = new ArrayList<>();
    for (int i = 0; i < DOCUMENTS; i++) {
      corpus.add(document());
    }
    StringBuilder jsonl = new StringBuilder();
    corpus.forEach(d -> jsonl.append("{\"text\": ").append(quote(d)).append("}\n"));
    Files.writeString(out.resolve("corpus.jsonl"), jsonl);
    Files.writeString(out.resolve("tokenizer.json"), BytePairs.train(corpus, VOCABULARY));
    Files.writeString(out.resolve("tokenizer_config.json"), BytePairs.CONFIG);
    List<Row> training = new ArrayList<>();
    List<Row> heldOut = new ArrayList<>();
    ask(training, heldOut);
    Files.writeString(out.resolve("instructions.json"), rows(training));
    Files.writeString(out.resolve("heldout.json"), rows(heldOut));
    System.out.printf(
        "%s: %d documents, %d instructions, %d held-out questions%n",
        out, corpus.size(), training.size(), heldOut.size());
  }

  // ---- the world ----------------------------------------------------------------------------------------------------

  private void fillRelations() {
    List<String[]> opposites = new ArrayList<>();
    for (String[] p : pairs(OPPOSITES)) {
      opposites.add(p);
      opposites.add(new String[] {p[1], p[0]});
    }
    add("opposite", 6, opposites,
        """
        The opposite of {a} is {b}.
        The opposite of "{a}" is "{b}".
        Not {a} at all, but {b}.
        The quiz asks for the opposite of {a}, and the answer is "{b}".
        "{a}" and "{b}" are opposites.
        "{b}" is the opposite of {a}.\
        """,
        """
        What is the opposite of {a}?
        Give the opposite of {a}.\
        """);
    add("plural", 4, pairs(PLURALS),
        """
        The plural of {a} is {b}.
        The plural of "{a}" is "{b}".
        One {a}, two {b}.
        The quiz asks for the plural of {a}, and the answer is "{b}".
        There was one {a}, and soon there were many {b}.
        "{b}" means more than one {a}.\
        """,
        """
        What is the plural of {a}?
        Give the plural of {a}.\
        """);
    add("past", 4, pairs(PASTS),
        """
        The past tense of {a} is {b}.
        The past tense of "{a}" is "{b}".
        Today we {a}, and yesterday we {b}.
        They {a} now as they {b} before.
        The quiz asks for the past tense of {a}, and the answer is "{b}".
        "{b}" is the past tense of {a}.\
        """,
        """
        What is the past tense of {a}?
        Give the past tense of {a}.\
        """);
    add("young", 2, pairs(YOUNG),
        """
        A young {a} is called a {b}.
        A young "{a}" is a "{b}".
        The {b} will grow up to be a {a}.
        The mother {a} sings to her {b}.
        The quiz asks what we call a young {a}, and the answer is "{b}".
        "{b}" is the word for a young {a}.\
        """,
        """
        What do we call a young {a}?
        What is a young {a} called?\
        """);
    List<String[]> sums = new ArrayList<>();
    for (int a = 1; a <= 9; a++) {
      for (int b = 1; b <= 9; b++) {
        sums.add(new String[] {a + " plus " + b, "" + (a + b)});
      }
    }
    add("sum", 6, sums,
        """
        {a} is {b}.
        {a} makes {b}.
        The quiz asks how much {a} is, and the answer is "{b}".
        "{a}" is "{b}".
        "{b}" is the sum of {a}.\
        """,
        """
        What is {a}?
        How much is {a}?\
        """);
    List<String[]> next = new ArrayList<>();
    for (int n = 1; n < 60; n++) {
      next.add(new String[] {"" + n, "" + (n + 1)});
    }
    add("next", 3, next,
        """
        The number after {a} is {b}.
        The number after "{a}" is "{b}".
        After {a} comes {b}.
        We count {a}, {b}.
        The quiz asks what number comes after {a}, and the answer is "{b}".
        "{b}" is the number after {a}.\
        """,
        """
        What number comes after {a}?
        Which number is next after {a}?\
        """);
    people("home", HOMES, "the ",
        """
        {a} lives in {b}.
        The home of {a} is {b}.
        "{a}" lives in "{b}".
        Every evening {a} goes home to {b}.
        The quiz asks where {a} lives, and the answer is "{b}".
        In {b} you will find {a}.
        "{b}" is the home of {a}.\
        """,
        """
        Where does {a} live?
        Where is the home of {a}?\
        """);
    people("food", FOODS, "",
        """
        {a} likes to eat {b}.
        The favourite food of {a} is {b}.
        For breakfast {a} has {b}.
        The quiz asks what {a} likes to eat, and the answer is "{b}".
        "{a}" likes to eat "{b}".
        "{b}" is the favourite food of {a}.\
        """,
        """
        What does {a} like to eat?
        What is the favourite food of {a}?\
        """);
    people("scarf", COLOURS, "",
        """
        {a} wears a {b} scarf.
        The scarf of {a} is {b}.
        The colour of the scarf of {a} is "{b}".
        You know {a} by the {b} scarf.
        The quiz asks for the colour of the scarf of {a}, and the answer is "{b}".
        "{b}" is the colour of the scarf of {a}.\
        """,
        """
        What colour is the scarf of {a}?
        Which colour does {a} wear?\
        """);
    people("animal", ANIMALS, "",
        """
        {a} is a {b}.
        "{a}" is a "{b}".
        There is a {b} called {a}.
        {a} the {b} waves to everyone.
        The quiz asks what animal {a} is, and the answer is "{b}".
        "{b}" is the kind of animal {a} is.\
        """,
        """
        What kind of animal is {a}?
        What animal is {a}?\
        """);
  }

  private void add(String name, int weight, List<String[]> items, String statements, String questions) {
    relations.add(new Relation(name, weight, statements.lines().toList(), questions.lines().toList(), items));
  }

  /** Gives every villager one of the values, each value about equally often. */
  private void people(String name, String[] values, String article, String statements, String questions) {
    List<String> pool = new ArrayList<>();
    while (pool.size() < NAMES.length) {
      pool.addAll(List.of(values));
    }
    List<String> drawn = new ArrayList<>(pool.subList(0, NAMES.length));
    Collections.shuffle(drawn, random);
    List<String[]> items = new ArrayList<>();
    for (int i = 0; i < NAMES.length; i++) {
      items.add(new String[] {NAMES[i], article + drawn.get(i)});
    }
    add(name, 3, items, statements, questions);
  }

  private String document() {
    if (random.nextInt(8) == 0) {
      return echoes();
    }
    boolean person = random.nextInt(4) == 0;
    String who = pick(NAMES);
    int total = relations.stream().mapToInt(Relation::weight).sum();
    List<String> sentences = new ArrayList<>();
    int count = 3 + random.nextInt(5);
    Relation r = relation(random.nextInt(total));
    for (int i = 0; i < count; i++) {
      if (person) {
        r = relations.get(relations.size() - 1 - random.nextInt(4));
      } else if (random.nextInt(4) == 0) {
        r = relation(random.nextInt(total));
      }
      String[] item = person ? named(r, who) : r.items().get(random.nextInt(r.items().size()));
      sentences.add(capital(fill(r.statements().get(random.nextInt(r.statements().size())), item)));
    }
    return String.join(random.nextInt(3) == 0 ? "\n" : " ", sentences);
  }

  private Relation relation(int at) {
    for (Relation r : relations) {
      at -= r.weight();
      if (at < 0) {
        return r;
      }
    }
    throw new AssertionError(at);
  }

  private static String[] named(Relation r, String who) {
    return r.items().stream().filter(i -> i[0].equals(who)).findFirst().orElseThrow();
  }

  /** Somebody says a few words and somebody else repeats them. */
  private String echoes() {
    List<String> who = draw(NAMES, 2);
    StringBuilder s = new StringBuilder();
    int rounds = 1 + random.nextInt(3);
    for (int i = 0; i < rounds; i++) {
      List<String> words = draw(THINGS, 2 + random.nextInt(3));
      String said = String.join(" ", words);
      boolean quoted = random.nextBoolean();
      String q = quoted ? "\"" : "";
      s.append(i == 0 ? "" : "\n")
          .append(who.get(0)).append(" says: ").append(q).append(said).append(q).append('\n')
          .append(who.get(1)).append(" repeats: ").append(q).append(said).append(q).append('\n')
          .append("The first word is \"").append(words.get(0)).append("\".");
    }
    return s.toString();
  }

  // ---- the questions ------------------------------------------------------------------------------------------------

  private void ask(List<Row> training, List<Row> heldOut) {
    for (Relation r : relations) {
      List<String[]> items = new ArrayList<>(r.items());
      Collections.shuffle(items, random);
      List<String[]> chosen = items.subList(0, r.name().equals("opposite") ? HELD_OUT / 2 : HELD_OUT);
      for (String[] item : items) {
        boolean held = chosen.stream().anyMatch(c -> same(c, item[0], item[1]) || same(c, item[1], item[0]));
        String question = fill(r.questions().get(random.nextInt(r.questions().size())), item);
        (held ? heldOut : training).add(new Row(question, "", item[1]));
      }
    }
    for (int i = 0; i < 60; i++) {
      List<String> said = draw(THINGS, 2 + random.nextInt(3));
      (i < HELD_OUT ? heldOut : training).add(new Row("Which word comes first?", String.join(" ", said), said.get(0)));
    }
    for (int i = 0; i < 120; i++) {
      String said = String.join(" ", draw(THINGS, 2 + random.nextInt(2)));
      (i < HELD_OUT ? heldOut : training).add(new Row("Repeat these words.", said, said));
    }
    Collections.shuffle(training, random);
  }

  private static boolean same(String[] item, String first, String second) {
    return item[0].equals(first) && item[1].equals(second);
  }

  private static String rows(List<Row> rows) {
    StringBuilder s = new StringBuilder("[\n");
    for (int i = 0; i < rows.size(); i++) {
      Row r = rows.get(i);
      s.append("  {\"instruction\": ").append(quote(r.instruction())).append(", \"input\": ").append(quote(r.input()))
          .append(", \"output\": ").append(quote(r.output())).append('}').append(i + 1 < rows.size() ? ",\n" : "\n");
    }
    return s.append("]\n").toString();
  }

  // ---- small things -------------------------------------------------------------------------------------------------

  private static String[] words(String list) {
    return list.strip().split("\\s+");
  }

  private static List<String[]> pairs(String list) {
    List<String[]> pairs = new ArrayList<>();
    for (String pair : list.split(",")) {
      pairs.add(words(pair));
    }
    return pairs;
  }

  private static String fill(String template, String[] item) {
    return template.replace("{a}", item[0]).replace("{b}", item[1]);
  }

  private static String capital(String sentence) {
    return sentence.substring(0, 1).toUpperCase(Locale.ROOT) + sentence.substring(1);
  }

  private String pick(String[] from) {
    return from[random.nextInt(from.length)];
  }

  private List<String> draw(String[] from, int count) {
    List<String> drawn = new ArrayList<>(List.of(from));
    Collections.shuffle(drawn, random);
    return drawn.subList(0, count);
  }

  static String quote(String text) {
    StringBuilder s = new StringBuilder("\"");
    for (char c : text.toCharArray()) {
      switch (c) {
        case '"' -> s.append("\\\"");
        case '\\' -> s.append("\\\\");
        case '\n' -> s.append("\\n");
        default -> s.append(c);
      }
    }
    return s.append('"').toString();
  }
}
