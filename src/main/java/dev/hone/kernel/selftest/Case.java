package dev.hone.kernel.selftest;

import dev.hone.kernel.Kernels;

/**
 * One op at one shape.
 *
 * @param op as in kernels/README.md
 * @param shape in words
 * @param largest what the op asks of the workspace
 */
record Case(String op, String shape, Kernels.Largest largest, Body body) {

  /** Makes inputs, runs the op between begin and end, and names its outputs. */
  interface Body {
    void run(Trial trial);
  }
}
