/*
 * hone.h - the whole C ABI of libhone, the CPU kernels of Hone.
 *
 * Every op is here once: forward and backward adjacent, argument order outputs, inputs, saved, dims.
 * The derivation of each backward stands in the header comment of <op>.c.
 *
 * Letters.   M tokens of the micro-batch (documents laid end to end, no padding), C hidden size, H heads, KV key and
 *            value heads, D head dim, I intermediate size, V vocabulary, R LoRA rank, N x K a weight (out x in).
 * Outputs.   "=" overwritten, "+=" accumulated; said at each argument.
 * Activations are F32 or BF16, all activations of a call in one dtype unless said otherwise. F32 activations mean
 *            f32 arithmetic whatever the weight's dtype. BF16 activations mean products of bf16 operands accumulated
 *            in f32; everything but products is computed in f32 and rounded once on the way out.
 * Errors.    A function returns HONE_OK or a status; hone_last_error() (thread-local) says op, tensor, got and want.
 *            Nothing is computed before every argument has been checked. No exit, abort or output.
 * Threads.   Calls come from one thread at a time; inside, OpenMP. Results are bitwise repeatable for the same inputs,
 *            thread count and instruction set.
 */
#ifndef HONE_H
#define HONE_H

#include <stdint.h>

#if defined(_WIN32)
#  if defined(HONE_BUILDING)
#    define HONE_API __declspec(dllexport)
#  else
#    define HONE_API __declspec(dllimport)
#  endif
#else
#  define HONE_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

#define HONE_ABI_VERSION 1

enum { HONE_OK = 0, HONE_BAD_ARGUMENT = 1, HONE_OUT_OF_MEMORY = 2, HONE_UNSUPPORTED = 3 };

/* dtypes; NF4: two codes a byte, the even element in the high nibble, with side data in hone_quant; I8: signed bytes with
 * scales in hone_quant. */
enum { HONE_F32 = 0, HONE_BF16 = 1, HONE_F16 = 2, HONE_I32 = 3, HONE_U8 = 4, HONE_NF4 = 5, HONE_F64 = 6, HONE_I8 = 7 };

/* instruction sets, in rising order; REFERENCE is the plain C of each op. */
enum { HONE_ISA_REFERENCE = 0, HONE_ISA_AVX2 = 1, HONE_ISA_AVX512 = 2, HONE_ISA_AVX512_BF16 = 3,
       HONE_ISA_AMX = 4 };

/*
 * Side data of a 4-bit tensor of n elements in row-major blocks of `block` (bitsandbytes layout):
 *   w[i] = code[q[i]] * a[i / block]
 *   a[b] = absmax_f32[b]                                                          plain
 *        = nested_code[absmax_u8[b]] * nested_absmax[b / nested_block] + nested_offset   double quantised
 * Of an I8 tensor: w[i] = q[i] * absmax_f32[i / block], block a row, the other fields unused.
 */
typedef struct hone_quant {
  const float *code;          /* [16] */
  const float *absmax_f32;    /* [ceil(n/block)] or null */
  const uint8_t *absmax_u8;   /* [ceil(n/block)] or null */
  const float *nested_code;   /* [256] with absmax_u8 */
  const float *nested_absmax; /* [ceil(blocks/nested_block)] with absmax_u8 */
  float nested_offset;
  int32_t block;              /* 64; I8: the length of a row */
  int32_t nested_block;       /* 256 */
} hone_quant;

/* A dense row-major tensor. Unused shape entries are 1. NF4: shape is the weight's, data holds n/2 bytes. */
typedef struct hone_tensor {
  void *data;
  const hone_quant *quant;    /* NF4 and I8 only */
  const char *name;           /* for messages; never null */
  int64_t shape[4];
  int32_t dtype;
  int32_t rank;
} hone_tensor;

/* ---- the library ------------------------------------------------------------------------------------------------ */

