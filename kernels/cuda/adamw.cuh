/* adamw.cuh - the constants of an AdamW step (adamw.cu, adamw_8bit.cu), made in f64 by one thread of a block. */
#ifndef HONE_ADAMW_CUH
#define HONE_ADAMW_CUH

#include "hone.cuh"

/*
 * The decimal of at most 7 places that rounds to f, if there is one: 0.999f stands for 0.999, and 1 - 0.999f would be off
 * by 5e-5 of itself (src/main/c/adamw.c).
 */
__device__ __forceinline__ double as_written(float f) {
  const double decimal = __ddiv_rn(rint(__dmul_rn(f, 1e7)), 1e7);
  return static_cast<float>(decimal) == f ? decimal : static_cast<double>(f);
}

#endif
