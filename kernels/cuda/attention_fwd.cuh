/*
 * attention_fwd.cuh - the forward of attention.cuh: formulas, shapes and rounding are there.
 *
 * K and V have one shared tile each. While the scores of a tile are made its V waits in registers, and while P V is
 * made the next K does, so that one set of registers carries both:
 *
 *   | S = Q K_j | V_j to shared | softmax, read K_j+1 | O += P V_j | K_j+1 to shared, read V_j+1 |
 */
#pragma once

#include "attention.cuh"

namespace hone {

/*
 * DP                 head dimension padded to a multiple of 16
 * BM, BN             queries of a block, 16 for a warp, and keys of a tile
 * KEPT_IN_REGISTERS  Q's fragments stay in registers; its tile then lies where K and V follow
 */
template <int DP_, int BM_, int BN_, bool KEPT_IN_REGISTERS_>
struct ForwardShape {
  static constexpr int DP = DP_, BM = BM_, BN = BN_, THREADS = BM / 16 * WARP;
  static constexpr bool KEPT_IN_REGISTERS = KEPT_IN_REGISTERS_;
  using TileQ = Tile<BM, DP>;
  using TileK = Tile<BN, DP>;
  struct Tiles {
    TileK k, v;
  };
  struct Apart {
    TileQ q;
    Tiles kv;
  };
  union Over {
    TileQ q;
    Tiles kv;
  };
};

template <class SHAPE>
using ForwardShared = std::conditional_t<SHAPE::KEPT_IN_REGISTERS, typename SHAPE::Over, typename SHAPE::Apart>;

/* The running softmax of the lane's two rows; a maximum of -1e30 keeps exp2(-inf - maximum) at 0. */
struct RunningSoftmax {
  float maximum[2] = {-1e30f, -1e30f}, sum[2] = {0, 0};

  /* Scores (in log 2) become probabilities relative to the new maximum; shrink[h] is what earlier sums are worth. */
  template <int NT>
  __device__ __forceinline__ void add(float (&s)[NT][4], float (&shrink)[2]) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float top = maximum[h];
#pragma unroll
      for (int j = 0; j < NT; j++) top = fmaxf(top, fmaxf(s[j][2 * h], s[j][2 * h + 1]));
      top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 1));
      top = fmaxf(top, __shfl_xor_sync(ALL_LANES, top, 2));
      shrink[h] = fast_exp2(maximum[h] - top);
      maximum[h] = top, sum[h] *= shrink[h];
#pragma unroll
      for (int j = 0; j < NT; j++) {
#pragma unroll
        for (int e = 2 * h; e < 2 * h + 2; e++) s[j][e] = fast_exp2(s[j][e] - top), sum[h] += s[j][e];
      }
    }
  }

  /* every lane added its own columns only */
  __device__ __forceinline__ void finish() {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      sum[h] += __shfl_xor_sync(ALL_LANES, sum[h], 1);
      sum[h] += __shfl_xor_sync(ALL_LANES, sum[h], 2);
    }
  }
};

/* Scores of a tile of keys from `key` on, masked where the warp's rows see it in part. */
template <bool CAP, int NT>
__device__ __forceinline__ void score(float (&s)[NT][4], const Score<CAP> &to_score, const Rows &rows, int key) {
  const int t = threadIdx.x & 3;
  const bool masked = rows.see_in_part(key, 8 * NT);
#pragma unroll
  for (int i = 0; i < NT * 4; i++) {
    float &x = s[i / 4][i % 4];
    x = to_score.log2_of(x);
    if (masked) {
      const Span own = rows.own[i / 2 % 2];
      const int at = key + i / 4 * 8 + 2 * t + i % 2;
      if (at < own.from || at >= own.to) x = -INFINITY;
    }
  }
}

/*
 * T      f16
 * SHAPE  a ForwardShape
 * CAP    scores are capped
 */
template <class T, class SHAPE, bool CAP>
__device__ __forceinline__ void attention_fwd(T *o, float *lse, const Attention<T> &a) {
  constexpr int NT = SHAPE::BN / 8, DT = SHAPE::DP / 8;
  extern __shared__ __align__(128) unsigned char shared_bytes[];
  auto &shared = *(ForwardShared<SHAPE> *)shared_bytes;
  const int head = blockIdx.y, kv_head = head / (a.H / a.KV);
  const int block = (gridDim.x - 1 - blockIdx.x) * SHAPE::BM; /* late queries see the most keys: they begin first */
  const int first = block + threadIdx.x / WARP * 16, last = min(block + SHAPE::BM, a.M) - 1;
  const Matrix<T> k = a.rows(a.k, a.KV, kv_head), v = a.rows(a.v, a.KV, kv_head);
  const Rows rows(first, a.M, [&](int row) { return keys_of(a, row); });
  const Score<CAP> to_score(a.scale, a.softcap);

  {
    const Matrix<T> q = a.rows(a.q, a.H, head);
    Transfer<typename SHAPE::TileQ, Matrix<T>, SHAPE::THREADS> carrier;
    carrier.read(q, block, 0);
    carrier.write(shared.q, q, block, 0);
    __syncthreads();
  }
  const Kept<typename SHAPE::TileQ, SHAPE::KEPT_IN_REGISTERS> kept(shared.q, threadIdx.x / WARP * 16);
  if (SHAPE::KEPT_IN_REGISTERS) __syncthreads(); /* K comes over Q */

  float sum[DT][4];
#pragma unroll
  for (int i = 0; i < DT * 4; i++) sum[i / 4][i % 4] = 0;
  RunningSoftmax softmax;
  Transfer<typename SHAPE::TileK, Matrix<T>, SHAPE::THREADS> carrier;
  int key = keys_of(a, block).from;
  carrier.read(k, key, 0);
  carrier.write(shared.kv.k, k, key, 0);
  carrier.read(v, key, 0);
  for (; key <= last; key += SHAPE::BN) {
    __syncthreads(); /* K is there; nobody reads the V before */
    const bool active = rows.see(key, SHAPE::BN), more = key + SHAPE::BN <= last;
    float s[NT][4];
    uint32_t p[NT / 2][4];
    if (active) multiply_along<T>(s, kept, shared.kv.k, 0);
    carrier.write(shared.kv.v, v, key, 0);
    if (more) carrier.read(k, key + SHAPE::BN, 0);
    if (active) {
      float shrink[2];
      score(s, to_score, rows, key);
      softmax.add(s, shrink);
      as_operand<T>(p, s);
#pragma unroll
      for (int i = 0; i < DT * 4; i++) sum[i / 4][i % 4] *= shrink[i / 2 % 2];
    }
    __syncthreads(); /* V is there; nobody reads K any more */
    if (active) multiply_across<T>(sum, p, shared.kv.v, 0);
    if (more) {
      carrier.write(shared.kv.k, k, key + SHAPE::BN, 0);
      carrier.read(v, key + SHAPE::BN, 0);
    }
  }

  softmax.finish();
  write_rows(a.result(o, a.H, head), first, sum, __fdividef(1, softmax.sum[0]), __fdividef(1, softmax.sum[1]));
  if ((threadIdx.x & 3) == 0) {
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int row = first + threadIdx.x % WARP / 4 + 8 * h;
      if (row < a.M) lse[(int64_t)head * a.M + row] = LN_2 * (softmax.maximum[h] + fast_log2(softmax.sum[h]));
    }
  }
}

} // namespace hone