HONE_API int32_t hone_abi_version(void);
/* The message of the last failed call of this thread; empty when none. */
HONE_API const char *hone_last_error(void);
/* The best instruction set this machine has (AMX: and the system grants), and the one in use (HONE_ISA_*): the best, but
 * AVX512 where that is faster than AVX512_BF16, whose dot product has half the rate of f32 on Intel's cores. */
HONE_API int32_t hone_best_isa(void);
HONE_API int32_t hone_isa(void);
/* Chooses an instruction set not above hone_best_isa(); for tests and comparisons. */
HONE_API int32_t hone_set_isa(int32_t isa);
HONE_API int32_t hone_threads(void);
HONE_API int32_t hone_set_threads(int32_t threads);
/* Bytes of scratch that libhone itself holds for each thread (packing panels, row buffers). */
HONE_API int64_t hone_thread_workspace_bytes(void);

/* ---- pages of mapped files and of buffers: pages.c --------------------------------------------------------------- */

/* Begins to read the pages of a range that will be needed soon; returns before they are there. */
HONE_API int32_t hone_pages_prefetch(const void *address, int64_t bytes);
/* Takes the pages of a range out of this process; touched again, they come from the file. Never for private memory. */
HONE_API int32_t hone_pages_release(const void *address, int64_t bytes);
/* Zeroed pages that become memory when they are touched; null when there are none. hone_pages_free takes them back. */
HONE_API void *hone_pages_allocate(int64_t bytes);
HONE_API int32_t hone_pages_free(void *pages, int64_t bytes);

/* ---- embedding: out[m] = scale * table[ids[m]] ------------------------------------------------------------------ */

/* out (M,C) =; ids (M) I32; table (V,C) F32|BF16|F16 */
HONE_API int32_t hone_embedding_forward(const hone_tensor *out, const hone_tensor *ids, const hone_tensor *table,
                                        float scale);
/* dtable (V,C) F32 +=; ids (M) I32; dout (M,C) */
HONE_API int32_t hone_embedding_backward(const hone_tensor *dtable, const hone_tensor *ids, const hone_tensor *dout,
                                         float scale);

/* ---- RMSNorm: y = x rstd(x) (weight_offset + w) ----------------------------------------------------------------- */

/*
 * y (M,C) =; rstd (M) F32 =; x (M,C); w (C) F32|BF16|F16. y may be x's tensor only if x is not needed again.
 * weight_offset: 0 Llama, 1 Gemma. For a norm over heads pass x as (M*H, D).
 */
HONE_API int32_t hone_rmsnorm_forward(const hone_tensor *y, const hone_tensor *rstd, const hone_tensor *x,
                                      const hone_tensor *w, float eps, float weight_offset);
/* The same of x = a + multiplier b, (M,C) as residual_forward makes it: x =; y =; rstd =. x may be a's or b's tensor. */
HONE_API int32_t hone_residual_rmsnorm_forward(const hone_tensor *y, const hone_tensor *rstd, const hone_tensor *x,
                                               const hone_tensor *a, const hone_tensor *b, float multiplier,
                                               const hone_tensor *w, float eps, float weight_offset);
/* dx (M,C) = or += by `accumulate`; dw (C) F32 += or null when w is frozen; dy (M,C), x, w, rstd as forward.
 * dx may be dy's tensor (each row is read before it is written). */
HONE_API int32_t hone_rmsnorm_backward(const hone_tensor *dx, const hone_tensor *dw, const hone_tensor *dy,
                                       const hone_tensor *x, const hone_tensor *w, const hone_tensor *rstd,
                                       float weight_offset, int32_t accumulate);

/* ---- linear: y = or += x W^T + b ---------------------------------------------------------------------------------- */

/*
 * One rule for the arithmetic of the three products: when any activation among the arguments (x, dx or dy) is BF16, all
 * operands are rounded to bf16 - weights of any dtype, an F32 dy too - and summed in f32; else everything is f32 over exactly
 * decoded weights. The dtypes of a call may differ, which is what chunked ops need: F32 logits from a BF16 h, and from an
 * F32 dy a BF16 dx and the dw of a BF16 x. Any of them may be descriptors of rows inside a larger tensor.
 */
