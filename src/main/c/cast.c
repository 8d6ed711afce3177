/*
 * Casts between the dtypes of weights and activations.
 *
 * Forward.   out = round_to_nearest_even(in) in out's dtype; NF4 decodes as w = code[q] * absmax (nf4.c), I8 as q * scale (int8.c).
 * Backward.  None: nothing that trains passes through here.
 * Shapes.    any, of equal size
 * Memory.    reads in once, writes out once; one block of 4096 f32 a thread when both are 16-bit
 * Rounding.  one rounding, to nearest even; f16 overflow becomes infinity, as IEEE 754 says.
 */
#include <math.h>

#include "gemm.h"
#include "int8.h"
#include "nf4.h"

float hone_f16_to_f32(uint16_t h) {
  uint32_t sign = (uint32_t)(h & 0x8000u) << 16, exponent = (h >> 10) & 31u, fraction = h & 0x3ffu;
  if (exponent == 31) return hone_bits_to_f32(sign | 0x7f800000u | (fraction << 13));
  if (exponent == 0) return hone_bits_to_f32(sign | hone_f32_to_bits((float)fraction * 0x1p-24f));
  return hone_bits_to_f32(sign | ((exponent + 112) << 23) | (fraction << 13));
}

uint16_t hone_f32_to_f16(float f) {
  uint32_t u = hone_f32_to_bits(f);
  uint16_t sign = (uint16_t)((u >> 16) & 0x8000u);
  u &= 0x7fffffffu;
  if (u > 0x7f800000u) return sign | 0x7e00u;
  if (u >= 0x477ff000u) return sign | 0x7c00u; /* 65520 and above round to infinity */
  if (u < 0x38800000u) {                       /* below 2^-14: subnormal; adding 0.5 rounds at 2^-24 */
    float shifted = hone_bits_to_f32(u) + 0.5f;
    return sign | (uint16_t)(hone_f32_to_bits(shifted) - 0x3f000000u);
  }
  return sign | (uint16_t)((u - 0x38000000u + 0xfffu + ((u >> 13) & 1u)) >> 13);
}

void hone_load(float *out, const hone_tensor *t, int64_t offset, int64_t n) {
  switch (t->dtype) {
    case HONE_F32:
      memcpy(out, (const float *)t->data + offset, (size_t)n * sizeof(float));
      return;
    case HONE_BF16: {
      const uint16_t *in = (const uint16_t *)t->data + offset;
      for (int64_t i = 0; i < n; i++) out[i] = hone_bf16_to_f32(in[i]);
      return;
    }
    case HONE_F16: {
      const uint16_t *in = (const uint16_t *)t->data + offset;
      for (int64_t i = 0; i < n; i++) out[i] = hone_f16_to_f32(in[i]);
      return;
    }
    case HONE_NF4:
      hone_nf4_load(out, t, offset, n);
      return;
    case HONE_I8:
      hone_int8_load(out, t, offset, n);
      return;
    default:
      for (int64_t i = 0; i < n; i++) out[i] = NAN; /* unreachable behind hone_check */
  }
}

void hone_store(const hone_tensor *t, int64_t offset, const float *in, int64_t n, bool accumulate) {
  if (t->dtype == HONE_F32) {
    float *out = (float *)t->data + offset;
    if (accumulate) {
      for (int64_t i = 0; i < n; i++) out[i] += in[i];
    } else {
      memcpy(out, in, (size_t)n * sizeof(float));
    }
    return;
  }
  uint16_t *out = (uint16_t *)t->data + offset;
  if (t->dtype == HONE_BF16) {
    if (accumulate) {
      for (int64_t i = 0; i < n; i++) out[i] = hone_f32_to_bf16(hone_bf16_to_f32(out[i]) + in[i]);
    } else {
      for (int64_t i = 0; i < n; i++) out[i] = hone_f32_to_bf16(in[i]);
    }
  } else {
    for (int64_t i = 0; i < n; i++) {
      out[i] = hone_f32_to_f16(accumulate ? hone_f16_to_f32(out[i]) + in[i] : in[i]);
    }
  }
}

