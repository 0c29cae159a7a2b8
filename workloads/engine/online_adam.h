// Adam, AdamW and AdamO: a pass over weights and moments, rows that sleep through it, and the pull towards an isometry
// as matrix products.
//
// A row whose gradient is zero for n steps goes on moving: its moments decay, m <- B1 m and v <- B2 v, and its weights
// lose the sum over i = 1 ... n of
//
//     step size x (m B1^i / c1) / (sqrt(v B2^i / c2) + E),    c1, c2 the bias corrections of that step.
//
// Nobody reads them meanwhile, so it is paid when the row is next read. For a few steps the root hardly changes: with
// h_i = sqrt(B2^i / c2), r_i = 1 - h_i / h_1 small, D = sqrt(v) h_1 + E and y = 1 - E / D, the denominator is
// D (1 - y r_i), and the sum is m / D times a polynomial in y whose coefficients, sums over i of (B1^i / c1) r_i^k, are
// the same for all numbers. One root and one division pay for all the steps of a piece; what is cut off is below the
// rounding of the numbers' type. While c2 still changes fast, in the first steps of all, no row sleeps.

namespace {

// Adam on `n` numbers: g is their gradient (null where it is zero), first and second reciprocal bias corrections, which
// are those of the row where no unit is ever replaced: all weights of a layer are then equally old.
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
            const Real by_first = UNITS && first[i] > row_first ? first[i] : row_first;
            const Real by_second = UNITS && second[i] > row_second ? second[i] : row_second;
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

// ---- rows that sleep ----

// `steps` steps without gradient of a layer that had taken `before`.
inline Piece piece(const Step& s, Real before, int steps) {
    const Shared& shared = s.shared;
    const double shrink = 1 - s.m.step_size * s.m.weight_decay;
    double moved[PIECE + 1], less[PIECE + 1], sums[TERMS] = {}, mean = 1, square = 1, left = 1, highest = 0;
    for (int i = 1; i <= steps; ++i) {
        mean *= BETA1, square *= BETA2;
        const double height =
            std::sqrt(square / double(corrected(shared.second_table, shared.second_entries, BETA2, before + i)));
        if (i == 1) highest = height;
        less[i] = 1 - height / highest;
        moved[i] =
            s.m.step_size * mean / double(corrected(shared.first_table, shared.first_entries, BETA1, before + i));
    }
    for (int i = steps; i >= 1; --i, left *= shrink) {  // what is lost first shrinks longest
        double part = left * moved[i];
        for (int k = 0; k < TERMS; ++k, part *= less[i]) sums[k] += part;
    }
    Piece made = {Real(highest), Real(mean), Real(square), Real(1 - left), {}};
    for (int k = 0; k < TERMS; ++k) made.term[k] = Real(sums[k]);
    return made;
}

// The same, kept: rows that slept equally long share it, and once the corrections are 1, all steps do.
inline const Piece& kept_piece(const Step& s, Real before, int steps) {
    const Shared& shared = s.shared;
    const Real settled = Real(std::fmax(shared.first_entries, shared.second_entries));
    const bool constant = shared.first_table[shared.first_entries - 1] == Real(1) &&
                          shared.second_table[shared.second_entries - 1] == Real(1);
    const Real at = constant && before > settled ? settled : before;
    if (s.work.piece_after[steps] != at) {
        s.work.piece[steps] = piece(s, at, steps);
        s.work.piece_after[steps] = at;
    }
    return s.work.piece[steps];
}

// The pieces of `steps` steps, at most PIECE x PIECES.
inline const Piece* pieces(const Step& s, Real before, int steps) {
    if (steps <= PIECE) return &kept_piece(s, before, steps);
    Piece* made = s.work.pieces;
    for (; steps > 0; steps -= PIECE, before += PIECE) *made++ = kept_piece(s, before, steps < PIECE ? steps : PIECE);
    return s.work.pieces;
}

inline bool moves(Vec mean) {
    const Ints bits = (Ints)magnitude(mean);
    Int any = 0;
    for (int i = 0; i < LANES; ++i) any |= bits[i];
    return any != 0;
}

inline Vec root(Vec v) {
    for (int i = 0; i < LANES; ++i) v[i] = std::sqrt(v[i]);
    return v;
}

// One vector through pieces of sleep; false once its mean is zero, when nothing but decay is left.
inline bool sleep(const Piece* pieces, int count, Vec& weight, Vec& mean, Vec& square) {
    constexpr Real E = EPS;
    for (int p = 0; p < count; ++p) {
        const Piece& by = pieces[p];
        const Vec inverse = 1 / (root(square) * by.scale + E), y = 1 - E * inverse;
        Vec sum = y * by.term[TERMS - 1] + by.term[TERMS - 2];
#pragma GCC unroll 8
        for (int k = TERMS - 3; k >= 0; --k) sum = sum * y + by.term[k];
        weight -= by.lost * weight + mean * inverse * sum;
        mean *= by.mean;
        square *= by.square;
    }
    return count == 1 || moves(mean);
}

// A row through `steps` steps without gradient, after which its layer has taken `after`.
template <int C>
void slept(const Step& s, Real after, int64_t steps, Real* weight, Real* mean, Real* square) {
    const double shrink = 1 - s.m.step_size * s.m.weight_decay;
    bool moving = true;
    while (steps > 0 && moving) {
        const int64_t now = steps < PIECE * PIECES ? steps : PIECE * PIECES;
        const int count = int((now + PIECE - 1) / PIECE);
        const Piece* made = pieces(s, after - Real(steps), int(now));
        moving = false;
        for (int v = 0; v < C / LANES; ++v)
            moving |= sleep(made, count, vectors(weight)[v], vectors(mean)[v], vectors(square)[v]);
        steps -= now;
    }
    if (steps == 0) return;
    const Real square_left = Real(std::pow(BETA2, double(steps))), lost = Real(1 - std::pow(shrink, double(steps)));
    for (int v = 0; v < C / LANES; ++v) {
        vectors(weight)[v] -= lost * vectors(weight)[v];
        vectors(square)[v] *= square_left;
    }
}

// The row as it is before step `s.now`.
template <int C>
inline void catch_up(const Step& s, int l, int row) {
    Member& m = s.m;
    const int64_t steps = s.now - m.awake[l][row], at = int64_t(row) * C;
    if (steps == 0) return;
    slept<C>(s, m.column_steps[l][0], steps, m.weights[l] + at, m.first[l] + at, m.second[l] + at);
    m.awake[l][row] = s.now;
}

// ---- the gradients of several rows, so that the error of a batch is read once for all of them ----

// summed[r] = sum over examples of x[r][b] error[b], in the order of examples, from vector `first` on.
template <int C, int NR, int NV>
inline void gradient_tile(const Real* const* x, const Real* error, int first, Real* summed) {
    Vec part[NR][NV];
    for (int r = 0; r < NR; ++r)
        for (int v = 0; v < NV; ++v) part[r][v] = x[r][0] * vectors(error)[first + v];
    for (int b = 1; b < BATCH; ++b) {
        const Vec* e = vectors(error + b * C) + first;
        for (int r = 0; r < NR; ++r)
            for (int v = 0; v < NV; ++v) part[r][v] += x[r][b] * e[v];
    }
    for (int r = 0; r < NR; ++r)
        for (int v = 0; v < NV; ++v) vectors(summed + r * C)[first + v] = part[r][v];
}

// back[b][row[r]] = weights[row[r]] . error[b], for examples b to b + NB - 1.
template <int C, int NR, int NB>
inline void back_dots(const Real* weights, const int* row, const Real* error, Real* back, int next, int b) {
    constexpr int V = C / LANES;
    Vec dot[NR][NB][2] = {};
    const auto add = [&](int v, int which) {
        for (int r = 0; r < NR; ++r) {
            const Vec w = vectors(weights + int64_t(row[r]) * C)[v];
            for (int k = 0; k < NB; ++k) dot[r][k][which] += w * vectors(error + (b + k) * C)[v];
        }
    };
    for (int v = 0; v + 1 < V; v += 2) add(v, 0), add(v + 1, 1);
    if (V % 2) add(V - 1, 0);
    for (int r = 0; r < NR; ++r)
        for (int k = 0; k < NB; ++k) back[(b + k) * next + row[r]] = sum(dot[r][k][0] + dot[r][k][1]);
}

template <int C, int NR>
inline void differentiate(const Real* weights, const int* row, const Real* const* x, const Real* error, Real* back,
                          int next, Real* summed) {
    constexpr int V = C / LANES, LAST = V % 4;
    for (int v = 0; v + 4 <= V; v += 4) gradient_tile<C, NR, 4>(x, error, v, summed);
    if constexpr (LAST > 0) gradient_tile<C, NR, LAST>(x, error, V - LAST, summed);
    if (!back) return;
    for (int b = 0; b + 2 <= BATCH; b += 2) back_dots<C, NR, 2>(weights, row, error, back, next, b);
    if constexpr (BATCH % 2) back_dots<C, NR, 1>(weights, row, error, back, next, BATCH - 1);
}

template <int C>
void adapt(const Step& s, int l) {
    Work& w = s.work;
    Member& m = s.m;
    const int rows = rows_of(l), count = w.count[l], below = l ? columns_of(l - 1) : 0;
    const auto reciprocal = [&](Real steps, Real& first, Real& second) {
        first = 1 / corrected(s.shared.first_table, s.shared.first_entries, BETA1, steps);
        second = 1 / corrected(s.shared.second_table, s.shared.second_entries, BETA2, steps);
    };
    const auto advance = [&](Real* steps) {
        for (int i = 0; i < C; ++i) steps[i] += 1;
        for (int i = 0; i < (UNITS ? C : 1); ++i) reciprocal(steps[i], w.first_column[i], w.second_column[i]);
    };
    const bool acts = ISOMETRY && s.now % EVERY == 0 && TARGETS[l] != 0, projects = acts && PROJECTION > 0;
    const double over = BY_GRAM ? std::fmin(rows, units_of(l)) : 1;
    const Real rate = acts && !projects ? Real(m.pull * 4 * PENALTY / over) : Real(0);
    const auto pulled = [&] {
        pull(m.weights[l], rows, units_of(l), Real(TARGETS[l]), w.gram, w.transposed, w.pulled);
    };
    // Weight decay is a gradient of its own, and a pull moves every weight: rows do not sleep through either.
    const bool sleeping = SLEEPS && rate == 0 && !projects && m.decay == 0 && m.column_steps[l][0] >= WARM;
    if constexpr (SLEEPS)
        if (!sleeping)
            for (int j = 0; j < rows; ++j) catch_up<C>(s, l, j);
    if (ISOMETRY && rate != 0 && !SEQUENTIAL) pulled();
    advance(m.column_steps[l]);
    constexpr int TOGETHER = BATCH > 1 ? 4 : 1;
    alignas(64) Real summed[TOGETHER * C];
    const Real* gradients[TOGETHER];
    int q = 0;
    // Which of some rows were read, their gradients, and what their error is for the layer below.
    const auto differentiated = [&](int n, int many) {
        const Real* x[TOGETHER];
        int read[TOGETHER], found = 0;
        for (int k = 0; k < many; ++k) {
            const int j = sleeping ? w.index[l][n + k] : n + k;
            const bool own = q < count && w.index[l][q] == j;
            gradients[k] = own ? summed + found * C : nullptr;
            if (own) read[found] = j, x[found++] = w.value[l] + BATCH * q++;
        }
        Real* back = l > 0 ? w.error[l] : nullptr;
        const Real *weights = m.weights[l], *error = w.error[l + 1];
        if (found == TOGETHER) return differentiate<C, TOGETHER>(weights, read, x, error, back, below, summed);
        for (int k = 0; k < found; ++k)
            differentiate<C, 1>(weights, read + k, x + k, error, back, below, summed + k * C);
    };
    const int moved = sleeping ? count : rows;
    for (int n = 0; n < moved; ++n) {
        if (n % TOGETHER == 0) differentiated(n, moved - n < TOGETHER ? moved - n : TOGETHER);
        const Real* gradient = gradients[n % TOGETHER];
        const int j = sleeping ? w.index[l][n] : n;
        Real row_first = w.first_column[0], row_second = w.second_column[0];
        if constexpr (UNITS) {
            m.row_steps[l][j] += 1;
            reciprocal(m.row_steps[l][j], row_first, row_second);
        }
        Real* weight = m.weights[l] + int64_t(j) * C;
        const int64_t at = int64_t(j) * C;
        adam(C, weight, m.first[l] + at, m.second[l] + at, gradient, w.first_column, w.second_column, row_first,
             row_second, m);
        if constexpr (SLEEPS) m.awake[l][j] = s.now + 1;
    }
    if (ISOMETRY && rate != 0) {
        if (SEQUENTIAL) pulled();
        for (int64_t i = 0; i < int64_t(rows) * C; ++i) m.weights[l][i] -= rate * w.pulled[i];
    }
    if (projects)
        project(m.weights[l], rows, units_of(l), Real(TARGETS[l]), PROJECTION, w.gram, w.transposed, w.pulled);
    if constexpr (BIASES) {
        advance(m.bias_steps[l]);
        alignas(64) Real summed[C];
        for (int v = 0; v < C / LANES; ++v) vectors(summed)[v] = bias_gradient<C>(w.error[l + 1], v);
        const Real row_first = UNITS ? 0 : w.first_column[0], row_second = UNITS ? 0 : w.second_column[0];
        adam(C, m.biases[l], m.bias_first[l], m.bias_second[l], summed, w.first_column, w.second_column, row_first,
             row_second, m);
    }
}

}  // namespace
