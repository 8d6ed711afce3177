/* internal.h - what the ops of libhone share: checks, dtype conversion, threads. Not part of the ABI. */
#ifndef HONE_INTERNAL_H
#define HONE_INTERNAL_H

#include <stdbool.h>
#include <stddef.h>
#include <string.h>

#include "hone.h"

/* ---- errors -------------------------------------------------------------------------------------------------------- */

/* Sets the thread's message and returns `status`. */
int32_t hone_fail(int32_t status, const char *format, ...) __attribute__((format(printf, 2, 3)));

#define HONE_REQUIRE(condition, ...)                                  \
  do {                                                                \
    if (!(condition)) return hone_fail(HONE_BAD_ARGUMENT, __VA_ARGS__); \
  } while (0)

/* Returns from the caller when a check failed inside another function. */
#define HONE_TRY(expression)             \
  do {                                   \
    int32_t hone_status_ = (expression); \
    if (hone_status_) return hone_status_; \
  } while (0)

const char *hone_dtype_name(int32_t dtype);

/* Fails with "op: tensor is DTYPE [..], want .." unless t is present, has one of the dtypes in `mask` and this shape.
 * A wanted extent of -1 takes any. */
#define HONE_DTYPE_BIT(d) (1u << (d))
#define HONE_FLOATS (HONE_DTYPE_BIT(HONE_F32) | HONE_DTYPE_BIT(HONE_BF16) | HONE_DTYPE_BIT(HONE_F16))
#define HONE_ACTIVATIONS (HONE_DTYPE_BIT(HONE_F32) | HONE_DTYPE_BIT(HONE_BF16))
#define HONE_WEIGHTS (HONE_FLOATS | HONE_DTYPE_BIT(HONE_NF4) | HONE_DTYPE_BIT(HONE_I8))
int32_t hone_check(const char *op, const hone_tensor *t, uint32_t dtypes, int32_t rank, const int64_t *shape);
#define HONE_CHECK1(op, t, dtypes, a) HONE_TRY(hone_check(op, t, dtypes, 1, (const int64_t[]){a}))
#define HONE_CHECK2(op, t, dtypes, a, b) HONE_TRY(hone_check(op, t, dtypes, 2, (const int64_t[]){a, b}))
#define HONE_CHECK3(op, t, dtypes, a, b, c) HONE_TRY(hone_check(op, t, dtypes, 3, (const int64_t[]){a, b, c}))

static inline int64_t hone_min(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t hone_max(int64_t a, int64_t b) { return a > b ? a : b; }

static inline int64_t hone_elements(const hone_tensor *t) {
  int64_t n = 1;
  for (int i = 0; i < t->rank; i++) n *= t->shape[i];
  return n;
}

/* ---- 16-bit floats ------------------------------------------------------------------------------------------------- */

static inline float hone_bits_to_f32(uint32_t bits) {
  float f;
  memcpy(&f, &bits, 4);
  return f;
}
static inline uint32_t hone_f32_to_bits(float f) {
  uint32_t bits;
  memcpy(&bits, &f, 4);
  return bits;
}
static inline float hone_bf16_to_f32(uint16_t h) { return hone_bits_to_f32((uint32_t)h << 16); }
/* Round to nearest even; NaN stays NaN (quiet). */
static inline uint16_t hone_f32_to_bf16(float f) {
  uint32_t u = hone_f32_to_bits(f);
  if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)((u >> 16) | 0x40u);
  return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}
float hone_f16_to_f32(uint16_t h);
uint16_t hone_f32_to_f16(float f);

/* n elements from element `offset` of an F32|BF16|F16|NF4|I8 tensor, as f32. */
void hone_load(float *out, const hone_tensor *t, int64_t offset, int64_t n);
/* n f32 values to element `offset` of an F32|BF16|F16 tensor, rounded to nearest even; `accumulate` adds in f32. */
void hone_store(const hone_tensor *t, int64_t offset, const float *in, int64_t n, bool accumulate);
/* A row as f32: in place when the tensor is F32, else converted into `buffer`. */
static inline const float *hone_row(float *buffer, const hone_tensor *t, int64_t offset, int64_t n) {
  if (t->dtype == HONE_F32) return (const float *)t->data + offset;
  hone_load(buffer, t, offset, n);
  return buffer;
}

/* ---- threads and workspace ----------------------------------------------------------------------------------------- */

/* This OpenMP thread's scratch of at least `bytes`, 64-byte aligned, kept between calls; null when memory is out.
 * `slot` separates uses that are alive together in one op (0 .. 3). */
void *hone_workspace(int slot, size_t bytes);

/* Element (m,k) of a dropout mask: uniform in [0,1) from a 64-bit mix of seed and index. */
static inline float hone_uniform(uint64_t seed, uint64_t index) {
  uint64_t z = seed + (index + 1) * 0x9e3779b97f4a7c15ull; /* splitmix64: Steele, Lea, Flood 2014 */
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  z ^= z >> 31;
  return (float)(z >> 40) * 0x1p-24f;
}

#endif
