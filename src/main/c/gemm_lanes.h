/*
 * gemm_lanes.h - the body of one instruction set's gemm kernel, compiled once for each with its own flags.
 *
 * The including file defines: VEC (a vector of floats), WIDTH (its lanes), ROWS (of a full tile; a tile is two vectors
 * wide), VLOAD, VSTORE, VZERO, VBROADCAST, VFMA (f32), VTILE (what one step of a tile does: f32 or bf16 pairs), VSUM
 * (of lanes), VHALF (WIDTH f16 to f32), NF4_TABLE, nf4_table(code, absmax), nf4_round (a table to bf16), VNF4 (WIDTH
 * values of WIDTH / 2 bytes), NF4_BYTES, VBYTES, VEVEN, VODD (the even and odd values of WIDTH bytes), PAIRS (whether
 * lanes are bf16 pairs), VBF16 (WIDTH bf16 to f32), VSTORE_BF16 (f32 to the nearest WIDTH bf16; NaN stays NaN).
 */
#include <math.h>

#include "gemm.h"
#include "int8.h"
#include "nf4.h"

#define ALWAYS_INLINE static inline __attribute__((always_inline))

enum { COLUMNS = 2 * WIDTH, CHUNK = 512, TILE_ROWS = 32 /* at most */, GATHER_AHEAD = 24 /* rows: memory's latency */ };

#ifndef MATRIX_TILES /* the including file has tiles of its own */
/* ---- the tile ---------------------------------------------------------------------------------------------------- */

/* Every call has a constant `rows`, so that c lives in registers. One pointer for every three rows of A: base, base +
 * step and base + 2 step are addressing modes. */
ALWAYS_INLINE void tile_rows(const int rows, const hone_gemm_rows *of_a, int64_t steps, const uint32_t *lanes_b,
                             float *out, int64_t stride, bool add) {
  const int64_t row_step = of_a->row_step, depth_step = of_a->depth_step;
  const float *b = (const float *)lanes_b, *a[ROWS / 3 + 1];
  VEC c[ROWS][2];
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++) {
    if (i % 3 == 0) a[i / 3] = (const float *)of_a->lanes + i * row_step;
    c[i][0] = c[i][1] = VZERO();
  }
  for (int64_t s = 0; s < steps; s++, b += COLUMNS) {
    const VEC b0 = VLOAD(b), b1 = VLOAD(b + WIDTH);
#pragma GCC unroll 16
    for (int i = 0; i < rows; i++) {
      const VEC x = VBROADCAST(a[i / 3] + i % 3 * row_step);
      c[i][0] = VTILE(x, b0, c[i][0]);
      c[i][1] = VTILE(x, b1, c[i][1]);
      if (i % 3 == 2 || i == rows - 1) a[i / 3] += depth_step;
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < rows; i++, out += stride) {
    VSTOREU(out, add ? VADD(c[i][0], VLOADU(out)) : c[i][0]);
    VSTOREU(out + WIDTH, add ? VADD(c[i][1], VLOADU(out + WIDTH)) : c[i][1]);
  }
}

#define TILE_CASE(n) \
  case n:            \
    tile_rows(n, a, steps, b, out, stride, add); \
    return;

static void tile(const hone_gemm_rows *a, int64_t steps, const uint32_t *b, float *out, int64_t stride, bool add) {
  switch (a->count) {
    TILE_CASE(1)
    TILE_CASE(2)
    TILE_CASE(3)
    TILE_CASE(4)
    TILE_CASE(5)
    TILE_CASE(6)
#if ROWS > 6
    TILE_CASE(7)
    TILE_CASE(8)
    TILE_CASE(9)
    TILE_CASE(10)
    TILE_CASE(11)
    TILE_CASE(12)
    TILE_CASE(13)
    TILE_CASE(14)
#endif
  }
}
#endif

/* ---- loading ----------------------------------------------------------------------------------------------------- */

static void load_nf4(float *out, const hone_tensor *t, int64_t offset, int64_t n) {
  const hone_quant *q = t->quant;
  if (offset & 1 || n < WIDTH) { /* not at a byte: rare enough for the plain way */
    hone_nf4_load(out, t, offset, n);
    return;
  }
  const uint8_t *codes = t->data;
  const int64_t end = offset + n;
  int64_t block = q->block == 64 ? offset >> 6 : offset / q->block;
  while (offset < end) {
    int64_t stop = (block + 1) * q->block < end ? (block + 1) * q->block : end;
    const NF4_TABLE table = nf4_table(q->code, hone_nf4_absmax(q, block++));
    for (; offset + WIDTH <= stop; offset += WIDTH, out += WIDTH) VSTOREU(out, VNF4(table, codes + (offset >> 1)));
    if (offset < stop) hone_nf4_load(out, t, offset, stop - offset);
    out += stop - offset;
    offset = stop;
  }
}

