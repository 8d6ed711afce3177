/* dynamic.cuh - the 8-bit dynamic maps of bitsandbytes: 256 rising values, and the nearest one. */
#ifndef HONE_DYNAMIC_CUH
#define HONE_DYNAMIC_CUH

#include "hone.cuh"

/* In shared memory: all THREADS threads of the block call copy(), then wait for each other before they look anything up. */
struct DynamicMap {
  float value[256], boundary[256]; /* boundary[i] halfway between value[i] and value[i+1] */

  __device__ __forceinline__ void copy(const float *map) {
    static_assert(THREADS == 256, "a thread for each value");
    const int i = threadIdx.x;
    value[i] = map[i];
    boundary[i] = i < 255 ? (map[i] + map[i + 1]) / 2.0f : map[i];
  }

  /* How many of the 255 boundaries lie below x: the code of the nearest value. */
  __device__ __forceinline__ int nearest(float x) const {
    int code = 0;
#pragma unroll
    for (int step = 128; step > 0; step /= 2) code += boundary[code + step - 1] < x ? step : 0;
    return code;
  }
};

#endif
