// Rows of weights as vectors: which rows a step reads, and their product with its input. What every online kernel has.
//
// Weights lie [in][padded out]. Rows are padded to whole vectors; errors are zero in the padding, so nothing there is
// ever seen. Sums are written out over a fixed number of vectors: without -ffast-math the compiler must not reorder
// them, and so is slow.

#include <cmath>
#include <cstdint>
#include <cstring>
#include <type_traits>

namespace {

constexpr int LANES = 64 / sizeof(Real);
constexpr bool FLOAT = sizeof(Real) == 4;
constexpr int SHORT = 2;         // vectors in a row up to which several rows are summed side by side
constexpr int IN_REGISTERS = 14; // vectors in a row up to which a sum over rows stays in registers

constexpr int padded(int n) { return (n + 15) / 16 * 16; }
constexpr int larger(int a, int b) { return a > b ? a : b; }

typedef Real Vec __attribute__((vector_size(64), may_alias));
typedef Real Half __attribute__((vector_size(32), may_alias));
typedef std::conditional<FLOAT, int32_t, int64_t>::type Int;
typedef Int Ints __attribute__((vector_size(64), may_alias));

inline Vec* vectors(Real* p) { return (Vec*)p; }
inline const Vec* vectors(const Real* p) { return (const Vec*)p; }

// The same, in a register: gcc otherwise reads memory anew for every use, and reads are what a pass has too many of.
inline Vec held(Vec v) {
#if defined(__AVX512F__)
    asm("" : "+v"(v));
#endif
    return v;
}

inline Vec magnitude(Vec v) {
    const Ints all = Ints{} + Int(FLOAT ? 0x7FFFFFFF : 0x7FFFFFFFFFFFFFFF);
    return (Vec)((Ints)v & all);
}

inline Real sum(Vec v) {
    union {
        Vec whole;
        Half half[2];
        Real lane[LANES];
    } u, w;
    u.whole = v;
    w.half[0] = u.half[0] + u.half[1];
    for (int width = LANES / 4; width; width /= 2)
        for (int i = 0; i < width; ++i) w.lane[i] += w.lane[i + width];
    return w.lane[0];
}

// The rows to read: those with an input that is not zero (NaN is not) in any example, or all of them.
inline int active(const Real* input, int stride, int rows, bool all, int* index, Real* value) {
    int count = 0;
#if defined(__AVX512F__)
    if constexpr (BATCH == 1 && FLOAT) {
        __m512i place = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
        for (int j = 0; j < rows; j += LANES) {
            const __mmask16 there = rows - j >= LANES ? 0xFFFF : (1 << (rows - j)) - 1;
            const __m512 x = _mm512_maskz_loadu_ps(there, input + j);
            const __mmask16 live = all ? there : _mm512_mask_cmp_ps_mask(there, x, _mm512_setzero_ps(), _CMP_NEQ_UQ);
            _mm512_storeu_ps(value + count, _mm512_maskz_compress_ps(live, x));
            _mm512_storeu_si512(index + count, _mm512_maskz_compress_epi32(live, place));
            place = _mm512_add_epi32(place, _mm512_set1_epi32(LANES));
            count += __builtin_popcount(live);
        }
        return count;
    }
#endif
    for (int j = 0; j < rows; ++j) {
        bool live = all;
        for (int b = 0; b < BATCH; ++b) {
            const Real x = input[int64_t(b) * stride + j];
            value[count * BATCH + b] = x;
            live |= x != Real(0);
        }
        index[count] = j;
        count += live;
    }
    return count;
}

template <int C, int NB, int NV>
inline void gather_tile(const Real* weights, int count, const int* index, const Real* value, Real* out) {
    Vec part[NB][NV];
    for (int b = 0; b < NB; ++b)
        for (int v = 0; v < NV; ++v) part[b][v] = vectors(out + b * C)[v];
    for (int q = 0; q < count; ++q) {
        const Vec* w = vectors(weights + int64_t(index[q]) * C);
        for (int v = 0; v < NV; ++v)
            for (int b = 0; b < NB; ++b) part[b][v] += value[q * BATCH + b] * w[v];
    }
    for (int b = 0; b < NB; ++b)
        for (int v = 0; v < NV; ++v) vectors(out + b * C)[v] = part[b][v];
}

// out[b] += sum over rows q of value[q][b] x weights[index[q]].
template <int C>
inline void gather(const Real* weights, int count, const int* index, const Real* value, Real* out) {
    constexpr int V = C / LANES;
    const auto row = [&](int q) { return vectors(weights + int64_t(index[q]) * C); };
    if constexpr (BATCH > 1) {
        constexpr int LAST_B = BATCH % 4, LAST_V = V % 4;
        for (int v = 0; v < V; v += 4)  // a strip of the weights stays in cache for all examples
            for (int b = 0; b < BATCH; b += 4) {
                const Real* w = weights + v * LANES;
                Real* o = out + b * C + v * LANES;
                if (b + 4 <= BATCH && v + 4 <= V)
                    gather_tile<C, 4, 4>(w, count, index, value + b, o);
                else if (b + 4 <= BATCH)
                    gather_tile<C, 4, LAST_V ? LAST_V : 1>(w, count, index, value + b, o);
                else if (v + 4 <= V)
                    gather_tile<C, LAST_B ? LAST_B : 1, 4>(w, count, index, value + b, o);
                else
                    gather_tile<C, LAST_B ? LAST_B : 1, LAST_V ? LAST_V : 1>(w, count, index, value + b, o);
            }
    } else if constexpr (V <= SHORT) {
        Vec part[4][V] = {};
        int q = 0;
        for (; q + 4 <= count; q += 4)
            for (int r = 0; r < 4; ++r)
                for (int v = 0; v < V; ++v) part[r][v] += value[q + r] * row(q + r)[v];
        for (; q < count; ++q)
            for (int v = 0; v < V; ++v) part[0][v] += value[q] * row(q)[v];
        for (int v = 0; v < V; ++v) vectors(out)[v] += (part[0][v] + part[1][v]) + (part[2][v] + part[3][v]);
    } else if constexpr (V <= IN_REGISTERS) {
        gather_tile<C, 1, V>(weights, count, index, value, out);
    } else {
        constexpr int TOGETHER = 8;  // rows, for each of which the output is not read and written anew
        int q = 0;
        for (; q + TOGETHER <= count; q += TOGETHER) {
            const Vec* w[TOGETHER];
            Real x[TOGETHER];
            for (int r = 0; r < TOGETHER; ++r) w[r] = row(q + r), x[r] = value[q + r];
            for (int v = 0; v < V; ++v) {
                Vec even = x[0] * w[0][v], odd = x[1] * w[1][v];
                for (int r = 2; r < TOGETHER; r += 2) {
                    even += x[r] * w[r][v];
                    odd += x[r + 1] * w[r + 1][v];
                }
                vectors(out)[v] += even + odd;
            }
        }
        for (; q < count; ++q)
            for (int v = 0; v < V; ++v) vectors(out)[v] += value[q] * row(q)[v];
    }
}

// The inputs of one step from pictures: byte i of example b's picture is input places[i], of the value that `shades` has
// for it. Eight dark bytes cost one look.
template <int BATCH, int INPUTS>
inline void lay_out(Real* x, const uint8_t* images, const int32_t* shown, const int32_t* places, const Real* shades) {
    constexpr int WHOLE = INPUTS / 8 * 8;
    for (int i = 0; i < BATCH * INPUTS; ++i) x[i] = shades[0];
    for (int b = 0; b < BATCH; ++b) {
        const uint8_t* image = images + int64_t(shown[b]) * INPUTS;
        const auto show = [&](int i) { x[b * INPUTS + places[i]] = shades[image[i]]; };
        for (int i = 0; i < WHOLE; i += 8) {
            uint64_t eight;
            std::memcpy(&eight, image + i, 8);
            if (eight)
                for (int k = 0; k < 8; ++k) show(i + k);
        }
        for (int i = WHOLE; i < INPUTS; ++i) show(i);
    }
}

// Asks for a picture ahead of its step: where the next one lies nobody could guess.
template <int INPUTS> inline void fetch(const uint8_t* image) {
    for (int line = 0; line < INPUTS; line += 64) __builtin_prefetch(image + line);
}

}  // namespace
