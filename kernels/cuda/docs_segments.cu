/*
 * The document of each token, for the attention kernels: packed documents lie end to end and see only themselves.
 *
 * Forward.   seg0[m] = docs[j],  seg1[m] = docs[j+1]  with docs[j] <= m < docs[j+1]
 * Backward.  None.
 * Shapes.    seg0, seg1 (M) i32, overwritten   docs (ndocs+1) i32, rising from 0 to M; empty documents are allowed.
 * Memory.    8 bytes a token; a binary search of docs, which stays in cache.
 * Mirrors.   src/main/c/attention.c (check_documents) - check_rows.py
 */
// tiers: sm_75 sm_80
// entry: hone_docs_segments_i32 op=docs_segments dtype=i32 block=256 consts=PER_BLOCK:256
#include "hone.cuh"

HONE_KERNEL hone_docs_segments_i32(int32_t *__restrict__ seg0, int32_t *__restrict__ seg1,
                                   const int32_t *__restrict__ docs, int ndocs, int M) {
  const int64_t m = static_cast<int64_t>(blockIdx.x) * THREADS + threadIdx.x;
  if (m >= M) return;
  int low = 1, high = ndocs; /* the first j >= 1 with docs[j] > m */
  while (low < high) {
    const int middle = low + (high - low) / 2;
    if (docs[middle] > m) {
      high = middle;
    } else {
      low = middle + 1;
    }
  }
  seg0[m] = docs[low - 1];
  seg1[m] = docs[low];
}
