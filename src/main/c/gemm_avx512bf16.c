/* gemm_avx512bf16.c - bf16 tiles of 14 x 32: vdpbf16ps adds the products of two neighbours along k to an f32. */
#include "gemm_zmm.h"

#define VTILE(x, b, c) _mm512_dpbf16_ps(c, (__m512bh)(x), (__m512bh)(b))
#define PAIRS 1
#include "gemm_lanes.h"

const hone_gemm_kernel hone_gemm_avx512bf16 = {GEMM_COMMON, .rows = ROWS, .pairs = true, .depth = 1, .stretch = 256};
