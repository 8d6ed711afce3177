/*
 * product.cuh - one block's tile of C = A B: operands from global memory through registers into two shared stages.
 *
 *   global --(16 bytes a lane, a stage ahead)--> registers --> shared stage 0 | 1 --(ldmatrix)--> mma --> sums
 *
 * Turing has no asynchronous copies: while a stage is multiplied, the next one travels in registers. A source yields
 * chunks of 8 elements and zeros beyond its edges, so any M, N and depth work; rows that are not 16-byte aligned are
 * read one element at a time, decided once for a block.
 *
 *                 BN                              warps of a block, WM = 2, WN = 2
 *        +------------------+                     +---------+---------+
 *   BK   |   B, or B^T      |                     |  w 0    |  w 1    |  BM / WM rows, a multiple of 16
 *        +------------------+                     +---------+---------+
 *   BK   +------------------+                     |  w 2    |  w 3    |  BN / WN columns, a multiple of 32
 *  +--+  |                  |                     +---------+---------+
 *  |A |  |   sums           | BM                  WK > 1: that many such sets share the depth, k16 step by step in turn
 *  +--+  +------------------+
 */
#pragma once

#include "mma.cuh"

namespace hone {

__device__ __forceinline__ bool is_aligned(const void *pointer) { return ((uint64_t)pointer & 15) == 0; }

/* ---- sources: read() fetches, finish() gives the 8 elements once they have arrived ------------------------------ */

/* A row-major matrix of T; zero outside. */
template <class T>
struct Matrix {
  using Raw = uint4;
  const T *data;
  int64_t ld;
  int rows, cols;
  bool wide; /* every chunk is aligned and whole */

  __device__ Matrix(const T *data, int64_t ld, int rows, int cols)
      : data(data), ld(ld), rows(rows), cols(cols), wide(is_aligned(data) && ld % CHUNK == 0 && cols % CHUNK == 0) {}

  /* the part that begins at row and column; `col` is a multiple of CHUNK */
  __device__ Matrix from(int row, int col) const { return Matrix(data + row * ld + col, ld, rows - row, cols - col); }

  template <bool WIDE>
  __device__ __forceinline__ uint4 read(int row, int col) const {
    if (row >= rows || col >= cols) return make_uint4(0, 0, 0, 0);
    const T *p = data + row * ld + col;
    if (WIDE) return *(const uint4 *)p;
    uint32_t pair[4] = {0, 0, 0, 0};
#pragma unroll
    for (int i = 0; i < CHUNK; i++) {
      if (i < cols - col) pair[i / 2] |= (uint32_t)((const uint16_t *)p)[i] << i % 2 * 16;
    }
    return make_uint4(pair[0], pair[1], pair[2], pair[3]);
  }

  __device__ __forceinline__ uint4 finish(const uint4 &raw, int, int) const { return raw; }
  /* neighbouring threads take neighbouring chunks of a row */
  __device__ __forceinline__ bool down() const { return false; }
};

/* An f32 matrix of rows x cols, in memory so or transposed, rounded to T on the way. */
template <class T>
struct Factor {
  struct Raw {
    float value[CHUNK];
  };
  const float *data;
  int64_t ld;
  int rows, cols;
  bool transposed, wide;

  __device__ Factor(const float *data, int64_t ld, int rows, int cols, bool transposed)
      : data(data), ld(ld), rows(rows), cols(cols), transposed(transposed),
        wide(!transposed && is_aligned(data) && ld % 4 == 0 && cols % CHUNK == 0) {}

  __device__ Factor from(int row) const {
    return Factor(data + (transposed ? row : row * ld), ld, rows - row, cols, transposed);
  }
  /* the part that begins at column `col`, a multiple of CHUNK */
  __device__ Factor from_column(int col) const {
    return Factor(data + (transposed ? col * ld : col), ld, rows, cols - col, transposed);
  }