/* As hone_int8_load, in a loop that vectorises with this file's instructions. */
static void load_int8(float *out, const hone_tensor *t, int64_t offset, int64_t n) {
  const hone_quant *q = t->quant;
  const int8_t *codes = t->data;
  for (int64_t end = offset + n; offset < end;) {
    const int64_t block = offset / q->block, stop = (block + 1) * q->block < end ? (block + 1) * q->block : end;
    const float scale = q->absmax_f32[block];
    for (; offset < stop; offset++) *out++ = (float)codes[offset] * scale;
  }
}

static void load(float *out, const hone_tensor *t, int64_t offset, int64_t n) {
  const uint16_t *half = (const uint16_t *)t->data + offset;
  int64_t i = 0;
  switch (t->dtype) {
    case HONE_BF16:
#if !PAIRS
      for (; i + WIDTH <= n; i += WIDTH) VSTOREU(out + i, VBF16(half + i));
#endif
      for (; i < n; i++) out[i] = hone_bf16_to_f32(half[i]);
      return;
    case HONE_F16:
      for (; i + WIDTH <= n; i += WIDTH) VSTOREU(out + i, VHALF(half + i));
      for (; i < n; i++) out[i] = hone_f16_to_f32(half[i]);
      return;
    case HONE_NF4:
      load_nf4(out, t, offset, n);
      return;
    case HONE_I8:
      load_int8(out, t, offset, n);
      return;
    default:
      memcpy(out, (const float *)t->data + offset, (size_t)n * sizeof(float));
  }
}

static inline uint16_t to_bf16(float f) {
  uint32_t u = hone_f32_to_bits(f), rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16, quiet = (u >> 16) | 0x40u;
  return (uint16_t)((u & 0x7fffffffu) > 0x7f800000u ? quiet : rounded);
}

static void round_bf16(float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) x[i] = hone_bf16_to_f32(to_bf16(x[i]));
}

/* Lanes of a mask are independent: this loop vectorises. */
static void drop(float *x, int64_t first, int64_t n, const hone_mask *mask) {
  for (int64_t i = 0; i < n; i++) x[i] = hone_uniform(mask->seed, (uint64_t)(first + i)) < mask->p ? 0 : x[i];
}

static void load_bf16(uint16_t *out, const hone_tensor *t, int64_t offset, int64_t n, const hone_mask *mask) {
  if (t->dtype == HONE_BF16 && mask->p == 0) {
    memcpy(out, (const uint16_t *)t->data + offset, (size_t)n * sizeof *out);
    return;
  }
  float values[CHUNK] __attribute__((aligned(64)));
  for (int64_t at = 0; at < n; at += CHUNK) {
    int64_t count = n - at < CHUNK ? n - at : CHUNK;
    load(values, t, offset + at, count);
    if (mask->p > 0) drop(values, offset + at, count, mask);
    for (int64_t i = 0; i < count; i++) out[at + i] = to_bf16(values[i]);
  }
}

#if !PAIRS
ALWAYS_INLINE void gather_rows(uint32_t *out, int64_t apart, int64_t panels, const char *in, int64_t stride,
                               int64_t steps, const bool halves) {
  for (int64_t s = 0; s < steps; s++, in += stride, out += COLUMNS) {
    const uint16_t *half = (const uint16_t *)in;
    const float *whole = (const float *)in;
    for (int64_t p = 0; p < panels; p++, half += COLUMNS, whole += COLUMNS) {
      __builtin_prefetch((halves ? (const char *)half : (const char *)whole) + GATHER_AHEAD * stride);
      float *lanes = (float *)out + p * apart;
      VSTORE(lanes, halves ? VBF16(half) : VLOADU(whole));
      VSTORE(lanes + WIDTH, halves ? VBF16(half + WIDTH) : VLOADU(whole + WIDTH));
    }
  }
}

static void gather(uint32_t *out, int64_t apart, int64_t panels, const void *in, int64_t stride, int64_t steps,
                   bool halves) {
  if (halves) {
    gather_rows(out, apart, panels, in, stride, steps, true);
  } else {
    gather_rows(out, apart, panels, in, stride, steps, false);
  }
}
#endif

static void pair(uint32_t *out, const uint16_t *first, const uint16_t *second, int64_t n) {
  for (int64_t i = 0; i < n; i++) out[i] = first[i] | (uint32_t)second[i] << 16;
}

/* ---- finishing a tile -------------------------------------------------------------------------------------------- */

