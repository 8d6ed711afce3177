/*
 * The rows of linear + cross-entropy that have a label, as a dense block: a row whose label is ignored costs nothing.
 *
 * Forward.   labelled_gather    block[i] = h[rows[i]],  labels[i] = targets[rows[i]]
 * Backward.  labelled_scatter   dh[rows[i]] = block[i];  the other rows of dh are 0 beforehand
 * Shapes.    h, dh (M,C) T   targets (M) i32   rows (N) i32, rising, 0 .. M-1   block (N,C) T and labels (N) i32,
 *            overwritten by the gather. A row outside 0 .. M-1 gets the label -1, with which the loss is NaN, and is
 *            not scattered: never an access outside h, and never unnoticed.
 * Memory.    reads and writes N*C once: 4 bytes an element. Nothing saved.
 * Rounding.  None: elements are copied.
 * Mirrors.   src/main/c/cross_entropy.c (the gather and scatter of its chunks) - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_labelled_gather_{T} op=labelled_gather block=256 consts=ROWS:1
// entry: hone_labelled_scatter_{T} op=labelled_scatter block=256 consts=ROWS:1
#include "hone.cuh"

/* One row of C elements by a block. */
__device__ __forceinline__ void copy_row(T *__restrict__ out, const T *__restrict__ in, int C) {
  if (C % PACK == 0 && aligned(out, in)) {
    for (int c = threadIdx.x * PACK; c < C; c += THREADS * PACK) {
      *reinterpret_cast<Vector<T> *>(out + c) = *reinterpret_cast<const Vector<T> *>(in + c);
    }
  } else {
    for (int c = threadIdx.x; c < C; c += THREADS) out[c] = in[c];
  }
}

HONE_KERNEL HONE_ENTRY(labelled_gather)(T *__restrict__ block, int32_t *__restrict__ labels, const T *__restrict__ h,
                                        const int32_t *__restrict__ targets, const int32_t *__restrict__ rows, int N,
                                        int M, int C) {
  const int64_t i = blockIdx.x;
  if (i >= N) return;
  const int32_t row = rows[i];
  const bool known = row >= 0 && row < M;
  if (threadIdx.x == 0) labels[i] = known ? targets[row] : -1;
  copy_row(block + i * C, h + (known ? row : 0) * static_cast<int64_t>(C), C);
}

HONE_KERNEL HONE_ENTRY(labelled_scatter)(T *__restrict__ dh, const T *__restrict__ block,
                                         const int32_t *__restrict__ rows, int N, int M, int C) {
  const int64_t i = blockIdx.x;
  if (i >= N) return;
  const int32_t row = rows[i];
  if (row >= 0 && row < M) copy_row(dh + row * static_cast<int64_t>(C), block + i * C, C);
}