  template <bool WIDE>
  __device__ __forceinline__ Raw read(int row, int col) const {
    Raw raw = {{0, 0, 0, 0, 0, 0, 0, 0}};
    if (row >= rows || col >= cols) return raw;
    if (WIDE) {
      const float4 *p = (const float4 *)(data + row * ld + col);
      const float4 low = p[0], high = p[1];
      return {{low.x, low.y, low.z, low.w, high.x, high.y, high.z, high.w}};
    }
    const int64_t step = transposed ? ld : 1;
    const float *p = data + (transposed ? col * ld + row : row * ld + col);
#pragma unroll
    for (int i = 0; i < CHUNK; i++) {
      if (i < cols - col) raw.value[i] = p[i * step];
    }
    return raw;
  }

  __device__ __forceinline__ uint4 finish(const Raw &raw, int, int) const {
    const float *v = raw.value;
    return make_uint4(pack<T>(v[0], v[1]), pack<T>(v[2], v[3]), pack<T>(v[4], v[5]), pack<T>(v[6], v[7]));
  }

  /* neighbouring threads take neighbouring addresses: chunks down a column when that is a row in memory */
  __device__ __forceinline__ bool down() const { return transposed; }
};

/* ---- a tile on its way through registers ------------------------------------------------------------------------ */

/*
 * TILE     the shared tile it ends in
 * SOURCE   where it comes from
 * THREADS  of the block, all of which take part
 */
template <class TILE, class SOURCE, int THREADS>
struct Transfer {
  static constexpr int CHUNKS = TILE::ROWS * TILE::CHUNKS, COUNT = (CHUNKS + THREADS - 1) / THREADS;
  typename SOURCE::Raw raw[COUNT];

  /* rows row .. and columns col .. of the source */
  __device__ __forceinline__ void read(const SOURCE &source, int row, int col) {
    /* Hides that `row` advances by a constant: else the compiler carries a 64-bit pointer a chunk through the loop. */
    asm volatile("" : "+r"(row));
    if (source.wide) {
#pragma unroll
      for (int i = 0; i < COUNT; i++) raw[i] = read_chunk<true>(source, i, row, col);
    } else {
      /* a loop, so that the seldom path takes neither the registers nor the room of the frequent one */
#pragma unroll 1
      for (int i = 0; i < COUNT; i++) {
        const typename SOURCE::Raw chunk = read_chunk<false>(source, i, row, col);
#pragma unroll
        for (int j = 0; j < COUNT; j++) {
          if (j == i) raw[j] = chunk;
        }
      }
    }
  }

  __device__ __forceinline__ void write(TILE &tile, const SOURCE &source, int row, int col) const {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      int r, c;
      if (place(source, i, r, c)) tile.at(r, c) = source.finish(raw[i], row + r, col + c * CHUNK);
    }
  }

  /* Both in one, where registers do not hold the tile while other things are done. */
  __device__ __forceinline__ void copy(TILE &tile, const SOURCE &source, int row, int col) {
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
      raw[i] = source.wide ? read_chunk<true>(source, i, row, col) : read_chunk<false>(source, i, row, col);
    }
    write(tile, source, row, col);
  }

 private:
  template <bool WIDE>
  __device__ __forceinline__ typename SOURCE::Raw read_chunk(const SOURCE &source, int i, int row, int col) const {
    int r, c;
    if (!place(source, i, r, c)) return {};
    return source.template read<WIDE>(row + r, col + c * CHUNK);
  }

  /* where this thread's chunk i lies in the tile; false when the tile has no such chunk */
  __device__ __forceinline__ static bool place(const SOURCE &source, int i, int &row, int &chunk) {
    const int thread = threadIdx.x, at = thread + i * THREADS;
    if (source.down()) {
      row = at % TILE::ROWS, chunk = at / TILE::ROWS;
    } else if (THREADS % TILE::CHUNKS == 0) { /* one column of chunks: addresses differ by constants */
      row = thread / TILE::CHUNKS + i * (THREADS / TILE::CHUNKS), chunk = thread % TILE::CHUNKS;
    } else {
      row = at / TILE::CHUNKS, chunk = at % TILE::CHUNKS;
    }
    return CHUNKS % THREADS == 0 || at < CHUNKS;
  }
};

/* ---- the product ------------------------------------------------------------------------------------------------ */

