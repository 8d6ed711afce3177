/* head_avx2.c - the tiles of head_tile.h with 256-bit vectors. */
#if defined(__x86_64__)
#include "vectors_avx2.h"

#define HEAD_PATH hone_head_avx2
#include "head_tile.h"
#endif
