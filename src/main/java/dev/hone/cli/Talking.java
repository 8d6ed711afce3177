package dev.hone.cli;

import dev.hone.config.DeviceChoice;
import dev.hone.tensor.DType;
import java.io.BufferedReader;
import java.io.PrintStream;
import java.nio.file.Path;
import java.util.List;
import java.util.Optional;

/** What the generate and chat commands do once their options are good. */
interface Talking {
  /**
   * A model and how it talks.
   *
   * @param template empty: chosen by the model
   * @param temperature 0 takes the likeliest token
   * @param quantizationBits 4: linear layers as NF4, 8: as int8, 0: as stored
   * @param layerCache keep the quantised base in a file
   * @param compute wanted dtype of activations
   * @param device where to compute
   * @param threads 0: one for each core
   */
  record Setup(
      Path model,
      Optional<Path> adapter,
      Optional<String> template,
      Optional<String> system,
      int maxNewTokens,
      double temperature,
      double topP,
      long seed,
      int quantizationBits,
      boolean layerCache,
      DType compute,
      DeviceChoice device,
      int threads) {}

  /** Answers each prompt by itself; {@code raw} continues the text as it is, without a template. */
  void generate(Setup setup, List<String> prompts, boolean raw, PrintStream out);

  /** A conversation: a line in, an answer out, until the end of the input. */
  void chat(Setup setup, BufferedReader in, PrintStream out);
}