/* y (M,N) = or += by `accumulate`; x (M,K); w (N,K) F32|BF16|F16|NF4|I8; bias (N) F32|BF16|F16 or null. y has x's dtype or
 * F32. What y held, the product and the bias are added in f32 and rounded once. */
HONE_API int32_t hone_linear_forward(const hone_tensor *y, const hone_tensor *x, const hone_tensor *w,
                                     const hone_tensor *bias, int32_t accumulate);
/* dx (M,K) F32|BF16 = or += dy W; dy (M,N) F32|BF16; w as forward */
HONE_API int32_t hone_linear_backward_input(const hone_tensor *dx, const hone_tensor *dy, const hone_tensor *w,
                                            int32_t accumulate);
/* dw (N,K) F32 += dy^T x; dbias (N) F32 += or null; dy (M,N), x (M,K) F32|BF16 */
HONE_API int32_t hone_linear_backward_weight(const hone_tensor *dw, const hone_tensor *dbias, const hone_tensor *dy,
                                             const hone_tensor *x);

/* ---- LoRA: y = s (d(x) A^T) B^T, d = inverted dropout with probability p of a counter-based mask ----------------- */

/* y (M,N) =; u (M,R) = d(x) A^T, saved; x (M,K); a (R,K) F32; b (N,R) F32. Mask of element (m,k) is a pure function
 * of (seed, m*K+k), so backward rebuilds it. The product of the frozen weight is added after it: y is then rounded at its
 * own size once, and before that only at the branch's, which is small. */
HONE_API int32_t hone_lora_forward(const hone_tensor *y, const hone_tensor *u, const hone_tensor *x,
                                   const hone_tensor *a, const hone_tensor *b, float scale, float dropout,
                                   uint64_t seed);
/* dx (M,K) += or null when nothing below needs it; da (R,K) F32 +=; db (N,R) F32 +=; dy (M,N); x, u as forward;
 * scratch e (M,R) same dtype as u, = s dy B */
HONE_API int32_t hone_lora_backward(const hone_tensor *dx, const hone_tensor *da, const hone_tensor *db,
                                    const hone_tensor *e, const hone_tensor *dy, const hone_tensor *x,
                                    const hone_tensor *u, const hone_tensor *a, const hone_tensor *b, float scale,
                                    float dropout, uint64_t seed);

/* ---- RoPE, half-split: (x1,x2) -> (x1 cos - x2 sin, x2 cos + x1 sin), in place ---------------------------------- */

/* q (M,H,D), k (M,KV,D) in place; cos, sin (P, rot/2) F32 with the attention factor inside; positions (M) I32 < P; the first
 * rot <= D dims turn, the rest stay. Backward turns by the negative angle. */
HONE_API int32_t hone_rope_forward(const hone_tensor *q, const hone_tensor *k, const hone_tensor *cos,
                                   const hone_tensor *sin, const hone_tensor *positions);
HONE_API int32_t hone_rope_backward(const hone_tensor *dq, const hone_tensor *dk, const hone_tensor *cos,
                                    const hone_tensor *sin, const hone_tensor *positions);

/* ---- causal attention over documents laid end to end, flash style ----------------------------------------------- */

/*
 * o (M,H,D) =; lse (H,M) F32 = natural log-sum-exp of the capped, scaled scores; q (M,H,D); k, v (M,KV,D);
 * docs (n+1) I32 rising from 0 to M: document j is tokens docs[j] .. docs[j+1]-1; a token sees its own document only.
 * score = scale q.k; softcap c > 0: score = c tanh(score / c); window w > 0: key > query - w.
 */
HONE_API int32_t hone_attention_forward(const hone_tensor *o, const hone_tensor *lse, const hone_tensor *q,
                                        const hone_tensor *k, const hone_tensor *v, const hone_tensor *docs,
                                        float scale, int32_t window, float softcap);
