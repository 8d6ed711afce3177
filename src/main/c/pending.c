/* pending.c - ops not landed yet; goes away with the last of them. */
#include "internal.h"
#pragma GCC diagnostic ignored "-Wunused-parameter"
__attribute__((weak)) int32_t hone_embedding_forward(const hone_tensor *out, const hone_tensor *ids, const hone_tensor *table, float scale) { return hone_fail(HONE_UNSUPPORTED, "hone_embedding_forward: pending"); }
__attribute__((weak)) int32_t hone_embedding_backward(const hone_tensor *dtable, const hone_tensor *ids, const hone_tensor *dout, float scale) { return hone_fail(HONE_UNSUPPORTED, "hone_embedding_backward: pending"); }
__attribute__((weak)) int32_t hone_rmsnorm_forward(const hone_tensor *y, const hone_tensor *rstd, const hone_tensor *x, const hone_tensor *w, float eps, float weight_offset) { return hone_fail(HONE_UNSUPPORTED, "hone_rmsnorm_forward: pending"); }
__attribute__((weak)) int32_t hone_rmsnorm_backward(const hone_tensor *dx, const hone_tensor *dw, const hone_tensor *dy, const hone_tensor *x, const hone_tensor *w, const hone_tensor *rstd, float weight_offset, int32_t accumulate) { return hone_fail(HONE_UNSUPPORTED, "hone_rmsnorm_backward: pending"); }
__attribute__((weak)) int32_t hone_rope_forward(const hone_tensor *x, const hone_tensor *cos, const hone_tensor *sin, const hone_tensor *positions) { return hone_fail(HONE_UNSUPPORTED, "hone_rope_forward: pending"); }
__attribute__((weak)) int32_t hone_rope_backward(const hone_tensor *dx, const hone_tensor *cos, const hone_tensor *sin, const hone_tensor *positions) { return hone_fail(HONE_UNSUPPORTED, "hone_rope_backward: pending"); }
__attribute__((weak)) int32_t hone_attention_forward(const hone_tensor *o, const hone_tensor *lse, const hone_tensor *q, const hone_tensor *k, const hone_tensor *v, const hone_tensor *docs, float scale, int32_t window, float softcap) { return hone_fail(HONE_UNSUPPORTED, "hone_attention_forward: pending"); }
__attribute__((weak)) int32_t hone_attention_backward(const hone_tensor *dq, const hone_tensor *dk, const hone_tensor *dv, const hone_tensor *delta, const hone_tensor *dout, const hone_tensor *o, const hone_tensor *lse, const hone_tensor *q, const hone_tensor *k, const hone_tensor *v, const hone_tensor *docs, float scale, int32_t window, float softcap) { return hone_fail(HONE_UNSUPPORTED, "hone_attention_backward: pending"); }
__attribute__((weak)) int32_t hone_attention_decode(const hone_tensor *o, const hone_tensor *q, const hone_tensor *k_cache, const hone_tensor *v_cache, int64_t start, float scale, int32_t window, float softcap) { return hone_fail(HONE_UNSUPPORTED, "hone_attention_decode: pending"); }
__attribute__((weak)) int32_t hone_gated_forward(const hone_tensor *y, const hone_tensor *gate, const hone_tensor *up, int32_t activation) { return hone_fail(HONE_UNSUPPORTED, "hone_gated_forward: pending"); }
__attribute__((weak)) int32_t hone_gated_backward(const hone_tensor *dgate, const hone_tensor *dup, const hone_tensor *dy, const hone_tensor *gate, const hone_tensor *up, int32_t activation) { return hone_fail(HONE_UNSUPPORTED, "hone_gated_backward: pending"); }
__attribute__((weak)) int32_t hone_residual_forward(const hone_tensor *y, const hone_tensor *x, const hone_tensor *r, float multiplier) { return hone_fail(HONE_UNSUPPORTED, "hone_residual_forward: pending"); }
__attribute__((weak)) int32_t hone_residual_backward(const hone_tensor *dr, const hone_tensor *dy, float multiplier) { return hone_fail(HONE_UNSUPPORTED, "hone_residual_backward: pending"); }
__attribute__((weak)) int64_t hone_cross_entropy_scratch_bytes(int64_t tokens, int64_t hidden, int64_t vocab, int32_t dtype) { return hone_fail(HONE_UNSUPPORTED, "hone_cross_entropy_scratch_bytes: pending"); }
__attribute__((weak)) int32_t hone_cross_entropy(const hone_tensor *loss, const hone_tensor *dh, const hone_tensor *du, const hone_tensor *scratch, const hone_tensor *h, const hone_tensor *u, const hone_tensor *targets, float inv_count, float logit_scale, float softcap, float label_smoothing) { return hone_fail(HONE_UNSUPPORTED, "hone_cross_entropy: pending"); }
__attribute__((weak)) int32_t hone_softcap_forward(const hone_tensor *z, float logit_scale, float softcap) { return hone_fail(HONE_UNSUPPORTED, "hone_softcap_forward: pending"); }
__attribute__((weak)) int32_t hone_sum_squares(const hone_tensor *out, const hone_tensor *x) { return hone_fail(HONE_UNSUPPORTED, "hone_sum_squares: pending"); }
__attribute__((weak)) int32_t hone_adamw_step(const hone_tensor *p, const hone_tensor *m, const hone_tensor *v, const hone_tensor *grad, float lr, float beta1, float beta2, float eps, float weight_decay, float grad_scale, int64_t step) { return hone_fail(HONE_UNSUPPORTED, "hone_adamw_step: pending"); }
__attribute__((weak)) int32_t hone_nf4_quantize(const hone_tensor *codes, const hone_tensor *absmax, const hone_tensor *w, int32_t block) { return hone_fail(HONE_UNSUPPORTED, "hone_nf4_quantize: pending"); }
__attribute__((weak)) int32_t hone_nf4_quantize_absmax(const hone_tensor *quantised, const hone_tensor *nested_absmax, const hone_tensor *offset, const hone_tensor *absmax) { return hone_fail(HONE_UNSUPPORTED, "hone_nf4_quantize_absmax: pending"); }

