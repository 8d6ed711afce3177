/* int8.h - decoding of 8-bit rows, for the ops that read weights. The codec itself is int8.c. */
#ifndef HONE_INT8_H
#define HONE_INT8_H

#include "hone.h"

/* Elements offset .. offset+n-1 of an I8 tensor as f32: q * scale, one rounding. */
void hone_int8_load(float *out, const hone_tensor *t, int64_t offset, int64_t n);

#endif
