package dev.hone.cli;

import dev.hone.config.TrainConfig;
import dev.hone.data.Example;
import dev.hone.data.Preview;
import dev.hone.train.RunInputs;
import dev.hone.train.TrainListener;
import dev.hone.train.Trainer;
import java.io.PrintStream;
import java.util.List;

/** The trainer behind the train command. */
final class RunTraining implements Training {
  @Override
  public void run(TrainConfig config, TrainListener listener) {
    new Trainer(config, listener).run();
  }

  @Override
  public void preview(TrainConfig config, int rows, PrintStream out) {
    boolean colour = System.console() != null && System.console().isTerminal() && System.getenv("NO_COLOR") == null;
    try (RunInputs inputs = RunInputs.open(config)) {
      inputs.data().report().lines().forEach(out::println);
      inputs.data().template().ifPresent(t -> out.println("template " + t.name()));
      List<Example> train = inputs.data().train();
      for (int i = 0; i < Math.min(rows, train.size()); i++) {
        Example row = train.get(i);
        out.println("--- row " + (i + 1) + ": " + row.length() + " tokens ---");
        out.println(Preview.render(row, inputs.tokenizer(), colour));
      }
    }
  }
}