#include <stdlib.h>
/* temporary plain products */
static float *whole(const hone_tensor *t){ int64_t n=hone_elements(t); float*b=malloc(n*4+64); hone_load(b,t,0,n); return b; }
static void put(const hone_tensor *t, float *b, int32_t acc){ hone_store(t,0,b,hone_elements(t),acc); free(b);}
static void mm(float*c,const float*a,const float*b,int64_t M,int64_t N,int64_t K,int64_t as0,int64_t as1,int64_t bs0,int64_t bs1){
#pragma omp parallel for
 for(int64_t i=0;i<M;i++) for(int64_t j=0;j<N;j++){ float s=0; for(int64_t k=0;k<K;k++) s+=a[i*as0+k*as1]*b[j*bs0+k*bs1]; c[i*N+j]=s; } }
__attribute__((weak)) int32_t hone_linear_forward(const hone_tensor *y, const hone_tensor *x, const hone_tensor *w, const hone_tensor *bias){
 int64_t M=x->shape[0],K=x->shape[1],N=w->shape[0]; float*a=whole(x),*b=whole(w),*c=malloc(M*N*4+64); mm(c,a,b,M,N,K,K,1,K,1);
 if(bias){float*bb=whole(bias); for(int64_t i=0;i<M*N;i++) c[i]+=bb[i%N]; free(bb);} free(a);free(b); put(y,c,0); return 0;}
__attribute__((weak)) int32_t hone_linear_backward_input(const hone_tensor *dx, const hone_tensor *dy, const hone_tensor *w, int32_t acc){
 int64_t M=dy->shape[0],N=dy->shape[1],K=w->shape[1]; float*a=whole(dy),*b=whole(w),*c=malloc(M*K*4+64); mm(c,a,b,M,K,N,N,1,1,K); free(a);free(b); put(dx,c,acc); return 0;}
__attribute__((weak)) int32_t hone_linear_backward_weight(const hone_tensor *dw, const hone_tensor *dbias, const hone_tensor *dy, const hone_tensor *x){
 int64_t M=dy->shape[0],N=dy->shape[1],K=x->shape[1]; float*a=whole(dy),*b=whole(x),*c=malloc(N*K*4+64); mm(c,a,b,N,K,M,1,N,1,K);
 if(dbias) for(int64_t m=0;m<M;m++) for(int64_t n=0;n<N;n++) ((float*)dbias->data)[n]+=a[m*N+n];
 free(a);free(b); put(dw,c,1); return 0;}
__attribute__((weak)) int32_t hone_lora_forward(const hone_tensor *y, const hone_tensor *u, const hone_tensor *x, const hone_tensor *a, const hone_tensor *b, float scale, float dropout, uint64_t seed){
 int64_t M=x->shape[0],N=b->shape[0],R=b->shape[1]; hone_linear_forward(u,x,a,0); float*uu=whole(u),*bb=whole(b),*c=malloc(M*N*4+64); mm(c,uu,bb,M,N,R,R,1,R,1); for(int64_t i=0;i<M*N;i++) c[i]*=scale; free(uu);free(bb); put(y,c,1); return 0;}
__attribute__((weak)) int32_t hone_lora_backward(const hone_tensor *dx, const hone_tensor *da, const hone_tensor *db, const hone_tensor *e, const hone_tensor *dy, const hone_tensor *x, const hone_tensor *u, const hone_tensor *a, const hone_tensor *b, float scale, float dropout, uint64_t seed){
 int64_t M=x->shape[0],N=b->shape[0],R=b->shape[1]; float*d=whole(dy),*bb=whole(b),*c=malloc(M*R*4+64); mm(c,d,bb,M,R,N,N,1,1,R); for(int64_t i=0;i<M*R;i++) c[i]*=scale; put(e,c,0);
 float*uu=whole(u); c=malloc(N*R*4+64); mm(c,d,uu,N,R,M,1,N,1,R); for(int64_t i=0;i<N*R;i++) c[i]*=scale; put(db,c,1); free(uu);free(bb);free(d);
 hone_linear_backward_weight(da,0,e,x); if(dx) hone_linear_backward_input(dx,e,a,1); return 0;}
__attribute__((weak)) int32_t hone_nf4_tables(const hone_tensor *a, const hone_tensor *b) { return hone_fail(HONE_UNSUPPORTED, "pending"); }