/* dq (M,H,D) =, dk, dv (M,KV,D) =; dout (M,H,D); the rest as forward. delta (H,M) F32 scratch = rowsum(dout * o) */
HONE_API int32_t hone_attention_backward(const hone_tensor *dq, const hone_tensor *dk, const hone_tensor *dv,
                                         const hone_tensor *delta, const hone_tensor *dout, const hone_tensor *o,
                                         const hone_tensor *lse, const hone_tensor *q, const hone_tensor *k,
                                         const hone_tensor *v, const hone_tensor *docs, float scale, int32_t window,
                                         float softcap);
/* One document with a cache: o (M,H,D) =; q (M,H,D) are the positions start .. start+M-1; k_cache, v_cache (P,KV,D)
 * hold positions 0 .. start+M-1. */
HONE_API int32_t hone_attention_decode(const hone_tensor *o, const hone_tensor *q, const hone_tensor *k_cache,
                                       const hone_tensor *v_cache, int64_t start, float scale, int32_t window,
                                       float softcap);

/* ---- gated activation: y = act(gate) * up ----------------------------------------------------------------------- */

enum { HONE_SILU = 0, HONE_GELU_TANH = 1, HONE_GELU_ERF = 2 };
/* y (M,I) =; gate, up (M,I); y may be gate's or up's tensor */
HONE_API int32_t hone_gated_forward(const hone_tensor *y, const hone_tensor *gate, const hone_tensor *up,
                                    int32_t activation);
/* dgate, dup (M,I) =; dy; gate, up as forward; dgate may be gate's tensor, dup may be up's or dy's */
HONE_API int32_t hone_gated_backward(const hone_tensor *dgate, const hone_tensor *dup, const hone_tensor *dy,
                                     const hone_tensor *gate, const hone_tensor *up, int32_t activation);

/* ---- y = x + multiplier r, y += multiplier x; any shapes of equal size ------------------------------------------ */

/* y =; y may be x's or r's tensor */
HONE_API int32_t hone_residual_forward(const hone_tensor *y, const hone_tensor *x, const hone_tensor *r,
                                       float multiplier);
/* dr = multiplier dy (dx = dy needs no op); dr may be dy's tensor */
HONE_API int32_t hone_residual_backward(const hone_tensor *dr, const hone_tensor *dy, float multiplier);

/* ---- linear + cross-entropy over chunks of tokens; the logits never exist whole ---------------------------------- */

/*
 * z = logit_scale h U^T, capped z = c tanh(z / c) when softcap c > 0;
 * loss (1) F64 += sum over targets[m] != -100 of [(1-eps) nll + eps mean_v(-logp_v)], not divided;
 * dh (M,C) = d(loss * inv_count)/dh, or null for evaluation; du (V,C) F32 += likewise, or null when U is frozen.
 * h (M,C); u (V,C) F32|BF16|F16|NF4|I8; targets (M) I32, already shifted: the label of the next token, or -100;
 * scratch: U8, at least hone_cross_entropy_scratch_bytes(M, C, V, dtype of h, du != null, softcap).
 */
HONE_API int64_t hone_cross_entropy_scratch_bytes(int64_t tokens, int64_t hidden, int64_t vocab, int32_t dtype,
                                                  int32_t weight_trains, float softcap);
HONE_API int32_t hone_cross_entropy(const hone_tensor *loss, const hone_tensor *dh, const hone_tensor *du,
                                    const hone_tensor *scratch, const hone_tensor *h, const hone_tensor *u,
                                    const hone_tensor *targets, float inv_count, float logit_scale, float softcap,
                                    float label_smoothing);
/* z = c tanh(z logit_scale / c) in place (c > 0) or z *= logit_scale: what generation needs after a plain linear. */
HONE_API int32_t hone_softcap_forward(const hone_tensor *z, float logit_scale, float softcap);

/* ---- optimiser ---------------------------------------------------------------------------------------------------- */

