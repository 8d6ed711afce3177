/* pending.c - ops not landed yet; goes away with the last of them. */
#include "internal.h"
#pragma GCC diagnostic ignored "-Wunused-parameter"
__attribute__((weak)) int32_t hone_attention_forward(const hone_tensor *o, const hone_tensor *lse, const hone_tensor *q, const hone_tensor *k, const hone_tensor *v, const hone_tensor *docs, float scale, int32_t window, float softcap) { return hone_fail(HONE_UNSUPPORTED, "hone_attention_forward: pending"); }
__attribute__((weak)) int32_t hone_attention_backward(const hone_tensor *dq, const hone_tensor *dk, const hone_tensor *dv, const hone_tensor *delta, const hone_tensor *dout, const hone_tensor *o, const hone_tensor *lse, const hone_tensor *q, const hone_tensor *k, const hone_tensor *v, const hone_tensor *docs, float scale, int32_t window, float softcap) { return hone_fail(HONE_UNSUPPORTED, "hone_attention_backward: pending"); }
__attribute__((weak)) int32_t hone_attention_decode(const hone_tensor *o, const hone_tensor *q, const hone_tensor *k_cache, const hone_tensor *v_cache, int64_t start, float scale, int32_t window, float softcap) { return hone_fail(HONE_UNSUPPORTED, "hone_attention_decode: pending"); }
