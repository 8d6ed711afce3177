/* nf4.h - decoding of 4-bit rows, for the ops that read weights, and the 8-bit dynamic maps. The codec is nf4.c. */
#ifndef HONE_NF4_H
#define HONE_NF4_H

#include <stdbool.h>

#include "hone.h"

/* Elements offset .. offset+n-1 of an NF4 tensor as f32: code[q] * absmax, one rounding. */
void hone_nf4_load(float *out, const hone_tensor *t, int64_t offset, int64_t n);
/* absmax of block b, second level decoded. */
static inline float hone_nf4_absmax(const hone_quant *q, int64_t b) {
  if (q->absmax_f32) return q->absmax_f32[b];
  return q->nested_code[q->absmax_u8[b]] * q->nested_absmax[b / q->nested_block] + q->nested_offset;
}

/* ---- dynamic maps: 8-bit codes of values in -1 .. 1 or 0 .. 1 ---------------------------------------------------- */

enum { HONE_DYNAMIC_MAP = 256, HONE_DYNAMIC_ZERO = 127 }; /* of the signed map: the code of 0 */

/* The 256 rising values of a map. */
void hone_dynamic_map(float *map, bool is_signed);
/* The 255 values halfway between neighbours of a map. */
void hone_dynamic_boundaries(float *boundary, const float *map);
/* How many of the 255 rising boundaries lie below x: the code of the value nearest to x. Without a branch. */
static inline int32_t hone_dynamic_code(const float *boundary, float x) {
  int32_t below = boundary[127] < x ? 128 : 0;
  below += boundary[below + 63] < x ? 64 : 0;
  below += boundary[below + 31] < x ? 32 : 0;
  below += boundary[below + 15] < x ? 16 : 0;
  below += boundary[below + 7] < x ? 8 : 0;
  below += boundary[below + 3] < x ? 4 : 0;
  below += boundary[below + 1] < x ? 2 : 0;
  below += boundary[below] < x ? 1 : 0;
  return below;
}

#endif
