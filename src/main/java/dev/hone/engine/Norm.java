package dev.hone.engine;

import dev.hone.tensor.Tensor;

/**
 * The weight of an RMSNorm.
 *
 * @param weight (C)
 * @param gradient (C) f32 when it trains, else null
 */
record Norm(Tensor weight, Tensor gradient) {}
