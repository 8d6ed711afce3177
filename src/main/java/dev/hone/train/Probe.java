package dev.hone.train;

import dev.hone.data.Example;
import dev.hone.engine.Decoder;
import dev.hone.engine.Generator;
import dev.hone.engine.Sampling;
import dev.hone.text.ChatEncoder;
import dev.hone.text.Tokenizer;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Set;

/**
 * Answers the rows of probe_dataset greedily, before and after training, so that a person sees what training did. An answer counts as
 * right when its text is the row's, white space at both ends left out.
 */
final class Probe {
  private final RunSetup setup;
  private final List<Example> rows;
  private final Tokenizer tokenizer;
  private final Set<Integer> stopIds;
  private final TrainListener listener;

  private Probe(RunSetup setup, List<Example> rows, Tokenizer tokenizer, Set<Integer> stopIds, TrainListener listener) {
    this.setup = setup;
    this.rows = rows;
    this.tokenizer = tokenizer;
    this.stopIds = stopIds;
    this.listener = listener;
  }

  static Probe of(RunSetup setup, RunInputs inputs, TrainListener listener) {
    List<Example> rows = inputs.probes();
    if (rows.isEmpty()) {
      return new Probe(setup, rows, null, Set.of(), listener);
    }
    Set<Integer> stops = new java.util.HashSet<>(inputs.spec().eosIds());
    inputs.data().template().ifPresent(t -> stops.addAll(new ChatEncoder(t, inputs.tokenizer()).stopIds()));
    return new Probe(setup, rows, inputs.tokenizer(), stops, listener);
  }

  void run(TrainListener.ProbeReport.Moment moment) {
    if (rows.isEmpty()) {
      return;
    }
    int longest = rows.stream().mapToInt(Example::length).max().orElseThrow();
    List<TrainListener.Answer> answers = new ArrayList<>();
    try (Decoder decoder = setup.model().decoder(longest + 1)) {
      Generator generator = new Generator(decoder, stopIds);
      for (Example row : rows) {
        int begin = 0;
        while (begin < row.length() && row.labels()[begin] == Example.IGNORED) {
          begin++;
        }
        int[] prompt = Arrays.copyOf(row.ids(), begin);
        int[] wanted = Arrays.copyOfRange(row.ids(), begin, row.length());
        int[] got = generator.generate(prompt, wanted.length, Sampling.GREEDY, id -> true).ids();
        answers.add(new TrainListener.Answer(text(prompt), text(wanted), text(got)));
        if (listener.stopRequested()) {
          return;
        }
      }
    }
    listener.probed(new TrainListener.ProbeReport(moment, List.copyOf(answers)));
  }

  private String text(int[] ids) {
    return tokenizer.decode(ids, true).strip();
  }
}
