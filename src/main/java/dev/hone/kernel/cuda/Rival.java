package dev.hone.kernel.cuda;

import dev.hone.config.Rivalry;
import dev.hone.kernel.cuda.Program.Kernel;

/** Another implementation of what some shipped kernels do, from a library that this machine happens to have. */
interface Rival extends AutoCloseable {
  /** Does the work with the launcher's present arguments. */
  @FunctionalInterface
  interface Work {
    void run(Launcher launch, int gridX, int gridY);
  }

  /** Library and version, for records and logs. */
  String name();

  /** The setting that says when it is used. */
  String setting();

  Rivalry.Use use();

  /** Leading parameters of a kernel that it overwrites, when this rival is one of its; 0 when it is not. */
  int outputs(Kernel kernel);

  /**
   * What the launcher's arguments ask for, in as many words as speed depends on; null when the rival does not do that.
   * Sizes that vary from batch to batch stand there rounded up to a power of two.
   */
  String work(Kernel kernel, Launcher launch);

  /**
   * Makes ready for these very arguments.
   *
   * @throws dev.hone.kernel.NativeException when the library cannot
   */
  Work prepare(Kernel kernel, Launcher launch);

  @Override
  void close();
}
