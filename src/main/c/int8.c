/*
 * I8: signed bytes with one f32 scale a row.
 *
 * Forward.   quantise:  a = max |w| of the row,  q = round(w (127 / a)) within -127 .. 127,  scale = a / 127
 *            load:      w = q * scale
 * Backward.  None: a frozen weight has no gradient.
 * Shapes.    w (N,K); codes U8 (N*K), two's complement; scale (N)
 * Memory.    reads w once, writes N*K + 4 N bytes: 8 bits a weight and a little
 * Rounding.  127 / a and a / 127 each rounded to f32, q to nearest even; |w - q scale| <= scale (1/2 + 127 * 2^-22).
 *            A row of zeros has scale 0 and decodes to zeros. -128 is never written, so that q and -q are both there.
 * Mirrors.   Int8Test
 */
#include "int8.h"

#include <math.h>

#include "internal.h"

int32_t hone_int8_quantize(const hone_tensor *codes, const hone_tensor *scale, const hone_tensor *w) {
  HONE_CHECK2("int8_quantize", w, HONE_FLOATS, -1, -1);
  const int64_t N = w->shape[0], K = w->shape[1];
  HONE_CHECK1("int8_quantize", codes, HONE_DTYPE_BIT(HONE_U8), N * K);
  HONE_CHECK1("int8_quantize", scale, HONE_DTYPE_BIT(HONE_F32), N);
  enum { PART = 4096 }; /* of a row, in f32 */
  int8_t *code = codes->data;
  float *scales = scale->data;
#pragma omp parallel for schedule(static)
  for (int64_t n = 0; n < N; n++) {
    float buffer[PART], max = 0;
    for (int64_t k = 0; k < K; k += PART) {
      const int64_t count = K - k < PART ? K - k : PART;
      const float *part = hone_row(buffer, w, n * K + k, count);
      for (int64_t i = 0; i < count; i++) max = fabsf(part[i]) > max ? fabsf(part[i]) : max;
    }
    const float inverse = max > 0 ? 127.0f / max : 0;
    scales[n] = max / 127.0f;
    for (int64_t k = 0; k < K; k += PART) {
      const int64_t count = K - k < PART ? K - k : PART;
      const float *part = hone_row(buffer, w, n * K + k, count);
      for (int64_t i = 0; i < count; i++) {
        const float q = rintf(part[i] * inverse);
        code[n * K + k + i] = (int8_t)(q > 127 ? 127 : q < -127 ? -127 : q);
      }
    }
  }
  return HONE_OK;
}

void hone_int8_load(float *out, const hone_tensor *t, int64_t offset, int64_t n) {
  const hone_quant *q = t->quant;
  const int8_t *codes = t->data;
  for (int64_t end = offset + n; offset < end; offset++) *out++ = (float)codes[offset] * q->absmax_f32[offset / q->block];
}
