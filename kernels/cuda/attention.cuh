/*
 * Causal attention over documents laid end to end, flash style, f16 on the tensor cores of Turing (sm_75).
 *
 * Forward.   x_ij = scale q_i . k_j,  s_ij = c tanh(x_ij / c) or x_ij without a cap, for first_i <= j <= i, where
 *            first_i = max(start of i's document, i - window + 1);  lse_i = log sum_j exp(s_ij)
 *            p_ij = exp(s_ij - lse_i),  o_i = sum_j p_ij v_j.  Query head h uses key and value head h / (H / KV).
 *            Tiles of keys keep a running maximum t and sum l for a query; a new maximum t' first multiplies l and o
 *            by exp(t - t').                                                                          attention_fwd
 * Backward.  dv_j = sum_i p_ij do_i and dp_ij = do_i . v_j, since o_i is linear in v_j. p_i is a softmax, so
 *            ds_ij = p_ij (dp_ij - delta_i) with delta_i = sum_j p_ij dp_ij = do_i . o_i (attention_delta).
 *            The cap: dx_ij = ds_ij (1 - tanh^2(x_ij / c)).
 *            dq_i = scale sum_j dx_ij k_j                                                             attention_dq
 *            dk_j = scale sum_i dx_ij q_i, dv_j, summed over the query heads of the group             attention_dkv
 *            Both make p again from lse. They are one sweep in two orientations: a block keeps rows (queries, or
 *            keys) and walks over tiles of the others; products with a tile need it along and across its rows.
 * Shapes.    q, o, dout, dq (M,H,D)  k, v, dk, dv (M,KV,D)  lse, delta (H,M) f32  seg0, seg1 (M) i32: the first token
 *            and one past the last of a token's document. Any D <= DP; D % 8 == 0 is read 16 bytes at a time.
 * Memory.    lse besides the results; no matrix of scores. k and v are read once for each tile of queries.
 * Rounding.  scores, softmax and all sums in f32. p and dx are rounded to f16 as operands: p <= 1, dx counts on the
 *            loss scale; a result beyond 65504 becomes infinite. Every result is rounded once.
 * Order.     each result has one writer that adds in one order: no atomics, bitwise repeatable.
 * Mirrors.   src/main/c/attention.c - kernels/triton/attention.py (sm_80)
 *
 *              tile of columns: COLS tokens of the other side
 *            +---------+---------+
 *            | w 0     | w 4     |  16 rows          Warps down the rows; PARTS of them side by side, each with its own
 *            +---------+---------+                   sums, which meet in shared memory at the end. A warp passes over
 *   ROWS     | w 1     | w 5     |                   tiles that none of its rows sees, and masks only tiles that some
 *            +---------+---------+                   of its rows see in part.
 *            | ...     | ...     |
 *            +---------+---------+
 *              COLS / PARTS columns
 */
#pragma once

#include <type_traits>

#include "product.cuh"

