/* gemm_avx512.c - f32 tiles of 14 x 32 with AVX-512. */
#include "gemm_zmm.h"

#define VTILE(x, b, c) _mm512_fmadd_ps(x, b, c)
#include "gemm_lanes.h"

const hone_gemm_kernel hone_gemm_avx512 = {GEMM_COMMON, .rows = ROWS, .pairs = false, .depth = 1};
