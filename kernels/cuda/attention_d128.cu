/* attention_d128.cu - the entries of attention.cuh for head dimensions up to 128. */
// tiers: sm_75
// entry: hone_attention_fwd_{T}_d128_cap0 op=attention_fwd block=256 shared=FWD_SHARED consts=BM:128,BN:64,DP:128,CAP:0
// entry: hone_attention_dq_{T}_d128_cap0 op=attention_dq block=128 shared=DQ_SHARED consts=BM:64,BN:32,DP:128,CAP:0
// entry: hone_attention_dkv_{T}_d128_cap0 op=attention_dkv block=256 shared=DKV_SHARED consts=BM:32,BN:64,DP:128,CAP:0
// entry: hone_attention_fwd_{T}_d128_cap1 op=attention_fwd block=256 shared=FWD_SHARED consts=BM:128,BN:64,DP:128,CAP:1
// entry: hone_attention_dq_{T}_d128_cap1 op=attention_dq block=128 shared=DQ_SHARED consts=BM:64,BN:32,DP:128,CAP:1
// entry: hone_attention_dkv_{T}_d128_cap1 op=attention_dkv block=256 shared=DKV_SHARED consts=BM:32,BN:64,DP:128,CAP:1
#include "attention.cuh"

using namespace hone;

using Forward = ForwardShape<128, 128, 64, true>;
using Queries = BackwardShape<128, 64, 32, 1, 2, true>;
using Keys = BackwardShape<128, 64, 32, 2, 1, false>;
constexpr int FWD_SHARED = 32768;
constexpr int DQ_SHARED = 32768;
constexpr int DKV_SHARED = 49152;

HONE_ATTENTION(128, 0, 1, 2, 1, false);
HONE_ATTENTION(128, 1, 1, 2, 1, false);
