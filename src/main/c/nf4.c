/*
 * NF4: 4-bit codes in blocks of 64 with one absmax each, optionally quantised a second time.
 *
 * Forward.   quantise:  a = max |w| of the block,  q = #{t : w (1/a) > threshold[t]},  byte j = q[2j] << 4 | q[2j+1]
 *            absmax:    offset = mean(a);  a - offset in blocks of 256 with the dynamic map: c = max |a - offset|,
 *                       u = #{i : (a - offset) (1/c) > (map[i] + map[i+1]) / 2}
 *            load:      w = code[q] * a,  a = code2[u] * c + offset
 * Backward.  None: a frozen weight has no gradient.
 * Shapes.    w any shape of n elements, row-major; codes U8 (ceil(n/2)); absmax (ceil(n/64)); an odd last nibble is
 *            code(0).
 * Memory.    reads w once, writes n/2 + n/64 (* 4, or * 1 + n/16384 * 4 with the second level) bytes
 * Rounding.  every step in f32 without contraction, 1/a rounded before it multiplies; a zero block divides by 1e-38.
 *            The mean sums in the order of torch's contiguous f32 sum (eight lanes, four chains, cascades), so that
 *            offsets equal those of files written with it on one thread. Byte-exact with bitsandbytes 0.50.
 * Mirrors.   Nf4Test; facts of the format: bitsandbytes functional.py (code book, thresholds, dynamic map)
 */
#include "nf4.h"

#include <math.h>

#include "internal.h"

static const float CODE[16] = {
    -1.0f, -0.6961928009986877f, -0.5250730514526367f, -0.39491748809814453f,
    -0.28444138169288635f, -0.18477343022823334f, -0.09105003625154495f, 0.0f,
    0.07958029955625534f, 0.16093020141124725f, 0.24611230194568634f, 0.33791524171829224f,
    0.44070982933044434f, 0.5626170039176941f, 0.7229568362236023f, 1.0f};

/* A scaled weight above threshold i has a code above i. */
static const float THRESHOLD[15] = {
    -0.8480964004993439f, -0.6106329262256622f, -0.4599952697753906f, -0.33967943489551544f, -0.23460740596055984f,
    -0.13791173323988914f, -0.045525018125772476f, 0.03979014977812767f, 0.1202552504837513f, 0.2035212516784668f,
    0.2920137718319893f, 0.3893125355243683f, 0.5016634166240692f, 0.6427869200706482f, 0.8614784181118011f};

enum { ZERO_CODE = 7, BLOCK_MAX = 4096, NESTED_BLOCK = 256, MAP = HONE_DYNAMIC_MAP };
static const float SMALLEST_ABSMAX = 1e-38f;

/* ---- the code books ---------------------------------------------------------------------------------------------- */

/* Point i of n evenly spaced ones on [0.1, 1], counted from the nearer end and rounded once, as torch.linspace does. */
static float grid_point(int i, int n) {
  float step = (1.0f - 0.1f) / (float)(n - 1);
  return i < n / 2 ? fmaf(step, (float)i, 0.1f) : fmaf(-step, (float)(n - i - 1), 1.0f);
}

/*
 * A dynamic map, rising: decade d = 0..6 spans 10^(d-7) .. 10^(d-6) with n_d values, the means of neighbours on a grid
 * of n_d + 1 points. Signed: n_d = 2^d, both signs of all 127; unsigned: n_d = 2^(d+1), 254 in all; then 0 and 1: 256
 * values.
 */
void hone_dynamic_map(float *map, bool is_signed) {
  int above = is_signed ? 128 : 1; /* map[above - 1] = 0, positive values follow */
  map[above - 1] = 0;
  map[MAP - 1] = 1;
  for (int d = 0; d < 7; d++) {
    float decade = (float)pow(10.0, d - 6);
    int count = is_signed ? 1 << d : 2 << d;
    for (int i = 0; i < count; i++, above++) {
      float mean = (grid_point(i, count + 1) + grid_point(i + 1, count + 1)) / 2;
      map[above] = decade * mean;
      if (is_signed) map[254 - above] = -map[above];
    }
  }
}