static void store_row(const hone_tensor *t, int64_t offset, const float *in, int64_t n, bool accumulate) {
  if (t->dtype == HONE_F32) {
    float *out = (float *)t->data + offset;
    if (accumulate) {
      for (int64_t i = 0; i < n; i++) out[i] += in[i];
    } else {
      for (int64_t i = 0; i < n; i++) out[i] = in[i];
    }
  } else if (t->dtype == HONE_BF16) {
    uint16_t *out = (uint16_t *)t->data + offset;
    if (accumulate) {
      for (int64_t i = 0; i < n; i++) out[i] = to_bf16(hone_bf16_to_f32(out[i]) + in[i]);
    } else {
      for (int64_t i = 0; i < n; i++) out[i] = to_bf16(in[i]);
    }
  } else {
    hone_store(t, offset, in, n, accumulate);
  }
}

/* Rows of the result are columns of the tile: each goes through a buffer. */
static void finish_swapped(const hone_gemm_result *c, const float *acc, const hone_gemm_place *p) {
  const int64_t stride = c->tensor->shape[1];
  float bias[TILE_ROWS] = {0}, row[TILE_ROWS];
  if (c->bias) load(bias, c->bias, p->row, p->rows);
  for (int j = 0; j < p->columns; j++) {
    int64_t at = (p->column + j) * stride + p->row;
    for (int i = 0; i < p->rows; i++) row[i] = c->scale * acc[i * COLUMNS + j] + bias[i];
    if (c->mask.p > 0) drop(row, at, p->rows, &c->mask);
    store_row(c->tensor, at, row, p->rows, c->accumulate);
  }
}

/* A whole row of a tile into an f32 result, or a bf16 one, rounded once. */
ALWAYS_INLINE void finish_row(void *out, const float *acc, VEC scale, VEC bias0, VEC bias1, const bool bf16,
                              const bool accumulate) {
  uint16_t *half = out;
  float *whole = out;
  VEC r0 = VFMA(scale, VLOAD(acc), bias0), r1 = VFMA(scale, VLOAD(acc + WIDTH), bias1);
  if (accumulate) {
    r0 = VADD(r0, bf16 ? VBF16(half) : VLOADU(whole));
    r1 = VADD(r1, bf16 ? VBF16(half + WIDTH) : VLOADU(whole + WIDTH));
  }
  if (bf16) {
    VSTORE_BF16(half, r0);
    VSTORE_BF16(half + WIDTH, r1);
  } else {
    VSTOREU(whole, r0);
    VSTOREU(whole + WIDTH, r1);
  }
}

/* A whole tile into a result that nothing masks. */
ALWAYS_INLINE void finish_whole(const hone_gemm_result *c, const float *acc, const hone_gemm_place *p,
                                const float *bias, const bool bf16, const bool accumulate) {
  const VEC scale = VBROADCAST(&c->scale), bias0 = VLOAD(bias), bias1 = VLOAD(bias + WIDTH);
  const int64_t size = bf16 ? 2 : 4, stride = c->tensor->shape[1];
  char *out = (char *)c->tensor->data + (p->row * stride + p->column) * size;
  for (int i = 0; i < p->rows; i++, out += stride * size, acc += COLUMNS) {
    finish_row(out, acc, scale, bias0, bias1, bf16, accumulate);
  }
}

static void finish(const hone_gemm_result *c, const float *acc, const hone_gemm_place *p) {
  if (p->swapped) {
    finish_swapped(c, acc, p);
    return;
  }
  const int64_t stride = c->tensor->shape[1];
  float bias[COLUMNS] __attribute__((aligned(64))) = {0}, row[COLUMNS] __attribute__((aligned(64)));
  if (c->bias) load(bias, c->bias, p->column, p->columns);
  if (p->columns == COLUMNS && c->tensor->dtype != HONE_F16 && c->mask.p == 0) {
    switch ((c->tensor->dtype == HONE_BF16) << 1 | c->accumulate) {
      case 0: finish_whole(c, acc, p, bias, false, false); return;
      case 1: finish_whole(c, acc, p, bias, false, true); return;
      case 2: finish_whole(c, acc, p, bias, true, false); return;
      default: finish_whole(c, acc, p, bias, true, true); return;
    }
  }
  for (int i = 0; i < p->rows; i++) {
    int64_t at = (p->row + i) * stride + p->column;
    finish_row(row, acc + i * COLUMNS, VBROADCAST(&c->scale), VLOAD(bias), VLOAD(bias + WIDTH), false, false);
    if (c->mask.p > 0) drop(row, at, p->columns, &c->mask);
    store_row(c->tensor, at, row, p->columns, c->accumulate);
  }
}

/* ---- dot products for decoding ----------------------------------------------------------------------------------- */

