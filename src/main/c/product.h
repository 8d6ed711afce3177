/* product.h - the rule for operands of matrix products, for linear and LoRA. */
#ifndef HONE_PRODUCT_H
#define HONE_PRODUCT_H

#include "internal.h"

/* Multiply-adds below which waking threads costs more than it saves: 512 Ki take some 10 us. */
enum { HONE_SMALL_PRODUCT = 512 * 1024 };

#define HONE_REQUIRE_MEMORY(condition, ...)                              \
  do {                                                                   \
    if (!(condition)) return hone_fail(HONE_OUT_OF_MEMORY, __VA_ARGS__); \
  } while (0)

/* A product takes bf16 operands, summed in f32, as soon as one activation in it is BF16; else it is f32 throughout. */
static inline bool hone_product_is_bf16(const hone_tensor *p, const hone_tensor *q) {
  return p->dtype == HONE_BF16 || q->dtype == HONE_BF16;
}

static inline float hone_round_to_bf16(float f) { return hone_bf16_to_f32(hone_f32_to_bf16(f)); }

/* n elements of an operand from `offset`, as f32: in place when nothing needs changing, else in `buffer`. */
static inline const float *hone_operand_row(float *buffer, const hone_tensor *t, int64_t offset, int64_t n, bool bf16) {
  const float *row = hone_row(buffer, t, offset, n);
  if (!bf16 || t->dtype == HONE_BF16) return row;
  for (int64_t i = 0; i < n; i++) buffer[i] = hone_round_to_bf16(row[i]);
  return buffer;
}

static inline float hone_operand_at(const hone_tensor *t, int64_t offset, bool bf16) {
  float buffer;
  return *hone_operand_row(&buffer, t, offset, 1, bf16);
}

static inline float hone_dot(const float *a, const float *b, int64_t n) {
  float sum = 0;
  for (int64_t i = 0; i < n; i++) sum += a[i] * b[i];
  return sum;
}

/* y += s x */
static inline void hone_axpy(float *y, float s, const float *x, int64_t n) {
  for (int64_t i = 0; i < n; i++) y[i] += s * x[i];
}

#endif