void hone_dynamic_boundaries(float *boundary, const float *map) {
  for (int i = 0; i < MAP - 1; i++) boundary[i] = (map[i] + map[i + 1]) / 2;
}

int32_t hone_nf4_tables(const hone_tensor *nf4, const hone_tensor *dynamic) {
  HONE_CHECK1("nf4_tables", nf4, HONE_DTYPE_BIT(HONE_F32), 16);
  HONE_CHECK1("nf4_tables", dynamic, HONE_DTYPE_BIT(HONE_F32), MAP);
  memcpy(nf4->data, CODE, sizeof CODE);
  hone_dynamic_map(dynamic->data, true);
  return HONE_OK;
}

/* ---- quantise ---------------------------------------------------------------------------------------------------- */

static float absolute_max(const float *x, int64_t n) {
  float max = 0;
  for (int64_t i = 0; i < n; i++) max = fabsf(x[i]) > max ? fabsf(x[i]) : max;
  return max;
}

static float inverse(float absmax) { return 1.0f / (absmax > SMALLEST_ABSMAX ? absmax : SMALLEST_ABSMAX); }

/* One block, a whole number of bytes; returns its absmax. q is scratch. */
static float quantise_block(uint8_t *codes, const float *w, int64_t n, int32_t *q) {
  float absmax = absolute_max(w, n), scale = inverse(absmax);
  memset(q, 0, (size_t)n * sizeof *q);
  for (int t = 0; t < 15; t++) {
    for (int64_t i = 0; i < n; i++) q[i] += w[i] * scale > THRESHOLD[t];
  }
  for (int64_t i = 0; i < n; i += 2) {
    codes[i / 2] = (uint8_t)(q[i] << 4 | (i + 1 < n ? q[i + 1] : ZERO_CODE));
  }
  return absmax;
}

int32_t hone_nf4_quantize(const hone_tensor *codes, const hone_tensor *absmax, const hone_tensor *w, int32_t block) {
  HONE_REQUIRE(w, "nf4_quantize: a required tensor is null");
  HONE_TRY(hone_check("nf4_quantize", w, HONE_FLOATS, w->rank, w->shape));
  HONE_REQUIRE(block > 0 && block % 2 == 0 && block <= BLOCK_MAX,
               "nf4_quantize: a block of %d, want an even number from 2 to %d", block, BLOCK_MAX);
  int64_t n = hone_elements(w), blocks = (n + block - 1) / block;
  HONE_CHECK1("nf4_quantize", absmax, HONE_DTYPE_BIT(HONE_F32), blocks);
  HONE_REQUIRE(codes, "nf4_quantize: a required tensor is null");
  HONE_TRY(hone_check("nf4_quantize", codes, HONE_DTYPE_BIT(HONE_U8), codes->rank, codes->shape));
  HONE_REQUIRE(hone_elements(codes) == (n + 1) / 2, "nf4_quantize: %s is u8 [%lld], want u8 of %lld bytes", codes->name,
               (long long)hone_elements(codes), (long long)((n + 1) / 2));
  uint8_t *code = codes->data;
  float *max = absmax->data;
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < blocks; b++) {
    float values[BLOCK_MAX];
    int32_t q[BLOCK_MAX];
    int64_t at = b * block, count = n - at < block ? n - at : block;
    max[b] = quantise_block(code + at / 2, hone_row(values, w, at, count), count, q);
  }
  return HONE_OK;
}

/* ---- the second level -------------------------------------------------------------------------------------------- */

enum { LANES = 8, CHAINS = 4, LEVELS = 4, STRIP = LANES * CHAINS };

/*
 * Sum in torch's order for a contiguous f32 row: strips of 4 x 8 lanes go into 32 running sums; each level of running
 * sums is emptied into the next after 2^power strips of the level below; what is left is added last.
 */
