// Philox4x32-10 (Salmon et al. 2011), word for word that of workloads/random.py: one counter at a time, and eight.
//
// Element i of a draw of `count` words is word i / blocks of counter block i % blocks, with blocks = ceil(count / 4).

#include <cstdint>

#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace philox {

constexpr uint64_t ROUND_A = 0xD2511F53, ROUND_B = 0xCD9E8D57;  // multipliers
constexpr uint32_t WEYL_A = 0x9E3779B9, WEYL_B = 0xBB67AE85;    // key increments
constexpr int ROUNDS = 10;

struct Key {
    uint32_t seed, what;
};

struct Words {
    uint32_t word[4];
};

inline Words block(uint32_t index, uint64_t step, uint32_t last, Key key) {
    uint32_t c0 = index, c1 = uint32_t(step), c2 = uint32_t(step >> 32), c3 = last;
    for (int round = 0; round < ROUNDS; ++round) {
        const uint64_t a = c0 * ROUND_A, b = c2 * ROUND_B;
        c0 = uint32_t(b >> 32) ^ c1 ^ key.seed;
        c1 = uint32_t(b);
        c2 = uint32_t(a >> 32) ^ c3 ^ key.what;
        c3 = uint32_t(a);
        key.seed += WEYL_A;
        key.what += WEYL_B;
    }
    return {{c0, c1, c2, c3}};
}

// Element `index` of the `count` words of a step, where block 0 is counter `offset` * blocks.
inline uint32_t word(int64_t index, int64_t count, uint64_t step, Key key, int64_t offset = 0) {
    const int64_t blocks = (count + 3) / 4;
    return block(uint32_t(index % blocks + offset * blocks), step, 0, key).word[index / blocks];
}

// Uniform in [0, 1): a multiple of 2^-24, exact in float and double.
inline double uniform(int64_t index, int64_t count, uint64_t step, Key key, int64_t offset = 0) {
    return double(word(index, count, step, key, offset) >> 8) * 0x1p-24;
}

typedef uint64_t Eight __attribute__((vector_size(64), may_alias));
typedef uint32_t EightWords __attribute__((vector_size(32), may_alias));

inline Eight product(Eight a, Eight b) {  // of the low halves
#if defined(__AVX512F__)
    return (Eight)_mm512_mul_epu32((__m512i)a, (__m512i)b);
#else
    return (a & 0xFFFFFFFF) * (b & 0xFFFFFFFF);
#endif
}

// The four words of counters index, index + 1, ..., index + 7, each in the low half of its lane (the rest is noise).
// Fewer rounds are for draws that need no bits of random.py's; seven are the fewest that pass BigCrush.
template <int COUNT = ROUNDS>
inline void blocks(uint32_t index, uint64_t step, uint32_t last, Key key, Eight out[4]) {
    Eight c0 = Eight{0, 1, 2, 3, 4, 5, 6, 7} + index, c1 = Eight{} + uint32_t(step);
    Eight c2 = Eight{} + uint32_t(step >> 32), c3 = Eight{} + last;
    const Eight by_a = Eight{} + ROUND_A, by_b = Eight{} + ROUND_B;
#pragma GCC unroll 10
    for (int round = 0; round < COUNT; ++round) {
        const Eight a = product(c0, by_a), b = product(c2, by_b);
        c0 = (b >> 32) ^ c1 ^ (Eight{} + key.seed);
        c1 = b;
        c2 = (a >> 32) ^ c3 ^ (Eight{} + key.what);
        c3 = a;
        key.seed += WEYL_A;
        key.what += WEYL_B;
    }
    out[0] = c0, out[1] = c1, out[2] = c2, out[3] = c3;
}

// All words of a step in order, for a draw of `count`. `out` has room for `count` + 3.
inline void words(uint32_t* out, int64_t count, uint64_t step, Key key) {
    const int64_t needed = (count + 3) / 4;
    for (int64_t first = 0; first < needed; first += 8) {
        Eight drawn[4];
        blocks(uint32_t(first), step, 0, key, drawn);
        for (int w = 0; w < 4; ++w) {
            const EightWords narrow = __builtin_convertvector(drawn[w], EightWords);
            uint32_t* to = out + w * needed + first;
            if (needed - first >= 8)
                __builtin_memcpy(to, &narrow, 32);
            else
                __builtin_memcpy(to, &narrow, 4 * (needed - first));
        }
    }
}

}  // namespace philox
