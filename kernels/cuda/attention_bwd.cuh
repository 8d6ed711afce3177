/*
 * attention_bwd.cuh - the backward of attention.cuh: formulas, shapes and rounding are there.
 *
 *                kept rows       tiles              a tile gives                          sums
 *   dq           Q, dO           K, V               S = Q K^T,    dP = dO V^T             dQ += dX K
 *   dk, dv       K, V            Q, dO of a head    S^T = K Q^T,  dP^T = V dO^T           dK += dX^T Q,  dV += P^T dO
 *
 * With two stages the next pair of tiles is read while one is used, one after the other through the same registers;
 * with one stage (DP 128 and 256, where shared memory ends) the first of the pair is. With DP 256 a warp's sums take
 * half of its registers and leave no room for that: both are read when the pair before them is done.
 */
#pragma once

#include "attention.cuh"

namespace hone {

/*
 * DP                 head dimension padded to a multiple of 16
 * ROWS, COLS         tokens a block keeps, 16 for a warp, and tokens of a tile
 * PARTS              warps that share 16 rows, each with its part of every tile
 * STAGES             pairs of tiles in shared memory: 1 or 2
 * KEPT_IN_REGISTERS  the kept fragments stay in registers; their tiles then lie where the stages follow
 */
template <int DP_, int ROWS_, int COLS_, int PARTS_, int STAGES_, bool KEPT_IN_REGISTERS_>
struct BackwardShape {
  static constexpr int DP = DP_, ROWS = ROWS_, COLS = COLS_, PARTS = PARTS_, STAGES = STAGES_;
  static constexpr int THREADS = ROWS / 16 * PARTS * WARP, OWN = COLS / PARTS;
  static constexpr bool KEPT_IN_REGISTERS = KEPT_IN_REGISTERS_;
  static_assert(PARTS <= 2, "a second part adds to the first");
  static_assert(OWN % 16 == 0, "a warp's columns are whole fragments of the second product's depth");
  using TileKept = Tile<ROWS, DP>;
  using TileMoving = Tile<COLS, DP>;
  struct Pair {
    TileKept first, second;
  };
  struct Stages {
    TileMoving first[STAGES], second[STAGES];
  };
  struct Apart {
    Pair kept;
    Stages stage;
  };
  union Over {
    Pair kept;
    Stages stage;
  };
  union Shared {
    std::conditional_t<KEPT_IN_REGISTERS, Over, Apart> tiles;
    float sums[PARTS > 1 ? DP / 2 : 1][ROWS / 16 * WARP]; /* of the second part, when they meet */
  };
};

/* The first part's sums become the whole ones. */
template <class SHAPE>
__device__ __forceinline__ void add_second_part(typename SHAPE::Shared &shared, float (&sum)[SHAPE::DP / 8][4]) {
  constexpr int THREADS = SHAPE::ROWS / 16 * WARP;
  const int thread = threadIdx.x % THREADS;
  __syncthreads(); /* the tiles, or the sums before these, are still read */
#pragma unroll
  for (int i = 0; i < SHAPE::DP / 2; i++) {
    if (threadIdx.x >= THREADS) shared.sums[i][thread] = sum[i / 4][i % 4];
  }
  __syncthreads();
#pragma unroll
  for (int i = 0; i < SHAPE::DP / 2; i++) {
    if (threadIdx.x < THREADS) sum[i / 4][i % 4] += shared.sums[i][thread];
  }
}

/*
 * T                        f16
 * SHAPE                    a BackwardShape
 * CAP                      scores are capped
 * KEYS_KEPT                the block keeps keys and makes dk and dv; else queries, and makes dq
 * WANT_FIRST, WANT_SECOND  makes dq or dk in `first_out`; makes dv in `second_out`
 */
template <class T, class SHAPE, bool CAP, bool KEYS_KEPT, bool WANT_FIRST, bool WANT_SECOND>
__device__ __forceinline__ void attention_sweep(typename SHAPE::Shared &shared, T *first_out, T *second_out,
                                                const Attention<T> &a) {
  constexpr bool EARLY = SHAPE::DP < 256; /* the next first tile is on its way during the products */
  constexpr int NT = SHAPE::OWN / 8, DT = SHAPE::DP / 8, STAGES = SHAPE::STAGES, ROW_WARPS = SHAPE::ROWS / 16;
  const int warp = threadIdx.x / WARP, part = warp / ROW_WARPS, t = threadIdx.x & 3, g = threadIdx.x % WARP / 4;
  const int group = a.H / a.KV, kv_head = KEYS_KEPT ? blockIdx.y : blockIdx.y / group;
  const int first_head = KEYS_KEPT ? kv_head * group : blockIdx.y;
  const int last_head = KEYS_KEPT ? first_head + group - 1 : first_head;
  /* early keys and late queries have the most to see: they begin first */
  const int block = (KEYS_KEPT ? blockIdx.x : gridDim.x - 1 - blockIdx.x) * SHAPE::ROWS;
  const auto span_of = [&](int row) { return KEYS_KEPT ? queries_of(a, row) : keys_of(a, row); };
  const int begin = span_of(block).from, end = span_of(min(block + SHAPE::ROWS, a.M) - 1).to;
  const Rows rows(block + warp % ROW_WARPS * 16, a.M, span_of);
  const Score<CAP> to_score(a.scale, a.softcap);

  const auto moving_first = [&](int head) { return KEYS_KEPT ? a.rows(a.q, a.H, head) : a.rows(a.k, a.KV, kv_head); };
  const auto moving_second = [&](int head) {
    return KEYS_KEPT ? a.rows(a.dout, a.H, head) : a.rows(a.v, a.KV, kv_head);
  };
  {
    const Matrix<T> first = KEYS_KEPT ? a.rows(a.k, a.KV, kv_head) : a.rows(a.q, a.H, first_head);
    const Matrix<T> second = KEYS_KEPT ? a.rows(a.v, a.KV, kv_head) : a.rows(a.dout, a.H, first_head);
    Transfer<typename SHAPE::TileKept, Matrix<T>, SHAPE::THREADS> carrier;
    carrier.read(first, block, 0);
    carrier.write(shared.tiles.kept.first, first, block, 0);
    if (WANT_FIRST) {
      carrier.read(second, block, 0);
      carrier.write(shared.tiles.kept.second, second, block, 0);
    }
    __syncthreads();
  }
  using KeptRows = Kept<typename SHAPE::TileKept, SHAPE::KEPT_IN_REGISTERS>;
  const KeptRows first(shared.tiles.kept.first, warp % ROW_WARPS * 16);
  const KeptRows second(shared.tiles.kept.second, warp % ROW_WARPS * 16);
  if (SHAPE::KEPT_IN_REGISTERS) __syncthreads(); /* the stages come over the kept rows */

  float first_sum[DT][4], second_sum[DT][4];
#pragma unroll
  for (int i = 0; i < DT * 4; i++) first_sum[i / 4][i % 4] = second_sum[i / 4][i % 4] = 0;

  auto &stages = shared.tiles.stage;
  Transfer<typename SHAPE::TileMoving, Matrix<T>, SHAPE::THREADS> carrier;
  carrier.read(moving_first(first_head), begin, 0);
  carrier.write(stages.first[0], moving_first(first_head), begin, 0);
  carrier.read(moving_second(first_head), begin, 0);
  carrier.write(stages.second[0], moving_second(first_head), begin, 0);
  for (int head = first_head, tile = begin, stage = 0;; stage ^= STAGES - 1) {
    const int next_tile = tile + SHAPE::COLS < end ? tile + SHAPE::COLS : begin;
    const int next_head = next_tile > tile ? head : head + 1;
    const bool more = next_head <= last_head;
    if (EARLY && more) carrier.read(moving_first(next_head), next_tile, 0);
    __syncthreads(); /* this stage is there; nobody reads the other one any more */

    const int col = tile + part * SHAPE::OWN;
    const bool active = rows.see(col, SHAPE::OWN);
    /* lse and delta belong to the queries: to the lane's two rows, or to its two columns of each fragment */
    const auto query_of = [&](int j, int e) {
      return KEYS_KEPT ? col + 8 * j + 2 * t + e % 2 : block + warp % ROW_WARPS * 16 + g + 8 * (e / 2);
    };
    const auto of_query = [&](const float *values, int query) {
      return query < a.M ? values[(int64_t)head * a.M + query] : 0;
    };
    float p[NT][4]; /* dp's factor in dx, once it is in `operand` */
    uint32_t operand[NT / 2][4];
    if (active) {
      multiply_along<T>(p, first, stages.first[stage], part * SHAPE::OWN);
      const bool masked = rows.see_in_part(col, SHAPE::OWN);
      float slope[NT][4];
#pragma unroll
      for (int i = 0; i < NT * 4; i++) {
        const int j = i / 4, e = i % 4;
        const float tanh = to_score.tanh_of(p[j][e]), lse = LOG2_E * of_query(a.lse, query_of(j, e));
        p[j][e] = fast_exp2(to_score.log2_of(p[j][e], tanh) - lse);
        if (masked) {
          const Span own = rows.own[e / 2];
          const int at = col + 8 * j + 2 * t + e % 2;
          if (at < own.from || at >= own.to) p[j][e] = 0;
        }
        slope[j][e] = CAP ? 1 - tanh * tanh : 1;
      }
      if (WANT_SECOND) {
        as_operand<T>(operand, p);
        multiply_across<T>(second_sum, operand, stages.second[stage], part * SHAPE::OWN);
      }
#pragma unroll
      for (int i = 0; i < NT * 4; i++) p[i / 4][i % 4] *= slope[i / 4][i % 4];
    }
    if (STAGES == 2 && more) {
      carrier.write(stages.first[stage ^ 1], moving_first(next_head), next_tile, 0);
      carrier.read(moving_second(next_head), next_tile, 0);
    }
    if (active && WANT_FIRST) {
      float dp[NT][4];
      multiply_along<T>(dp, second, stages.second[stage], part * SHAPE::OWN);
#pragma unroll
      for (int i = 0; i < NT * 4; i++) {
        p[i / 4][i % 4] *= dp[i / 4][i % 4] - of_query(a.delta, query_of(i / 4, i % 4));
      }
      as_operand<T>(operand, p);
      multiply_across<T>(first_sum, operand, stages.first[stage], part * SHAPE::OWN);
    }
    if (!more) break;
    if (STAGES == 2) {
      carrier.write(stages.second[stage ^ 1], moving_second(next_head), next_tile, 0);
    } else {
      __syncthreads(); /* nobody reads the stage any more */
      if (EARLY) {
        carrier.write(stages.first[0], moving_first(next_head), next_tile, 0);
        carrier.read(moving_second(next_head), next_tile, 0);
        carrier.write(stages.second[0], moving_second(next_head), next_tile, 0);
      } else {
        carrier.copy(stages.first[0], moving_first(next_head), next_tile, 0);
        carrier.copy(stages.second[0], moving_second(next_head), next_tile, 0);
      }
    }
    head = next_head, tile = next_tile;
  }

  if (SHAPE::PARTS > 1) {
    if (WANT_FIRST) add_second_part<SHAPE>(shared, first_sum);
    if (WANT_SECOND) add_second_part<SHAPE>(shared, second_sum);
  }
  if (part > 0) return;
  const int out_heads = KEYS_KEPT ? a.KV : a.H, out_head = KEYS_KEPT ? kv_head : first_head;
  const int row = block + warp * 16;
  if (WANT_FIRST) write_rows(a.result(first_out, out_heads, out_head), row, first_sum, a.scale, a.scale);
  if (WANT_SECOND) write_rows(a.result(second_out, out_heads, out_head), row, second_sum, 1, 1);
}

template <class T, class SHAPE, bool CAP>
__device__ __forceinline__ void attention_dq(T *dq, const Attention<T> &a) {
  extern __shared__ __align__(128) unsigned char shared_bytes[];
  attention_sweep<T, SHAPE, CAP, false, true, false>(*(typename SHAPE::Shared *)shared_bytes, dq, (T *)nullptr, a);
}

/* APART: a sweep each for dv and dk, 5 products of a tile instead of 4; registers do not hold the sums of both. */
template <class T, class SHAPE, bool CAP, bool APART>
__device__ __forceinline__ void attention_dkv(T *dk, T *dv, const Attention<T> &a) {
  extern __shared__ __align__(128) unsigned char shared_bytes[];
  auto &shared = *(typename SHAPE::Shared *)shared_bytes;
  if (!APART) return attention_sweep<T, SHAPE, CAP, true, true, true>(shared, dk, dv, a);
  attention_sweep<T, SHAPE, CAP, true, false, true>(shared, dk, dv, a);
  __syncthreads();
  attention_sweep<T, SHAPE, CAP, true, true, false>(shared, dk, dv, a);
}

} // namespace hone