/*
 * T         element type of the multiplication
 * BM, BN    rows and columns of the block's result
 * BK        depth of a stage
 * WM, WN    warps along rows and columns
 * WK        sets of warps along the depth; beyond 1 add_parts() makes the sums whole
 * A_ACROSS  A's tile is stored depth by rows
 * B_ACROSS  B's tile is stored depth by columns, else columns by depth
 */
template <class T, int BM, int BN, int BK, int WM, int WN, int WK = 1, bool A_ACROSS = false, bool B_ACROSS = false>
struct Product {
  static constexpr int THREADS = WM * WN * WK * WARP, ROWS = BM / WM, COLS = BN / WN;
  static constexpr int MT = ROWS / 16, NT = COLS / 8;
  static_assert(ROWS % 16 == 0 && COLS % 16 == 0 && BK % (16 * WK) == 0, "warps take whole fragments");
  using TileA = Tile<A_ACROSS ? BK : BM, A_ACROSS ? BM : BK>;
  using TileB = Tile<B_ACROSS ? BK : BN, B_ACROSS ? BN : BK>;
  union Shared {
    struct {
      TileA a[2];
      TileB b[2];
    };
    float parts[WK][WK > 1 ? MT * NT * 4 : 1][WM * WN * WARP]; /* of each set of warps, when their sums meet */
  };

  float sum[MT][NT][4];
  int first_row, first_col, part; /* of this warp: inside the tile, and in 0 .. WK-1 */

  __device__ __forceinline__ Product() {
    int warp = threadIdx.x / WARP;
    first_row = warp / WN % WM * ROWS, first_col = warp % WN * COLS, part = warp / (WN * WM);
#pragma unroll
    for (int i = 0; i < MT * NT * 4; i++) sum[i / 4 / NT][i / 4 % NT][i % 4] = 0;
  }

  /* sum = A B over k = 0 .. depth-1; a and b begin at the tile. Warps beyond the last of `rows` only carry data. */
  template <class A, class B>
  __device__ __forceinline__ void run(Shared &shared, const A &a, const B &b, int depth, int rows) {
    Transfer<TileA, A, THREADS> to_a;
    Transfer<TileB, B, THREADS> to_b;
    for (int next = 0, stage = 1;; next += BK, stage ^= 1) { /* the first round only fetches */
      if (next < depth) {
        to_a.read(a, A_ACROSS ? next : 0, A_ACROSS ? 0 : next);
        to_b.read(b, B_ACROSS ? next : 0, B_ACROSS ? 0 : next);
      }
      if (next > 0 && first_row < rows) multiply(shared.a[stage], shared.b[stage]);
      if (next >= depth) break;
      to_a.write(shared.a[stage ^ 1], a, A_ACROSS ? next : 0, A_ACROSS ? 0 : next);
      to_b.write(shared.b[stage ^ 1], b, B_ACROSS ? next : 0, B_ACROSS ? 0 : next);
      __syncthreads();
    }
  }

  /* The same for a depth of a few stages, which are not worth the registers of fetching ahead; every warp is done behind it. */
  template <class A, class B>
  __device__ __forceinline__ void run_short(Shared &shared, const A &a, const B &b, int depth, int rows) {
    Transfer<TileA, A, THREADS> to_a;
    Transfer<TileB, B, THREADS> to_b;
#pragma unroll 1
    for (int next = 0; next < depth; next += BK) {
      to_a.copy(shared.a[0], a, A_ACROSS ? next : 0, A_ACROSS ? 0 : next);
      to_b.copy(shared.b[0], b, B_ACROSS ? next : 0, B_ACROSS ? 0 : next);
      __syncthreads();
      if (first_row < rows) multiply(shared.a[0], shared.b[0]);
      __syncthreads();
    }
  }

  /* WK > 1: every set's sums become the whole ones, added in the order of the sets. */
  __device__ __forceinline__ void add_parts(Shared &shared) {
    const int thread = threadIdx.x % (WM * WN * WARP);
    __syncthreads(); /* the stages are still read */
#pragma unroll
    for (int i = 0; i < MT * NT * 4; i++) shared.parts[part][i][thread] = sum[i / 4 / NT][i / 4 % NT][i % 4];
    __syncthreads();
#pragma unroll
    for (int i = 0; i < MT * NT * 4; i++) {
      float whole = 0;
      for (int set = 0; set < WK; set++) whole += shared.parts[set][i][thread];
      sum[i / 4 / NT][i / 4 % NT][i % 4] = whole;
    }
  }

