/* attention_d16.cu - the entries of attention.cuh for head dimensions up to 16. */
// tiers: sm_75
// entry: hone_attention_fwd_{T}_d16_cap0 op=attention_fwd block=128 shared=FWD_SHARED consts=BM:64,BN:64,DP:16,CAP:0
// entry: hone_attention_dq_{T}_d16_cap0 op=attention_dq block=128 shared=DQ_SHARED consts=BM:64,BN:64,DP:16,CAP:0
// entry: hone_attention_dkv_{T}_d16_cap0 op=attention_dkv block=128 shared=DKV_SHARED consts=BM:64,BN:64,DP:16,CAP:0
// entry: hone_attention_fwd_{T}_d16_cap1 op=attention_fwd block=128 shared=FWD_SHARED consts=BM:64,BN:64,DP:16,CAP:1
// entry: hone_attention_dq_{T}_d16_cap1 op=attention_dq block=128 shared=DQ_SHARED consts=BM:64,BN:64,DP:16,CAP:1
// entry: hone_attention_dkv_{T}_d16_cap1 op=attention_dkv block=128 shared=DKV_SHARED consts=BM:64,BN:64,DP:16,CAP:1
#include "attention.cuh"

using namespace hone;

using Forward = ForwardShape<16, 64, 64, true>;
using Queries = BackwardShape<16, 64, 64, 1, 2, true>;
using Keys = BackwardShape<16, 64, 64, 1, 2, true>;
constexpr int FWD_SHARED = 4096;
constexpr int DQ_SHARED = 8192;
constexpr int DKV_SHARED = 8192;

HONE_ATTENTION(16, 0, 4, 3, 3, false);
HONE_ATTENTION(16, 1, 4, 3, 3, false);
