/* attention_d256.cu - the entries of attention.cuh for head dimensions up to 256. */
// tiers: sm_75
// entry: hone_attention_fwd_{T}_d256_cap0 op=attention_fwd block=128 shared=FWD_SHARED consts=BM:64,BN:16,DP:256,CAP:0
// entry: hone_attention_dq_{T}_d256_cap0 op=attention_dq block=128 shared=DQ_SHARED consts=BM:32,BN:32,DP:256,CAP:0
// entry: hone_attention_dkv_{T}_d256_cap0 op=attention_dkv block=128 shared=DKV_SHARED consts=BM:32,BN:32,DP:256,CAP:0
// entry: hone_attention_fwd_{T}_d256_cap1 op=attention_fwd block=128 shared=FWD_SHARED consts=BM:64,BN:16,DP:256,CAP:1
// entry: hone_attention_dq_{T}_d256_cap1 op=attention_dq block=128 shared=DQ_SHARED consts=BM:32,BN:32,DP:256,CAP:1
// entry: hone_attention_dkv_{T}_d256_cap1 op=attention_dkv block=128 shared=DKV_SHARED consts=BM:32,BN:32,DP:256,CAP:1
#include "attention.cuh"

using namespace hone;

using Forward = ForwardShape<256, 64, 16, false>;
using Queries = BackwardShape<256, 32, 32, 2, 1, false>;
using Keys = BackwardShape<256, 32, 32, 2, 1, false>;
constexpr int FWD_SHARED = 49152;
constexpr int DQ_SHARED = 65536;
constexpr int DKV_SHARED = 65536;

HONE_ATTENTION(256, 0, 1, 1, 1, true);
HONE_ATTENTION(256, 1, 1, 1, 1, true);
