/* nf4.h - decoding of 4-bit rows, for the ops that read weights. The codec itself is nf4.c. */
#ifndef HONE_NF4_H
#define HONE_NF4_H

#include "hone.h"

/* Elements offset .. offset+n-1 of an NF4 tensor as f32: code[q] * absmax, one rounding. */
void hone_nf4_load(float *out, const hone_tensor *t, int64_t offset, int64_t n);
/* absmax of block b, second level decoded. */
static inline float hone_nf4_absmax(const hone_quant *q, int64_t b) {
  if (q->absmax_f32) return q->absmax_f32[b];
  return q->nested_code[q->absmax_u8[b]] * q->nested_absmax[b / q->nested_block] + q->nested_offset;
}

#endif