/* out (1) F64 += sum x^2, summed in f64 in a fixed order; x F32 */
HONE_API int32_t hone_sum_squares(const hone_tensor *out, const hone_tensor *x);
/*
 * AdamW, decoupled decay, in torch's order: p *= 1 - lr wd; m = b1 m + (1-b1) g; v = b2 v + (1-b2) g^2;
 * p -= lr / (1-b1^t) * m / (sqrt(v) / sqrt(1-b2^t) + eps). g = grad_scale * grad (clipping). step t counts from 1.
 * p, m, v, grad F32 of equal size; p, m, v in place, =.
 */
HONE_API int32_t hone_adamw_step(const hone_tensor *p, const hone_tensor *m, const hone_tensor *v,
                                 const hone_tensor *grad, float lr, float beta1, float beta2, float eps,
                                 float weight_decay, float grad_scale, int64_t step);
/*
 * The same with 8-bit moments in blocks of 256, as bitsandbytes keeps them: m U8 (n) are codes of the signed dynamic map,
 * v U8 (n) of the unsigned one, times m_absmax, v_absmax F32 (ceil(n/256)) of their block. The decay follows the update:
 * p = (p - lr sqrt(1-b2^t) / (1-b1^t) * m / (sqrt(v) + sqrt(1-b2^t) eps)) (1 - lr wd). A fresh state is all zeros.
 * p, grad F32 of equal size; all but grad in place, =.
 */
HONE_API int32_t hone_adamw8_step(const hone_tensor *p, const hone_tensor *m, const hone_tensor *v,
                                  const hone_tensor *m_absmax, const hone_tensor *v_absmax, const hone_tensor *grad,
                                  float lr, float beta1, float beta2, float eps, float weight_decay, float grad_scale,
                                  int64_t step);
/* The maps of hone_adamw8_step: signed_map F32 (256) =, unsigned_map F32 (256) =. */
HONE_API int32_t hone_adamw8_maps(const hone_tensor *signed_map, const hone_tensor *unsigned_map);

/* ---- quantisation and casts --------------------------------------------------------------------------------------- */

/* codes U8 (ceil(n/2)) =; absmax F32 (ceil(n/block)) =; w F32|BF16|F16 of n elements. Byte-exact with bitsandbytes. */
HONE_API int32_t hone_nf4_quantize(const hone_tensor *codes, const hone_tensor *absmax, const hone_tensor *w,
                                   int32_t block);
/* Second level over absmax F32 (B): quantised U8 (B) =; nested_absmax F32 (ceil(B/256)) =; offset F32 (1) = mean. */
HONE_API int32_t hone_nf4_quantize_absmax(const hone_tensor *quantised, const hone_tensor *nested_absmax,
                                          const hone_tensor *offset, const hone_tensor *absmax);
/* The code books: nf4 F32 (16) =, dynamic F32 (256) = the signed 8-bit dynamic map of the second level. */
HONE_API int32_t hone_nf4_tables(const hone_tensor *nf4, const hone_tensor *dynamic);
/* codes U8 (N*K) =, signed bytes; scale F32 (N) = max |row| / 127; w (N,K) F32|BF16|F16: the I8 form of a weight. */
HONE_API int32_t hone_int8_quantize(const hone_tensor *codes, const hone_tensor *scale, const hone_tensor *w);
/* out F32|BF16|F16 =; in any dtype of equal size, NF4 and I8 included: casts round to nearest even. */
HONE_API int32_t hone_cast(const hone_tensor *out, const hone_tensor *in);
/* Rows out_row .. of out (P,C) = rows in_row .. of in (M,C), as many as both have left; F32|BF16|F16, cast where they
 * differ. At least one row; the two do not overlap. */
HONE_API int32_t hone_copy_rows(const hone_tensor *out, int64_t out_row, const hone_tensor *in, int64_t in_row);
/* count (1) F64 = how many elements of x (F32|BF16|F16) are NaN or infinite */
HONE_API int32_t hone_count_nonfinite(const hone_tensor *count, const hone_tensor *x);

#ifdef __cplusplus
}
#endif
#endif
