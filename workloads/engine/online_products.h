// Products of whole matrices, and what they are for: how far a weight matrix is from an isometry.

namespace {

template <int NR, int NV>
inline void product_tile(Real* out, int64_t out_stride, const Real* a, int64_t across, int64_t along, const Real* b,
                         int64_t b_stride, int inner) {
    Vec part[NR][NV] = {};
    for (int q = 0; q < inner; ++q) {
        const Vec* row = vectors(b + q * b_stride);
        for (int r = 0; r < NR; ++r) {
            const Real x = a[r * across + q * along];
            for (int v = 0; v < NV; ++v) part[r][v] += x * row[v];
        }
    }
    for (int r = 0; r < NR; ++r)
        for (int v = 0; v < NV; ++v) vectors(out + r * out_stride)[v] = part[r][v];
}

// out (NR, vectors first to last) = a b.
template <int NR>
inline void product_row(Real* out, int64_t out_stride, const Real* a, int64_t across, int64_t along, const Real* b,
                        int64_t b_stride, int inner, int first, int last) {
    const auto tile = [&](auto wide) {
        constexpr int NV = decltype(wide)::value;
        const int from = first * LANES;
        product_tile<NR, NV>(out + from, out_stride, a, across, along, b + from, b_stride, inner);
        first += NV;
    };
    while (first < last) {
        const int left = last - first, tiles = (left + 5) / 6;  // of about equal width
        switch ((left + tiles - 1) / tiles) {
            case 6: tile(std::integral_constant<int, 6>()); break;
            case 5: tile(std::integral_constant<int, 5>()); break;
            case 4: tile(std::integral_constant<int, 4>()); break;
            case 3: tile(std::integral_constant<int, 3>()); break;
            case 2: tile(std::integral_constant<int, 2>()); break;
            default: tile(std::integral_constant<int, 1>());
        }
    }
}

// out (rows, padded columns) = a b, with a[r][q] at a[r across + q along] and b (inner, padded columns). Where the
// result is known to be symmetric, what lies below its diagonal is copied.
inline void product(Real* out, int64_t out_stride, const Real* a, int64_t across, int64_t along, const Real* b,
                    int64_t b_stride, int rows, int inner, int columns, bool symmetric) {
    int r = 0;
    for (; r + 4 <= rows; r += 4)
        product_row<4>(out + r * out_stride, out_stride, a + r * across, across, along, b, b_stride, inner,
                       symmetric ? r / LANES : 0, columns / LANES);
    for (; r < rows; ++r)
        product_row<1>(out + r * out_stride, out_stride, a + r * across, across, along, b, b_stride, inner,
                       symmetric ? r / LANES : 0, columns / LANES);
    if (symmetric)
        for (int i = 0; i < rows; ++i)
            for (int j = 0; j < i / LANES * LANES; ++j) out[i * out_stride + j] = out[j * out_stride + i];
}

// gram = A Aᵀ or Aᵀ A, whichever is the smaller, of A (in, padded out), with as many columns as fill whole vectors.
inline void gram_of(const Real* a, int in, int out, Real* turned, Real* gram) {
    const int wide = padded(out), tall = padded(in);
    if (out < in) return product(gram, wide, a, 1, wide, a, wide, out, in, wide, true);
    for (int i = 0; i < out; ++i) {
        for (int j = 0; j < in; ++j) turned[int64_t(i) * tall + j] = a[int64_t(j) * wide + i];
        for (int j = in; j < tall; ++j) turned[int64_t(i) * tall + j] = 0;
    }
    product(gram, tall, a, wide, 1, turned, tall, in, out, tall, true);
}

// to (in, padded out) = gram A or A gram.
inline void times_gram(const Real* a, int in, int out, const Real* gram, Real* to) {
    const int wide = padded(out);
    if (out < in) return product(to, wide, a, wide, 1, gram, wide, in, out, wide, false);
    product(to, wide, gram, padded(in), 1, a, wide, in, in, wide, false);
}

// pulled (in, padded out) = (A Aᵀ - t I) A or A (Aᵀ A - t I), on the shorter side, of A (in, padded out): the transpose
// of what W = Aᵀ is pulled by towards an isometry times the root of t, but for a factor of 4. `gram` and `turned` are
// room for the Gram matrix and for Aᵀ.
inline void pull(const Real* a, int in, int out, Real t, Real* gram, Real* turned, Real* pulled) {
    const int side = in < out ? in : out, pitch = padded(side);
    gram_of(a, in, out, turned, gram);
    for (int j = 0; j < side; ++j) gram[int64_t(j) * pitch + j] -= t;
    times_gram(a, in, out, gram, pulled);
}

// A after `steps` steps of Newton and Schulz towards an isometry, times the root of t (see methods/isometry.py).
inline void project(Real* a, int in, int out, Real t, int steps, Real* gram, Real* turned, Real* product) {
    const int side = in < out ? in : out, pitch = padded(side);
    const int64_t size = int64_t(in) * padded(out);
    for (; steps; --steps) {
        gram_of(a, in, out, turned, gram);
        Real most = 0;
        for (int i = 0; i < side; ++i) {
            Real sum = 0;
            for (int j = 0; j < side; ++j) sum += std::fabs(gram[int64_t(i) * pitch + j] /= t);
            most = sum > most || sum != sum ? sum : most;
        }
        const Real beta = 1 / most > Real(0.5) ? Real(0.5) : 1 / most;
        times_gram(a, in, out, gram, product);
        for (int64_t i = 0; i < size; ++i) a[i] += beta * (a[i] - product[i]);
    }
}

}  // namespace