static float cascade_sum(const float *x, int64_t n) {
  float level[LEVELS][STRIP] = {{0}};
  int64_t strips = n / STRIP, vectors = n / LANES;
  int log = 0, power;
  while ((int64_t)1 << log < strips) log++;
  power = log / LEVELS > 4 ? log / LEVELS : 4;
  int64_t step = (int64_t)1 << power, whole = strips / step * step;
  for (int64_t s = 0; s < strips; s++) {
    for (int i = 0; i < STRIP; i++) level[0][i] += x[s * STRIP + i];
    if (s >= whole || (s + 1) % step) continue;
    for (int l = 1; l < LEVELS; l++) {
      for (int i = 0; i < STRIP; i++) {
        level[l][i] += level[l - 1][i];
        level[l - 1][i] = 0;
      }
      if ((s + 1) & ((step - 1) << (l * power))) break;
    }
  }
  for (int l = 1; l < LEVELS; l++) {
    for (int i = 0; i < STRIP; i++) level[0][i] += level[l][i];
  }
  for (int64_t v = strips * CHAINS; v < vectors; v++) {
    for (int i = 0; i < LANES; i++) level[0][i] += x[v * LANES + i];
  }
  for (int c = 1; c < CHAINS; c++) {
    for (int i = 0; i < LANES; i++) level[0][i] += level[0][c * LANES + i];
  }
  float sum = 0;
  for (int64_t i = vectors * LANES; i < n; i++) sum += x[i];
  for (int i = 0; i < LANES; i++) sum += level[0][i];
  return sum;
}

int32_t hone_nf4_quantize_absmax(const hone_tensor *quantised, const hone_tensor *nested_absmax,
                                 const hone_tensor *offset, const hone_tensor *absmax) {
  HONE_CHECK1("nf4_quantize_absmax", absmax, HONE_DTYPE_BIT(HONE_F32), -1);
  int64_t n = absmax->shape[0], blocks = (n + NESTED_BLOCK - 1) / NESTED_BLOCK;
  HONE_CHECK1("nf4_quantize_absmax", quantised, HONE_DTYPE_BIT(HONE_U8), n);
  HONE_CHECK1("nf4_quantize_absmax", nested_absmax, HONE_DTYPE_BIT(HONE_F32), blocks);
  HONE_CHECK1("nf4_quantize_absmax", offset, HONE_DTYPE_BIT(HONE_F32), 1);
  float map[MAP], boundary[MAP - 1];
  hone_dynamic_map(map, true);
  hone_dynamic_boundaries(boundary, map);
  const float *a = absmax->data;
  float *nested = nested_absmax->data, mean = n ? cascade_sum(a, n) / (float)n : 0;
  uint8_t *code = quantised->data;
  *(float *)offset->data = mean;
  for (int64_t b = 0; b < blocks; b++) {
    float centred[NESTED_BLOCK];
    int64_t at = b * NESTED_BLOCK, count = n - at < NESTED_BLOCK ? n - at : NESTED_BLOCK;
    for (int64_t i = 0; i < count; i++) centred[i] = a[at + i] - mean;
    nested[b] = absolute_max(centred, count);
    float scale = inverse(nested[b]);
    for (int64_t i = 0; i < count; i++) {
      float x = centred[i] * scale;
      code[at + i] = (uint8_t)hone_dynamic_code(boundary, x > 1 ? 1 : x < -1 ? -1 : x);
    }
  }
  return HONE_OK;
}

/* ---- decode ------------------------------------------------------------------------------------------------------ */

void hone_nf4_load(float *out, const hone_tensor *t, int64_t offset, int64_t n) {
  const hone_quant *q = t->quant;
  const uint8_t *codes = t->data;
  int64_t end = offset + n;
  while (offset < end) {
    int64_t block = offset / q->block, stop = (block + 1) * q->block;
    if (stop > end) stop = end;
    float a = hone_nf4_absmax(q, block), value[16];
    for (int i = 0; i < 16; i++) value[i] = q->code[i] * a;
    if (offset & 1) *out++ = value[codes[offset++ >> 1] & 15];
    for (; offset + 1 < stop; offset += 2, out += 2) {
      uint8_t byte = codes[offset >> 1];
      out[0] = value[byte >> 4];
      out[1] = value[byte & 15];
    }
    if (offset < stop) *out++ = value[codes[offset++ >> 1] >> 4];
  }
}
