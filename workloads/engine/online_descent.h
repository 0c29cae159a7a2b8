// Rows that a step moves along the error alone, row <- row - gain error, as descent does: product and update in one pass.
//
// What a row still owes of a decay is a factor of it: `times` is the factor by which its stored weights are to be
// multiplied before the step, `after` its absolute value after it; `gain` is that of the stored weights. Where wanted,
// sums of |w| are kept: of columns by what changes, `change`, of rows anew, `rows`. `back` is [B][NEXT].

namespace {

// NR rows at once, so that the error is read once for all: back = row . error, row <- row - gain error, and what that
// makes of the sums of |w|.
template <int C, int NR, bool BACK, bool COUNT_IN, bool COUNT_OUT>
inline void learn_rows(Real* weights, const int* index, const Real* gain, const Real* after, const Real* times,
                       const Vec* error, Real* back, Vec* changed, double* rows) {
    constexpr int V = C / LANES, CHAINS = V > SHORT ? 4 / NR : 1;
    Vec* w[NR];
    Vec scale[NR], gains[NR], dot[NR][CHAINS] = {}, across[NR][CHAINS] = {};
    for (int r = 0; r < NR; ++r) {
        w[r] = vectors(weights + int64_t(index[r]) * C);
        scale[r] = held(Vec{} + after[r]);
        gains[r] = held(Vec{} + gain[r]);
    }
    const auto one = [&](int v, int u) {
        const Vec e = held(error[v]);
        for (int r = 0; r < NR; ++r) {
            const Vec old = held(w[r][v]), now = old - gains[r] * e;
            if (BACK) dot[r][u] += old * e;
            if (COUNT_IN) changed[v] += scale[r] * (magnitude(now) - magnitude(old));
            if (COUNT_OUT) across[r][u] += magnitude(now);
            w[r][v] = now;
        }
    };
    if constexpr (V <= IN_REGISTERS) {
#pragma GCC unroll 14
        for (int v = 0; v < V; ++v) one(v, v % CHAINS);
    } else {
        int v = 0;
        for (; v + CHAINS <= V; v += CHAINS)
            for (int u = 0; u < CHAINS; ++u) one(v + u, u);
        for (; v < V; ++v) one(v, 0);
    }
    for (int r = 0; r < NR; ++r) {
        for (int u = 1; u < CHAINS; ++u) dot[r][0] += dot[r][u], across[r][0] += across[r][u];
        if (BACK) back[index[r]] = times[r] * sum(dot[r][0]);
        if (COUNT_OUT) rows[index[r]] = after[r] * sum(across[r][0]);
    }
}

// The rows that were read, at batch 1: product and update in one pass. Last to first, since the last are still near.
template <int C, bool BACK, bool COUNT_IN, bool COUNT_OUT>
inline void learn(Real* weights, int count, const int* index, const Real* gain, const Real* after, const Real* times,
                  const Real* error, Real* back, Real* change, double* rows) {
    constexpr int V = C / LANES, TOGETHER = COUNT_IN || COUNT_OUT ? 2 : 4;
    constexpr bool IN_PLACE = V > IN_REGISTERS;
    Vec own[IN_PLACE ? 1 : V] = {};
    Vec* changed = IN_PLACE ? vectors(change) : own;
    if (COUNT_IN && IN_PLACE) std::memset(change, 0, C * sizeof(Real));
    const auto learn_from = [&](int q, auto rows_at_once) {
        learn_rows<C, decltype(rows_at_once)::value, BACK, COUNT_IN, COUNT_OUT>(
            weights, index + q, gain + q, after + q, times + q, vectors(error), back, changed, rows);
    };
    int q = count;
    for (; q >= TOGETHER; q -= TOGETHER) learn_from(q - TOGETHER, std::integral_constant<int, TOGETHER>());
    for (; q > 0; --q) learn_from(q - 1, std::integral_constant<int, 1>());
    if (COUNT_IN && !IN_PLACE) std::memcpy(change, own, C * sizeof(Real));
}

// back = row . error for NR rows and NB examples.
template <int C, int NEXT, int NR, int NB>
inline void back_tile(const Real* weights, const int* index, const Real* times, const Real* error, Real* back) {
    constexpr int V = C / LANES;
    Vec dot[NR][NB] = {};
    for (int v = 0; v < V; ++v)
        for (int r = 0; r < NR; ++r) {
            const Vec w = vectors(weights + int64_t(index[r]) * C)[v];
            for (int b = 0; b < NB; ++b) dot[r][b] += w * vectors(error)[b * V + v];
        }
    for (int r = 0; r < NR; ++r)
        for (int b = 0; b < NB; ++b) back[b * NEXT + index[r]] = times[r] * sum(dot[r][b]);
}

// `learn` for NR rows and a batch: first the products, then the update.
template <int C, int NEXT, int NR, bool BACK, bool COUNT_IN, bool COUNT_OUT>
inline void learn_tile(Real* weights, const int* index, const Real* gain, const Real* after, const Real* times,
                       const Real* error, Real* back, Real* change, double* rows) {
    constexpr int V = C / LANES, LAST = BATCH % 4;
    if constexpr (BACK) {
        int b = 0;
        for (; b + 4 <= BATCH; b += 4)
            back_tile<C, NEXT, NR, 4>(weights, index, times, error + b * C, back + b * NEXT);
        if constexpr (LAST > 0) back_tile<C, NEXT, NR, LAST>(weights, index, times, error + b * C, back + b * NEXT);
    }
    Vec across[NR] = {};
    for (int v = 0; v < V; ++v) {
        Vec old[NR], now[NR];
        for (int r = 0; r < NR; ++r) now[r] = old[r] = vectors(weights + int64_t(index[r]) * C)[v];
        for (int b = 0; b < BATCH; ++b) {
            const Vec e = vectors(error)[b * V + v];
            for (int r = 0; r < NR; ++r) now[r] -= gain[r * BATCH + b] * e;
        }
        for (int r = 0; r < NR; ++r) {
            if (COUNT_IN) vectors(change)[v] += after[r] * (magnitude(now[r]) - magnitude(old[r]));
            if (COUNT_OUT) across[r] += magnitude(now[r]);
            vectors(weights + int64_t(index[r]) * C)[v] = now[r];
        }
    }
    if (COUNT_OUT)
        for (int r = 0; r < NR; ++r) rows[index[r]] = after[r] * sum(across[r]);
}

template <int C, int NEXT, bool BACK, bool COUNT_IN, bool COUNT_OUT>
inline void learn_batch(Real* weights, int count, const int* index, const Real* gain, const Real* after,
                        const Real* times, const Real* error, Real* back, Real* change, double* rows) {
    if (COUNT_IN) std::memset(change, 0, C * sizeof(Real));
    int q = 0;
    for (; q + 4 <= count; q += 4)
        learn_tile<C, NEXT, 4, BACK, COUNT_IN, COUNT_OUT>(weights, index + q, gain + q * BATCH, after + q, times + q,
                                                          error, back, change, rows);
    for (; q < count; ++q)
        learn_tile<C, NEXT, 1, BACK, COUNT_IN, COUNT_OUT>(weights, index + q, gain + q * BATCH, after + q, times + q,
                                                          error, back, change, rows);
}

// The sums of |w| taken anew, of weights that are times(row) those stored; where null, this layer's are not wanted.
template <int C, bool COUNT_IN, bool COUNT_OUT, typename Times>
inline void add_magnitudes(const Real* weights, int count, Times times, double* columns, double* rows) {
    constexpr int V = C / LANES;
    if (COUNT_IN && columns) std::memset(columns, 0, C * sizeof(double));
    for (int first = 0; first < count; first += 16) {  // few enough to be added in the weights' own precision
        Vec sums[V] = {};
        for (int j = first; j < count && j < first + 16; ++j) {
            const Vec* w = vectors(weights + int64_t(j) * C);
            const Real by = Real(std::fabs(times(j)));
            Vec across[2] = {};
            for (int v = 0; v < V; ++v) {
                const Vec size = by * magnitude(w[v]);
                if (COUNT_IN) sums[v] += size;
                if (COUNT_OUT) across[v & 1] += size;
            }
            if (COUNT_OUT && rows) rows[j] = sum(across[0] + across[1]);
        }
        if (COUNT_IN && columns)
            for (int i = 0; i < C; ++i) columns[i] += ((const Real*)sums)[i];
    }
}

}  // namespace