/* One token or several against one stretch of weights, four running sums each where there is one token. */
ALWAYS_INLINE void dot_chunk(const int tokens, VEC sum[][4], const float *x, int64_t stride, const float *w,
                             int64_t n) {
  const int chains = tokens == 1 ? 4 : tokens == 2 ? 2 : 1;
  int64_t k = 0;
  for (; k + chains * WIDTH <= n; k += chains * WIDTH) {
#pragma GCC unroll 4
    for (int c = 0; c < chains; c++) {
      const VEC weight = VLOADU(w + k + c * WIDTH);
#pragma GCC unroll 4
      for (int t = 0; t < tokens; t++) sum[t][c] = VFMA(weight, VLOADU(x + t * stride + k + c * WIDTH), sum[t][c]);
    }
  }
  for (; k < n; k += WIDTH) { /* the last lanes, padded with zeros */
    float tail[WIDTH] = {0}, other[WIDTH];
    int64_t count = n - k < WIDTH ? n - k : WIDTH;
    memcpy(tail, w + k, (size_t)count * sizeof(float));
    for (int t = 0; t < tokens; t++) {
      memset(other, 0, sizeof other);
      memcpy(other, x + t * stride + k, (size_t)count * sizeof(float));
      sum[t][0] = VFMA(VLOADU(tail), VLOADU(other), sum[t][0]);
    }
  }
}

/* NF4 in registers: x holds, for each 2 * WIDTH elements, first the even ones, then the odd ones. */
ALWAYS_INLINE void dot_nf4(const int tokens, VEC sum[][4], const float *x, int64_t stride, const hone_tensor *w,
                           int64_t offset, int64_t n, bool bf16) {
  const hone_quant *q = w->quant;
  const uint8_t *codes = (const uint8_t *)w->data + offset / 2;
  int64_t block = offset / q->block, left = q->block - offset % q->block;
  for (int64_t k = 0; k < n; left = q->block, block++) {
    const int64_t stop = k + left < n ? k + left : n;
    NF4_TABLE table = nf4_table(q->code, hone_nf4_absmax(q, block));
    if (bf16) table = nf4_round(table); /* sixteen values instead of a block of them */
    for (; k < stop; k += COLUMNS, codes += WIDTH) {
      const NF4_BYTES bytes = VBYTES(codes);
      const VEC even = VEVEN(table, bytes), odd = VODD(table, bytes);
#pragma GCC unroll 4
      for (int t = 0; t < tokens; t++) {
        sum[t][0] = VFMA(even, VLOADU(x + t * stride + k), sum[t][0]);
        sum[t][1] = VFMA(odd, VLOADU(x + t * stride + k + WIDTH), sum[t][1]);
      }
    }
  }
}

ALWAYS_INLINE void dot_tokens(const int tokens, float *out, const float *x, int64_t stride, const hone_tensor *w,
                              int64_t offset, int64_t n, bool bf16, bool split) {
  VEC sum[HONE_GEMV_TOKENS][4];
  for (int t = 0; t < tokens; t++) {
    for (int c = 0; c < 4; c++) sum[t][c] = VZERO();
  }
  if (w->dtype == HONE_F32 && !bf16) {
    dot_chunk(tokens, sum, x, stride, (const float *)w->data + offset, n);
  } else if (split) {
    dot_nf4(tokens, sum, x, stride, w, offset, n, bf16);
  } else {
    float values[CHUNK] __attribute__((aligned(64)));
    for (int64_t at = 0; at < n; at += CHUNK) {
      int64_t count = n - at < CHUNK ? n - at : CHUNK;
      load(values, w, offset + at, count);
      if (bf16 && w->dtype != HONE_BF16) round_bf16(values, count);
      dot_chunk(tokens, sum, x + at, stride, values, count);
    }
  }
  for (int t = 0; t < tokens; t++) out[t] = VSUM(VADD(VADD(sum[t][0], sum[t][1]), VADD(sum[t][2], sum[t][3])));
}

static void dot(float *out, const float *x, int64_t stride, int32_t tokens, const hone_tensor *w, int64_t offset,
                int64_t n, bool bf16, bool split) {
  switch (tokens) {
    case 1:
      dot_tokens(1, out, x, stride, w, offset, n, bf16, split);
      return;
    case 2:
      dot_tokens(2, out, x, stride, w, offset, n, bf16, split);
      return;
    case 3:
      dot_tokens(3, out, x, stride, w, offset, n, bf16, split);
      return;
    default:
      dot_tokens(4, out, x, stride, w, offset, n, bf16, split);
  }
}

#define GEMM_COMMON                                                                                                 \
  .columns = COLUMNS, .strip = WIDTH, .tile = tile, .transpose = transpose, .load = load, .load_bf16 = load_bf16,   \
  .round_bf16 = round_bf16, .pair = pair, .drop = drop, .finish = finish, .dot = dot