namespace hone {

constexpr float LOG2_E = 1.4426950408889634f, LN_2 = 0.6931471805599453f;

/* One instruction instead of libm's scaling around it: arguments here are at most 0, or saturate. */
__device__ __forceinline__ float fast_exp2(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ float fast_log2(float x) {
  float y;
  asm("lg2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}

/* ---- the arguments ---------------------------------------------------------------------------------------------- */

template <class T>
struct Attention {
  const T *q, *k, *v, *dout;
  const float *lse, *delta;
  const int *seg0, *seg1;
  int M, H, KV, D;
  float scale;
  int window;
  float softcap;

  /* the rows of one head of q, dout (H heads) or k, v (KV heads) */
  __device__ __forceinline__ Matrix<T> rows(const T *data, int heads, int head) const {
    return Matrix<T>(data + (int64_t)head * D, (int64_t)heads * D, M, D);
  }
  __device__ __forceinline__ Result<T> result(T *data, int heads, int head) const {
    return Result<T>(data + (int64_t)head * D, (int64_t)heads * D, M, D);
  }
};

/* Tokens from .. to-1 that a row sees: keys of a query, or queries of a key. Both ends rise with the row. */
struct Span {
  int from, to;
};

template <class T>
__device__ __forceinline__ Span keys_of(const Attention<T> &a, int query) {
  if (query >= a.M) return {0, 0};
  int back = query - a.seg0[query];
  return {query - (a.window > 0 ? min(back, a.window - 1) : back), query + 1};
}

template <class T>
__device__ __forceinline__ Span queries_of(const Attention<T> &a, int key) {
  if (key >= a.M) return {0, 0};
  int ahead = a.seg1[key] - key;
  return {key, key + (a.window > 0 ? min(ahead, a.window) : ahead)};
}

/* What a warp of 16 rows needs to know of them. */
struct Rows {
  Span any;    /* what some row sees */
  Span all;    /* what every row sees; rows beyond the last one do not count, their results are not written */
  Span own[2]; /* of the lane's rows g and g + 8 */

  /* span_of(row) is keys_of or queries_of */
  template <class SPAN_OF>
  __device__ __forceinline__ Rows(int first, int M, SPAN_OF span_of) {
    const int g = threadIdx.x % WARP / 4;
    const Span top = span_of(first), bottom = span_of(min(first + 15, M - 1));
    any = first < M ? Span{top.from, bottom.to} : Span{0, 0};
    all = {bottom.from, top.to};
    own[0] = span_of(first + g), own[1] = span_of(first + g + 8);
  }

  __device__ __forceinline__ bool see(int col, int cols) const { return col < any.to && col + cols > any.from; }
  __device__ __forceinline__ bool see_in_part(int col, int cols) const { return col < all.from || col + cols > all.to; }
};

/* From x = q . k: tanh(scale x / c), which the derivative needs too, and the score in units of log 2. */
template <bool CAP>
struct Score {
  float factor, cap;

  __device__ __forceinline__ Score(float scale, float softcap)
      : factor(CAP ? 2 * LOG2_E * scale / softcap : LOG2_E * scale), cap(LOG2_E * softcap) {}

  /* (e^2z - 1) / (e^2z + 1), in a form that is right at both ends too; 0 without a cap */
  __device__ __forceinline__ float tanh_of(float x) const {
    return CAP ? 1 - __fdividef(2, fast_exp2(x * factor) + 1) : 0;
  }

  __device__ __forceinline__ float log2_of(float x, float tanh) const { return CAP ? cap * tanh : x * factor; }
  __device__ __forceinline__ float log2_of(float x) const { return log2_of(x, tanh_of(x)); }
};

/* ---- products of a warp ----------------------------------------------------------------------------------------- */

/* The 16 rows a warp keeps, as A fragments: in registers, or read from shared memory each time. */
template <class TILE, bool IN_REGISTERS>
struct Kept {
  BlocksOfA<TILE, false> blocks;
  uint32_t fragment[IN_REGISTERS ? TILE::COLS / 16 : 1][4];

  __device__ __forceinline__ Kept(const TILE &tile, int row) : blocks(tile, row) {
    if constexpr (IN_REGISTERS) {
#pragma unroll
      for (int k = 0; k < TILE::COLS; k += 16) blocks.read(fragment[k / 16], 0, k);
    }
  }

  __device__ __forceinline__ void read(uint32_t (&a)[4], int k) const {
    if constexpr (IN_REGISTERS) {
#pragma unroll
      for (int i = 0; i < 4; i++) a[i] = fragment[k / 16][i];
    } else {
      blocks.read(a, 0, k);
    }
  }
};

/* s = kept rows times the NT * 8 rows of the tile from `row` on, transposed */
template <class T, int NT, class KEPT, class TILE>
__device__ __forceinline__ void multiply_along(float (&s)[NT][4], const KEPT &kept, const TILE &tile, int row) {
  const BlocksOfB<TILE, false> columns(tile, row);
#pragma unroll
  for (int i = 0; i < NT * 4; i++) s[i / 4][i % 4] = 0;
#pragma unroll
  for (int k = 0; k < TILE::COLS; k += 16) {
    uint32_t a[4];
    kept.read(a, k);
#pragma unroll
    for (int j = 0; j < NT; j += 2) {
      uint32_t b[4];
      columns.read(b, 8 * j, k);
      mma_pair<T>(s[j], s[j + 1], a, b);
    }
  }
}

/* sum += w times the KT * 16 rows of the tile from `row` on */
template <class T, int KT, int DT, class TILE>
__device__ __forceinline__ void multiply_across(float (&sum)[DT][4], const uint32_t (&w)[KT][4], const TILE &tile,
                                                int row) {
  const BlocksOfB<TILE, true> columns(tile, row);
#pragma unroll
  for (int k = 0; k < KT; k++) {
#pragma unroll
    for (int j = 0; j < DT; j += 2) {
      uint32_t b[4];
      columns.read(b, 16 * k, 8 * j);
      mma_pair<T>(sum[j], sum[j + 1], w[k], b);
    }
  }
}

/* Sums of one product, rounded, as the left operand of the next. */
template <class T, int NT>
__device__ __forceinline__ void as_operand(uint32_t (&w)[NT / 2][4], const float (&c)[NT][4]) {
#pragma unroll
  for (int i = 0; i < NT * 2; i++) w[i / 4][i % 4] = pack<T>(c[i / 2][i % 2 * 2], c[i / 2][i % 2 * 2 + 1]);
}

/* Rows first + g and first + g + 8 of the result: factor[0] and factor[1] times the sums. */
template <class T, int DT>
__device__ __forceinline__ void write_rows(const Result<T> &out, int first, const float (&sum)[DT][4], float factor0,
                                           float factor1) {
  const int g = threadIdx.x % WARP / 4;
#pragma unroll
  for (int j = 0; j < DT; j += 4) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float value[8];
#pragma unroll
      for (int e = 0; e < 8; e++) {
        value[e] = j + e / 2 < DT ? sum[min(j + e / 2, DT - 1)][2 * h + e % 2] * (h ? factor1 : factor0) : 0;
      }
      out.write(first + 8 * h + g, CHUNK * j, value, false);
    }
  }
}

} // namespace hone

#include "attention_bwd.cuh"
#include "attention_fwd.cuh"

/*
 * The entries of one padded head dimension, from Forward (a ForwardShape), Queries and Keys (BackwardShapes) and their
 * constants FWD_SHARED, DQ_SHARED and DKV_SHARED, the bytes of dynamic shared memory that the file declares.
 * BLOCKS is how many blocks a multiprocessor should hold: it bounds the registers.
 */
#define HONE_ATTENTION(DP, CAP, FORWARD_BLOCKS, QUERIES_BLOCKS, KEYS_BLOCKS, APART)                                    \
  extern "C" __global__ void __launch_bounds__(Forward::THREADS, FORWARD_BLOCKS)                                       \
      hone_attention_fwd_f16_d##DP##_cap##CAP(__half *o, float *lse, const __half *q, const __half *k,                 \
                                              const __half *v, const int *seg0, int M, int H, int KV, int D,           \
                                              float scale, int window, float softcap) {                                \
    attention_fwd<__half, Forward, CAP>(                                                                               \
        o, lse, {q, k, v, nullptr, nullptr, nullptr, seg0, nullptr, M, H, KV, D, scale, window, softcap});             \
  }                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(Queries::THREADS, QUERIES_BLOCKS)                                       \
      hone_attention_dq_f16_d##DP##_cap##CAP(__half *dq, const __half *dout, const __half *q, const __half *k,         \
                                             const __half *v, const float *lse, const float *delta,                    \
                                             const int *seg0, int M, int H, int KV, int D, float scale,                \
                                             int window, float softcap) {                                              \
    attention_dq<__half, Queries, CAP>(                                                                                \
        dq, {q, k, v, dout, lse, delta, seg0, nullptr, M, H, KV, D, scale, window, softcap});                          \
  }                                                                                                                    \
  extern "C" __global__ void __launch_bounds__(Keys::THREADS, KEYS_BLOCKS)                                             \
      hone_attention_dkv_f16_d##DP##_cap##CAP(__half *dk, __half *dv, const __half *dout, const __half *q,             \
                                              const __half *k, const __half *v, const float *lse,                      \
                                              const float *delta, const int *seg0, const int *seg1, int M, int H,      \
                                              int KV, int D, float scale, int window, float softcap) {                 \
    attention_dkv<__half, Keys, CAP, APART>(                                                                           \
        dk, dv, {q, k, v, dout, lse, delta, seg0, seg1, M, H, KV, D, scale, window, softcap});                         \
  }                                                                                                                    \
  static_assert(sizeof(hone::ForwardShared<Forward>) == FWD_SHARED && FWD_SHARED <= 65536, "shared=");                 \
  static_assert(sizeof(Queries::Shared) == DQ_SHARED && DQ_SHARED <= 65536, "shared=");                                \
  static_assert(sizeof(Keys::Shared) == DKV_SHARED && DKV_SHARED <= 65536, "shared=")