 private:
  __device__ __forceinline__ void multiply(const TileA &a, const TileB &b) {
    const BlocksOfA<TileA, A_ACROSS> rows(a, A_ACROSS ? 0 : first_row);
    const BlocksOfB<TileB, B_ACROSS> cols(b, B_ACROSS ? 0 : first_col);
#pragma unroll
    for (int step = 0; step < BK; step += 16 * WK) {
      int k = step + 16 * part;
      uint32_t left[MT][4];
#pragma unroll
      for (int i = 0; i < MT; i++) {
        if (A_ACROSS) rows.read(left[i], k, first_row + 16 * i);
        else rows.read(left[i], 16 * i, k);
      }
#pragma unroll
      for (int j = 0; j < NT; j += 2) {
        uint32_t right[4];
        if (B_ACROSS) cols.read(right, k, first_col + 8 * j);
        else cols.read(right, 8 * j, k);
#pragma unroll
        for (int i = 0; i < MT; i++) mma_pair<T>(sum[i][j], sum[i][j + 1], left[i], right);
      }
    }
  }
};

/* ---- results ---------------------------------------------------------------------------------------------------- */

/* A row-major matrix of T that is written. */
template <class T>
struct Result {
  T *data;
  int64_t ld;
  int rows, cols;
  bool wide;

  __device__ Result(T *data, int64_t ld, int rows, int cols)
      : data(data), ld(ld), rows(rows), cols(cols), wide(is_aligned(data) && ld % CHUNK == 0 && cols % CHUNK == 0) {}

  /*
   * The lane's columns 2t, 2t+1 of four fragments: row `row`, columns col + 8 j + 2 t + e = value[2 j + e], or +=
   * that. Every lane of the warp calls it; the sum with the old value is made in f32 and rounded once.
   */
  __device__ __forceinline__ void write(int row, int col, const float (&value)[8], bool accumulate) const {
    const int t = threadIdx.x & 3;
    float v[8];
#pragma unroll
    for (int i = 0; i < 8; i++) v[i] = value[i];
    if (wide) {
      const bool inside = row < rows && col + CHUNK * t < cols;
      uint4 *p = (uint4 *)(data + row * ld + col + CHUNK * t);
      uint32_t r[4];
      if (accumulate) {
        uint4 old = inside ? *p : make_uint4(0, 0, 0, 0);
        r[0] = old.x, r[1] = old.y, r[2] = old.z, r[3] = old.w;
        exchange(r);
#pragma unroll
        for (int i = 0; i < 8; i++) v[i] += widen<T>(r[i / 2] >> i % 2 * 16 & 0xffff);
      }
#pragma unroll
      for (int j = 0; j < 4; j++) r[j] = pack<T>(v[2 * j], v[2 * j + 1]);
      exchange(r);
      if (inside) *p = make_uint4(r[0], r[1], r[2], r[3]);
    } else if (row < rows) {
      uint16_t *p = (uint16_t *)(data + row * ld);
#pragma unroll
      for (int i = 0; i < 8; i++) {
        int at = col + CHUNK * (i / 2) + 2 * t + i % 2;
        if (at >= cols) continue;
        if (accumulate) v[i] += widen<T>(p[at]);
        p[at] = (uint16_t)pack<T>(v[i], 0);
      }
    }
  }
};

/*
 * Which tile block `block` of a one-dimensional grid makes. Tiles go down GROUP rows of tiles before the next column,
 * so that the blocks in flight share the operands that are in the second-level cache.
 */
struct TilePlace {
  static constexpr int GROUP = 8;
  int row, col;

  __device__ TilePlace(int block, int rows, int cols, int BM, int BN) {
    int down = (rows + BM - 1) / BM, across = (cols + BN - 1) / BN;
    int group = block / (GROUP * across), first = group * GROUP, inside = block - group * GROUP * across;
    int height = min(GROUP, down - first);
    row = (first + inside % height) * BM, col = inside / height * BN;
  }
};

} // namespace hone
