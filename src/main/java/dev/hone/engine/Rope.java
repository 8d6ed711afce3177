package dev.hone.engine;

import dev.hone.tensor.Tensor;

/** The rotary tables (P, rot/2) and the position of each token (M) of the running pass. */
record Rope(Tensor cos, Tensor sin, Tensor positions) {}
