/* attention_d64.cu - the entries of attention.cuh for head dimensions up to 64. */
// tiers: sm_75
// entry: hone_attention_fwd_{T}_d64_cap0 op=attention_fwd block=128 shared=FWD_SHARED consts=BM:64,BN:64,DP:64,CAP:0
// entry: hone_attention_dq_{T}_d64_cap0 op=attention_dq block=128 shared=DQ_SHARED consts=BM:64,BN:32,DP:64,CAP:0
// entry: hone_attention_dkv_{T}_d64_cap0 op=attention_dkv block=128 shared=DKV_SHARED consts=BM:16,BN:64,DP:64,CAP:0
// entry: hone_attention_fwd_{T}_d64_cap1 op=attention_fwd block=128 shared=FWD_SHARED consts=BM:64,BN:64,DP:64,CAP:1
// entry: hone_attention_dq_{T}_d64_cap1 op=attention_dq block=128 shared=DQ_SHARED consts=BM:64,BN:32,DP:64,CAP:1
// entry: hone_attention_dkv_{T}_d64_cap1 op=attention_dkv block=128 shared=DKV_SHARED consts=BM:16,BN:64,DP:64,CAP:1
#include "attention.cuh"

using namespace hone;

using Forward = ForwardShape<64, 64, 64, true>;
using Queries = BackwardShape<64, 64, 32, 1, 2, true>;
using Keys = BackwardShape<64, 64, 16, 1, 2, true>;
constexpr int FWD_SHARED = 16384;
constexpr int DQ_SHARED = 16384;
constexpr int DKV_SHARED = 16384;

HONE_ATTENTION(64, 0, 3, 3, 3, false);
HONE_ATTENTION(64, 1, 3, 3, 3, false);
