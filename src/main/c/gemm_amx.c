/*
 * gemm_amx.c - bf16 tiles of 32 x 32 in the matrix registers: four sums of 16 x 16, two tiles of A, two of B.
 *
 * tdpbf16ps takes 16 rows of A by 32 k (16 lanes of pairs, rows whole) and 16 lanes of pairs by 16 columns of B, which
 * is how B's panels lie anyway. A's panels keep their rows whole (`rows_whole`), padded with zeros to 16 rows and 16
 * lanes.
 */
#include "gemm_zmm.h"

#define MATRIX_TILES 1
#define PAIRS 1
#include "gemm_lanes.h"

/* Register numbers become part of an instruction's text: an enum would not do. */
#define SUM00 0
#define SUM01 1
#define SUM10 2
#define SUM11 3
#define A0 4
#define A1 5
#define B0 6
#define B1 7

/* Palette 1: eight tiles of 16 rows of 64 bytes. */
static const struct {
  uint8_t palette, start_row, reserved[14];
  uint16_t bytes[16];
  uint8_t rows[16];
} __attribute__((aligned(64))) config = {
    .palette = 1, .bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

static void begin(void) { _tile_loadconfig(&config); }

static void end(void) { _tile_release(); }

static void tile(const hone_gemm_rows *of_a, int64_t steps, const uint32_t *b, float *out, int64_t stride, bool add) {
  enum { ROW = COLUMNS * 4 };
  const int64_t out_row = stride * 4;
  float *lower = out + 16 * stride;
  const uint32_t *a = of_a->lanes;
  const int64_t a_row = of_a->row_step * 4;
  const bool both = of_a->count > 16;
  if (add) {
    _tile_loadd(SUM00, out, out_row);
    _tile_loadd(SUM01, out + 16, out_row);
  } else {
    _tile_zero(SUM00);
    _tile_zero(SUM01);
  }
  if (both && add) {
    _tile_loadd(SUM10, lower, out_row);
    _tile_loadd(SUM11, lower + 16, out_row);
  } else {
    _tile_zero(SUM10);
    _tile_zero(SUM11);
  }
  if (both) {
    for (int64_t s = 0; s < steps; s += 16) {
      _tile_loadd(B0, b + s * COLUMNS, ROW);
      _tile_loadd(A0, a + s, a_row);
      _tile_dpbf16ps(SUM00, A0, B0);
      _tile_loadd(B1, b + s * COLUMNS + 16, ROW);
      _tile_dpbf16ps(SUM01, A0, B1);
      _tile_loadd(A1, a + 16 * of_a->row_step + s, a_row);
      _tile_dpbf16ps(SUM10, A1, B0);
      _tile_dpbf16ps(SUM11, A1, B1);
    }
    _tile_stored(SUM10, lower, out_row);
    _tile_stored(SUM11, lower + 16, out_row);
  } else {
    for (int64_t s = 0; s < steps; s += 16) {
      _tile_loadd(A0, a + s, a_row);
      _tile_loadd(B0, b + s * COLUMNS, ROW);
      _tile_loadd(B1, b + s * COLUMNS + 16, ROW);
      _tile_dpbf16ps(SUM00, A0, B0);
      _tile_dpbf16ps(SUM01, A0, B1);
    }
  }
  _tile_stored(SUM00, out, out_row);
  _tile_stored(SUM01, out + 16, out_row);
}

const hone_gemm_kernel hone_gemm_amx = {
    GEMM_COMMON, .rows = 32, .pairs = true, .rows_whole = true, .depth = 16, .stretch = 256, .begin = begin, .end = end};
