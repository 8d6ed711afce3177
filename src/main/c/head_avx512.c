/* head_avx512.c - the tiles of head_tile.h with 512-bit vectors. */
#if defined(__x86_64__)
#include "vectors_avx512.h"

#define HEAD_PATH hone_head_avx512
#include "head_tile.h"
#endif
