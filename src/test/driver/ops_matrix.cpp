// ldmatrix and mma.sync.
//
// Fragments. In a register of 32 words lane l holds row l/4, columns 2(l%4) and 2(l%4)+1 of an 8x8 tile of 16-bit
// values: the 32 words are the tile in row-major order. B's tile lies transposed (its words are columns of B), and an
// f32 accumulator takes two registers, one for the even and one for the odd columns.
// Product. The columns of D are kept as 0 2 4 6 1 3 5 7, so that a row of D is four words of one register and four of
// the next; B is permuted alike. 8 rows of D stay in vector registers over the whole inner dimension.
// Rounding. Products of 16-bit values are exact in f32; sums run over k in order, each step rounded to nearest. The
// hardware sums in another order and truncates: compare with a tolerance.
#include "access.h"
#include "decoder.h"
#include "execute.h"
#include "half.h"
#include "traffic.h"

namespace standin {
namespace {

using Row = float __attribute__((vector_size(32)));
using Words = u32 __attribute__((vector_size(32)));

void need_all(Warp& w, const Instruction& in) {
  if (!w.full()) {
    fault(w, in, std::countr_zero(w.mask), kIllegalInstruction,
          format("divergent: .sync.aligned needs all 32 lanes, 0x%08x are here", w.mask));
  }
}

struct Bf16Pair {
  static constexpr bool pair = true;
  static Row low(Words v) { return std::bit_cast<Row>(v << 16); }
  static Row high(Words v) { return std::bit_cast<Row>(v & 0xffff0000u); }
};
struct F16Pair {
  static constexpr bool pair = true;
#if defined(__F16C__) && defined(__AVX2__)
  static Row widen(Words v) {
    // The low halves of eight words, packed to 128 bits.
    const __m256i packed = _mm256_packus_epi32(std::bit_cast<__m256i>(v), std::bit_cast<__m256i>(v));
    const __m256i ordered = _mm256_permute4x64_epi64(packed, 0x08);
    return std::bit_cast<Row>(_mm256_cvtph_ps(_mm256_castsi256_si128(ordered)));
  }
#else
  static Row widen(Words v) {
    Row r;
    for (int i = 0; i < 8; ++i) r[i] = from_f16(v[i]);
    return r;
  }
#endif
  static Row low(Words v) { return widen(v & 0xffffu); }
  static Row high(Words v) { return widen(v >> 16); }
};
// One value a word; the hardware reads 10 bits of mantissa.
struct Tf32 {
  static constexpr bool pair = false;
  static Row low(Words v) { return std::bit_cast<Row>(v & 0xffffe000u); }
};

Words words_at(const u32* p) {
  Words v;
  std::memcpy(&v, p, 32);
  return v;
}

// The words of a transposed tile as [column pair c][n permuted]: word 4 n + c goes to [c][place of n].
template <int Columns>
void transpose_b(const u32* b, Words (&out)[Columns]) {
  static_assert(Columns == 4);
  const Words r01 = words_at(b), r23 = words_at(b + 8), r45 = words_at(b + 16), r67 = words_at(b + 24);
  // Lanes 0-3 even n, lanes 4-7 odd n, each as (n, n+2, n+4, n+6).
  const Words x0 = __builtin_shufflevector(r01, r23, 0, 8, 1, 9, 4, 12, 5, 13);
  const Words x1 = __builtin_shufflevector(r01, r23, 2, 10, 3, 11, 6, 14, 7, 15);
  const Words y0 = __builtin_shufflevector(r45, r67, 0, 8, 1, 9, 4, 12, 5, 13);
  const Words y1 = __builtin_shufflevector(r45, r67, 2, 10, 3, 11, 6, 14, 7, 15);
  out[0] = __builtin_shufflevector(x0, y0, 0, 1, 8, 9, 4, 5, 12, 13);
  out[1] = __builtin_shufflevector(x0, y0, 2, 3, 10, 11, 6, 7, 14, 15);
  out[2] = __builtin_shufflevector(x1, y1, 0, 1, 8, 9, 4, 5, 12, 13);
  out[3] = __builtin_shufflevector(x1, y1, 2, 3, 10, 11, 6, 7, 14, 15);
}

// m16n8kK with K = 8 or 16 (tf32: 4 or 8). A: K/8 * 2 tiles in the order (rows 0-7, rows 8-15) of k 0-7, then k 8-15.
template <class T, int K>
void multiply(Warp& w, const Instruction& in) {
  need_all(w, in);
  if (w.traffic != nullptr) ++w.traffic->mma;
  constexpr int kPerTile = T::pair ? 8 : 4;
  constexpr int tiles = K / kPerTile;
  alignas(32) float a[16][K];
  Row b[K];
  for (int t = 0; t < tiles; ++t) {
    for (int half = 0; half < 2; ++half) {
      const u32* words = w.lanes<u32>(in.src[2 * t + half]);
      for (int i = 0; i < 4; ++i) {
        // Eight words are two rows of the tile.
        const Words v = words_at(words + 8 * i);
        float* row0 = &a[8 * half + 2 * i][kPerTile * t];
        float* row1 = &a[8 * half + 2 * i + 1][kPerTile * t];
        if constexpr (T::pair) {
          const Row low = T::low(v), high = T::high(v);
          const Row first = __builtin_shufflevector(low, high, 0, 8, 1, 9, 2, 10, 3, 11);
          const Row second = __builtin_shufflevector(low, high, 4, 12, 5, 13, 6, 14, 7, 15);
          std::memcpy(row0, &first, 32);
          std::memcpy(row1, &second, 32);
        } else {
          const Row low = T::low(v);
          std::memcpy(row0, &low, 16);
          std::memcpy(row1, reinterpret_cast<const char*>(&low) + 16, 16);
        }
      }
    }
    Words columns[4];
    transpose_b(w.lanes<u32>(in.src[2 * tiles + t]), columns);
    for (int c = 0; c < 4; ++c) {
      if constexpr (T::pair) {
        b[8 * t + 2 * c] = T::low(columns[c]);
        b[8 * t + 2 * c + 1] = T::high(columns[c]);
      } else {
        b[4 * t + c] = T::low(columns[c]);
      }
    }
  }
  const u32* first_c = &in.src[3 * tiles];
  for (int half = 0; half < 2; ++half) {
    const float* even = w.lanes<float>(first_c[2 * half]);
    const float* odd = w.lanes<float>(first_c[2 * half + 1]);
    Row sum[8];
    for (int r = 0; r < 8; ++r) {
      std::memcpy(&sum[r], even + 4 * r, 16);
      std::memcpy(reinterpret_cast<char*>(&sum[r]) + 16, odd + 4 * r, 16);
    }
    for (int k = 0; k < K; ++k) {
      for (int r = 0; r < 8; ++r) sum[r] += b[k] * a[8 * half + r][k];
    }
    float* d_even = w.lanes<float>(in.dst[2 * half]);
    float* d_odd = w.lanes<float>(in.dst[2 * half + 1]);
    for (int r = 0; r < 8; ++r) {
      std::memcpy(d_even + 4 * r, &sum[r], 16);
      std::memcpy(d_odd + 4 * r, reinterpret_cast<const char*>(&sum[r]) + 16, 16);
    }
  }
}

template <int N, bool Transposed>
void load_matrix(Warp& w, const Instruction& in) {
  need_all(w, in);
  Access access;
  w.mask = N == 4 ? kAllLanes : (1u << 8 * N % 32) - 1;  // the lanes whose addresses count
  resolve<Space::Shared>(w, in, in.src[0], in.detail != 0, in.offset, 16, access);
  w.mask = kAllLanes;
  for (int i = 0; i < N; ++i) {
    alignas(16) u16 tile[64];
    for (int r = 0; r < 8; ++r) std::memcpy(tile + 8 * r, reinterpret_cast<const void*>(access.at[8 * i + r]), 16);
    u16* d = w.lanes<u16>(in.dst[i]);
    if constexpr (!Transposed) {
      std::memcpy(d, tile, 128);
    } else {
      using Eight = u16 __attribute__((vector_size(16)));
      Eight r[8], x[8];
      std::memcpy(r, tile, 128);
      for (int k = 0; k < 4; ++k) {
        x[2 * k] = __builtin_shufflevector(r[k], r[k + 4], 0, 8, 1, 9, 2, 10, 3, 11);
        x[2 * k + 1] = __builtin_shufflevector(r[k], r[k + 4], 4, 12, 5, 13, 6, 14, 7, 15);
      }
      // Three perfect shuffles of eight rows are a transposition.
      for (int k = 0; k < 4; ++k) {
        r[2 * k] = __builtin_shufflevector(x[k], x[k + 4], 0, 8, 1, 9, 2, 10, 3, 11);
        r[2 * k + 1] = __builtin_shufflevector(x[k], x[k + 4], 4, 12, 5, 13, 6, 14, 7, 15);
      }
      for (int k = 0; k < 4; ++k) {
        x[2 * k] = __builtin_shufflevector(r[k], r[k + 4], 0, 8, 1, 9, 2, 10, 3, 11);
        x[2 * k + 1] = __builtin_shufflevector(r[k], r[k + 4], 4, 12, 5, 13, 6, 14, 7, 15);
      }
      std::memcpy(d, x, 128);
    }
  }
}

void ldmatrix(Decoder& d, Opcode& o, const Statement& s) {
  d.require(75, 65, "ldmatrix");
  const bool known = o.has("sync") && o.has("aligned") && o.has("m8n8") && o.type() == Type::B16
                     && (o.has("shared") || o.has("shared::cta"));
  const bool transposed = o.has("trans");
  static constexpr Handler plain[] = {load_matrix<1, false>, load_matrix<2, false>, load_matrix<4, false>};
  static constexpr Handler turned[] = {load_matrix<1, true>, load_matrix<2, true>, load_matrix<4, true>};
  const int count = o.one_of({"x1", "x2", "x4"});
  const Decoder::Address address = d.address(s.operands.at(1));
  if (!known || count < 0) d.fail("this form of ldmatrix is not supported");
  Instruction& in = d.emit(transposed ? turned[count] : plain[count]);
  in.alu = false;
  in.aligned = true;
  in.flow = Flow::Sync;
  in.offset = address.offset;
  in.detail = d.width_of(address.base) == 8;
  d.destination(s.operands[0]);
  if (d.last().destinations != 1 << count) d.fail("ldmatrix has the wrong number of registers");
  d.source(address.base);
}

void mma(Decoder& d, Opcode& o, const Statement& s) {
  const bool known = o.has("sync") && o.has("aligned") && o.has("row") && o.has("col");
  const Type c = o.type(0), b = o.type(1), a = o.type(2), result = o.type(3);
  const int shape = o.one_of({"m16n8k4", "m16n8k8", "m16n8k16"});
  Handler op = nullptr;
  if (a == Type::BF16) op = shape == 1 ? multiply<Bf16Pair, 8> : shape == 2 ? multiply<Bf16Pair, 16> : nullptr;
  if (a == Type::F16) op = shape == 1 ? multiply<F16Pair, 8> : shape == 2 ? multiply<F16Pair, 16> : nullptr;
  if (a == Type::TF32) op = shape == 0 ? multiply<Tf32, 4> : shape == 1 ? multiply<Tf32, 8> : nullptr;
  if (!known || op == nullptr || a != b || c != Type::F32 || result != Type::F32) {
    d.fail("this shape or type of mma is not supported");
  }
  d.require(a == Type::F16 && shape == 1 ? 75 : 80, a == Type::F16 && shape == 1 ? 65 : 70, "mma with this shape");
  Instruction& in = d.emit(op);
  in.alu = false;
  in.aligned = true;
  in.flow = Flow::Sync;
  d.destination(s.operands.at(0));
  for (size_t i = 1; i < 4; ++i) d.source(s.operands.at(i), 4);
  const int k = a == Type::TF32 ? (shape == 0 ? 1 : 2) : shape;
  if (d.last().destinations != 4 || d.last().sources != 3 * k + 4) d.fail("mma has the wrong number of registers");
}

}  // namespace

void register_matrix(Registry& registry) {
  registry["ldmatrix"] = ldmatrix;
  registry["mma"] = mma;
}

}  // namespace standin