enum { CAST_BLOCK = 4096 };

int32_t hone_cast(const hone_tensor *out, const hone_tensor *in) {
  HONE_REQUIRE(out && in, "cast: a required tensor is null");
  HONE_TRY(hone_check("cast", in, HONE_WEIGHTS, in->rank, in->shape));
  HONE_TRY(hone_check("cast", out, HONE_FLOATS, out->rank, out->shape));
  int64_t n = hone_elements(in);
  HONE_REQUIRE(hone_elements(out) == n, "cast: %s has %lld elements, %s has %lld", out->name, (long long)hone_elements(out),
               in->name, (long long)n);
  int64_t blocks = (n + CAST_BLOCK - 1) / CAST_BLOCK;
  const hone_gemm_kernel *kernel = hone_gemm_kernel_now(false);
  const bool coded = kernel && (in->dtype == HONE_NF4 || in->dtype == HONE_I8);
#pragma omp parallel for schedule(static)
  for (int64_t b = 0; b < blocks; b++) {
    float buffer[CAST_BLOCK];
    int64_t at = b * CAST_BLOCK, count = n - at < CAST_BLOCK ? n - at : CAST_BLOCK;
    if (coded && out->dtype == HONE_F32) {
      kernel->load((float *)out->data + at, in, at, count);
    } else if (coded) {
      kernel->load(buffer, in, at, count);
      hone_store(out, at, buffer, count, false);
    } else {
      hone_store(out, at, hone_row(buffer, in, at, count), count, false);
    }
  }
  return HONE_OK;
}

int32_t hone_copy_rows(const hone_tensor *out, int64_t out_row, const hone_tensor *in, int64_t in_row) {
  HONE_CHECK2("copy_rows", out, HONE_FLOATS, -1, -1);
  HONE_CHECK2("copy_rows", in, HONE_FLOATS, -1, out->shape[1]);
  HONE_REQUIRE(out_row >= 0 && out_row < out->shape[0], "copy_rows: row %lld of %s, which has %lld", (long long)out_row,
               out->name, (long long)out->shape[0]);
  HONE_REQUIRE(in_row >= 0 && in_row < in->shape[0], "copy_rows: row %lld of %s, which has %lld", (long long)in_row,
               in->name, (long long)in->shape[0]);
  int64_t left_out = out->shape[0] - out_row, left_in = in->shape[0] - in_row;
  int64_t rows = left_out < left_in ? left_out : left_in, width = out->shape[1];
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t at = 0; at < width; at += CAST_BLOCK) {
      float buffer[CAST_BLOCK];
      int64_t n = width - at < CAST_BLOCK ? width - at : CAST_BLOCK;
      const float *row = hone_row(buffer, in, (in_row + r) * width + at, n);
      hone_store(out, (out_row + r) * width + at, row, n, false);
    }
  }
  return HONE_OK;
}

int32_t hone_count_nonfinite(const hone_tensor *count, const hone_tensor *x) {
  HONE_CHECK1("count_nonfinite", count, HONE_DTYPE_BIT(HONE_F64), 1);
  HONE_REQUIRE(x, "count_nonfinite: a required tensor is null");
  HONE_TRY(hone_check("count_nonfinite", x, HONE_FLOATS, x->rank, x->shape));
  int64_t n = hone_elements(x), blocks = (n + CAST_BLOCK - 1) / CAST_BLOCK, bad = 0;
#pragma omp parallel for schedule(static) reduction(+ : bad)
  for (int64_t b = 0; b < blocks; b++) {
    float buffer[CAST_BLOCK];
    int64_t at = b * CAST_BLOCK, length = n - at < CAST_BLOCK ? n - at : CAST_BLOCK;
    const float *row = hone_row(buffer, x, at, length);
    for (int64_t i = 0; i < length; i++) bad += !isfinite(row[i]);
  }
  *(double *)count->data = (double)bad;
  return HONE_OK;
}
