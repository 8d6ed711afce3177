/* attention_d96.cu - the entries of attention.cuh for head dimensions up to 96. */
// tiers: sm_75
// entry: hone_attention_fwd_{T}_d96_cap0 op=attention_fwd block=256 shared=FWD_SHARED consts=BM:128,BN:64,DP:96,CAP:0
// entry: hone_attention_dq_{T}_d96_cap0 op=attention_dq block=128 shared=DQ_SHARED consts=BM:64,BN:32,DP:96,CAP:0
// entry: hone_attention_dkv_{T}_d96_cap0 op=attention_dkv block=128 shared=DKV_SHARED consts=BM:32,BN:64,DP:96,CAP:0
// entry: hone_attention_fwd_{T}_d96_cap1 op=attention_fwd block=256 shared=FWD_SHARED consts=BM:128,BN:64,DP:96,CAP:1
// entry: hone_attention_dq_{T}_d96_cap1 op=attention_dq block=128 shared=DQ_SHARED consts=BM:64,BN:32,DP:96,CAP:1
// entry: hone_attention_dkv_{T}_d96_cap1 op=attention_dkv block=128 shared=DKV_SHARED consts=BM:32,BN:64,DP:96,CAP:1
#include "attention.cuh"

using namespace hone;

using Forward = ForwardShape<96, 128, 64, true>;
using Queries = BackwardShape<96, 64, 32, 1, 2, true>;
using Keys = BackwardShape<96, 64, 32, 1, 2, true>;
constexpr int FWD_SHARED = 24576;
constexpr int DQ_SHARED = 24576;
constexpr int DKV_SHARED = 24576;

HONE_ATTENTION(96, 0, 1, 2, 2, false);
HONE_ATTENTION(96, 1, 1, 2, 2, false);
