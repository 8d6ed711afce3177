/* rows.c - the plain reference of rows.h's passes, with libm, and the choice of an instruction set. */
#define ROWS hone_rows_reference
#define ROWS_SIMD(...)
#define ROWS_EXP expf
#define ROWS_TANH tanhf
#define ROWS_LOGISTIC(x) (1.0f / (1.0f + expf(-(x))))
#include "rows_body.h"

const hone_rows *hone_rows_now(void) {
#if defined(__x86_64__)
  if (hone_isa() >= HONE_ISA_AVX512) return &hone_rows_avx512;
  if (hone_isa() >= HONE_ISA_AVX2) return &hone_rows_avx2;
#endif
  return &hone_rows_reference;
}
