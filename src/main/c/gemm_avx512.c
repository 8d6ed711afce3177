/* gemm_avx512.c - f32 tiles of 14 x 32 with AVX-512. */
#include "gemm_zmm.h"

#define VTILE(x, b, c) _mm512_fmadd_ps(x, b, c)
#define PAIRS 0
#include "gemm_lanes.h"

static void transpose_bf16(uint32_t *out, int64_t width, const void *in, int64_t stride, int32_t rows, int32_t fill,
                           int64_t steps) {
  transpose_of(out, width, in, stride, rows, fill, steps, true);
}

const hone_gemm_kernel hone_gemm_avx512 = {
    GEMM_COMMON, .transpose_bf16 = transpose_bf16, .gather = gather,
    .rows = ROWS, .pairs = false, .depth = 1, .stretch = 256};
