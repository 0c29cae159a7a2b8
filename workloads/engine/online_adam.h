// Adam, AdamW and AdamO: one dense pass over weights and moments, and the pull towards an isometry as matrix products.

namespace {

// Adam on `n` numbers: g is their gradient (null where it is zero), first and second reciprocal bias corrections.
inline void adam(int n, Real* __restrict weight, Real* __restrict mean, Real* __restrict square,
                 const Real* __restrict g, const Real* __restrict first, const Real* __restrict second,
                 Real row_first, Real row_second, const Member& m) {
    const Real step_size = Real(m.step_size), decay = Real(m.decay), rate = Real(m.step_size * m.weight_decay);
    constexpr Real B1 = BETA1, C1 = 1 - BETA1, B2 = BETA2, C2 = 1 - BETA2, E = EPS;
    const auto each = [&](auto gradient) {
#pragma GCC ivdep
        for (int i = 0; i < n; ++i) {
            const Real g = gradient(i) + decay * weight[i];
            const Real a = B1 * mean[i] + C1 * g, b = B2 * square[i] + C2 * g * g;
            const Real by_first = first[i] > row_first ? first[i] : row_first;
            const Real by_second = second[i] > row_second ? second[i] : row_second;
            mean[i] = a;
            square[i] = b;
            weight[i] -= rate * weight[i] + step_size * (a * by_first / (std::sqrt(b * by_second) + E));
        }
    };
    if (g)
        each([g](int i) { return g[i]; });
    else
        each([](int) { return Real(0); });
}

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
void product(Real* out, int64_t out_stride, const Real* a, int64_t across, int64_t along, const Real* b,
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

// work.pulled = gradient of the isometry penalty of the layer's weights A = W^T: 4 (A A^T - I) A or 4 A (A^T A - I).
void isometry(const Step& s, int l) {
    const int in = rows_of(l), out = units_of(l), wide = columns_of(l);
    Work& w = s.work;
    const Real* a = s.m.weights[l];
    if (out >= in) {
        const int tall = padded(in);
        for (int i = 0; i < out; ++i) {
            for (int j = 0; j < in; ++j) w.transposed[int64_t(i) * tall + j] = a[int64_t(j) * wide + i];
            for (int j = in; j < tall; ++j) w.transposed[int64_t(i) * tall + j] = 0;
        }
        product(w.gram, tall, a, wide, 1, w.transposed, tall, in, out, tall, true);
        for (int j = 0; j < in; ++j) w.gram[int64_t(j) * tall + j] -= 1;
        product(w.pulled, wide, w.gram, tall, 1, a, wide, in, in, wide, false);
    } else {
        product(w.gram, wide, a, 1, wide, a, wide, out, in, wide, true);
        for (int i = 0; i < out; ++i) w.gram[int64_t(i) * wide + i] -= 1;
        product(w.pulled, wide, a, wide, 1, w.gram, wide, in, out, wide, false);
    }
}

template <int C>
void adapt(const Step& s, int l) {
    Work& w = s.work;
    Member& m = s.m;
    const int rows = rows_of(l), count = w.count[l];
    const auto reciprocal = [&](Real steps, Real& first, Real& second) {
        first = 1 / corrected(s.shared.first_table, s.shared.first_entries, BETA1, steps);
        second = 1 / corrected(s.shared.second_table, s.shared.second_entries, BETA2, steps);
    };
    const auto advance = [&](Real* steps) {
        for (int i = 0; i < C; ++i) {
            steps[i] += 1;
            reciprocal(steps[i], w.first_column[i], w.second_column[i]);
        }
    };
    const bool head = l == DEPTH;
    const Real pull = ISOMETRY && s.now % EVERY == 0 && (PULLS_HEAD || !head)
                          ? Real(m.pull * 4 * PENALTY / (BY_GRAM ? std::fmin(rows, units_of(l)) : 1))
                          : Real(0);
    if (ISOMETRY && pull != 0 && !SEQUENTIAL) isometry(s, l);
    advance(m.column_steps[l]);
    int q = 0;
    for (int j = 0; j < rows; ++j) {
        Real row_first = 0, row_second = 0;
        if constexpr (UNITS) {
            m.row_steps[l][j] += 1;
            reciprocal(m.row_steps[l][j], row_first, row_second);
        }
        Real* weight = m.weights[l] + int64_t(j) * C;
        const Real* gradient = nullptr;
        alignas(64) Real summed[C];
        if (q < count && w.index[l][q] == j) {
            const Real* x = w.value[l] + q * BATCH;
            for (int v = 0; v < C / LANES; ++v) {
                Vec g = x[0] * vectors(w.error[l + 1])[v];
                for (int b = 1; b < BATCH; ++b) g += x[b] * vectors(w.error[l + 1] + b * C)[v];
                vectors(summed)[v] = g;
            }
            gradient = summed;
            if (l > 0)
                for (int b = 0; b < BATCH; ++b) {
                    Vec dot[2] = {};
                    for (int v = 0; v < C / LANES; ++v)
                        dot[v & 1] += vectors(weight)[v] * vectors(w.error[l + 1] + b * C)[v];
                    w.error[l][b * WIDE + j] = sum(dot[0] + dot[1]);
                }
            ++q;
        }
        const int64_t at = int64_t(j) * C;
        adam(C, weight, m.first[l] + at, m.second[l] + at, gradient, w.first_column, w.second_column, row_first,
             row_second, m);
    }
    if (ISOMETRY && pull != 0) {
        if (SEQUENTIAL) isometry(s, l);
        for (int64_t i = 0; i < int64_t(rows) * C; ++i) m.weights[l][i] -= pull * w.pulled[i];
    }
    if constexpr (BIASES) {
        advance(m.bias_steps[l]);
        alignas(64) Real summed[C];
        for (int v = 0; v < C / LANES; ++v) vectors(summed)[v] = bias_gradient<C>(w.error[l + 1], v);
        adam(C, m.biases[l], m.bias_first[l], m.bias_second[l], summed, w.first_column, w.second_column, 0, 0, m);
    }
}

}  // namespace
