// UPGD (methods/upgd.py): one pass brings every weight's utility up to date and finds the largest of all; once that is
// known, another moves the weights, each the less the more useful it is.
//
// A row's utilities lie where Adam has its first moments, and steps are counted as there. Every weight changes in every
// step, so no row sleeps. The noise has the bits of Draw.normal, which draws [out][in]. `wide` is
// lanes.h for one vector of weights.

namespace {

constexpr int TILE = 16;  // rows whose noise is turned to [in][out] at once

inline Real utility_correction(const Step& s, Real steps) {  // its reciprocal
    return 1 / corrected(s.shared.first_table, s.shared.first_entries, BETA1, steps);
}

// Of each column of a layer, or of each bias; where no unit is replaced, all of them are equally old.
template <int C>
inline const Vec* corrections(const Step& s, const Real* steps) {
    Real* each = s.work.first_column;
    for (int i = 0; i < C; ++i) each[i] = i && !UNITS ? each[0] : utility_correction(s, steps[i]);
    return vectors(each);
}

// A weight is as old as the younger of its row and its column, and so has the larger of their corrections.
inline Vec later_of(Vec column, Real row) {
    if constexpr (!UNITS) return column;
    return column < row ? Vec{} + row : column;
}

// The member's numbers, apart from the memory that vectors are stored to.
struct Pace {
    Real decay, step_size, weight_decay, noise;

    explicit Pace(const Member& m)
        : decay(Real(m.decay)), step_size(Real(m.step_size)), weight_decay(Real(m.weight_decay)),
          noise(Real(m.perturb_scale)) {}
};

// The gradient of a row's weights: x is its input (null where it is zero).
template <int C>
inline Vec row_gradient(const Pace& pace, const Real* error, const Real* x, int v, Vec weight) {
    Vec g = pace.decay * weight;
    if (x)
        for (int b = 0; b < BATCH; ++b) g += x[b] * vectors(error + b * C)[v];
    return g;
}

// u <- B u - (1 - B) g w, and the largest of the corrected, or of them as they are.
inline void weigh(Vec& utility, Vec gradient, Vec weight, Vec correction, Vec& most) {
    constexpr Real KEEP = BETA1, NEW = 1 - BETA1;
    utility = KEEP * utility - NEW * gradient * weight;
    const Vec told = LARGEST_CORRECTED ? utility * correction : utility;
    most = told > most ? told : most;
}

// The utilities of a layer, and the error of the layer below it; `most` is the largest utility so far.
template <int C>
void weigh_layer(const Step& s, int l, Vec& most) {
    Work& w = s.work;
    Member& m = s.m;
    const Pace pace(m);
    const int rows = rows_of(l), below = l ? columns_of(l - 1) : 0;
    const Real* error = w.error[l + 1];
    for (int i = 0; i < C; ++i) m.column_steps[l][i] += 1;
    const Vec* by_column = corrections<C>(s, m.column_steps[l]);
    int q = 0;
    for (int j = 0; j < rows; ++j) {
        if constexpr (UNITS) m.row_steps[l][j] += 1;
        const Real by_row = UNITS ? utility_correction(s, m.row_steps[l][j]) : Real(0);
        const Vec* weight = vectors(m.weights[l] + int64_t(j) * C);
        Vec* utility = vectors(m.first[l] + int64_t(j) * C);
        const Real* x = q < w.count[l] && w.index[l][q] == j ? w.value[l] + BATCH * q++ : nullptr;
        if (x && l > 0)
            for (int b = 0; b < BATCH; ++b) {
                Vec dot[2] = {};
                for (int v = 0; v < C / LANES; ++v) dot[v & 1] += weight[v] * vectors(error + b * C)[v];
                w.error[l][b * below + j] = sum(dot[0] + dot[1]);
            }
        for (int v = 0; v < C / LANES; ++v) {
            const Vec by = by_column[v], g = row_gradient<C>(pace, error, x, v, weight[v]);
            weigh(utility[v], g, weight[v], later_of(by, by_row), most);
        }
    }
    if constexpr (BIASES) {
        for (int i = 0; i < C; ++i) m.bias_steps[l][i] += 1;
        by_column = corrections<C>(s, m.bias_steps[l]);
        for (int v = 0; v < C / LANES; ++v) {
            const Vec bias = vectors(m.biases[l])[v];
            const Vec g = bias_gradient<C>(error, v) + pace.decay * bias;
            weigh(vectors(m.bias_first[l])[v], g, bias, by_column[v], most);
        }
    }
}

// 1 / the largest of all utilities; 0 where none is positive.
inline Real inverse_of(Vec most) {
    Real largest = 0;
    for (int i = 0; i < LANES; ++i) largest = most[i] > largest ? most[i] : largest;
    return largest > 0 ? 1 / largest : Real(0);
}

// w <- w - step size (weight decay w + (g + noise) (1 - sigmoid(u / largest))).
inline void move(const Pace& pace, Vec& weight, Vec gradient, Vec noise, Vec utility) {
    const Vec free = (Vec)wide::logistic((wide::Number)-utility);
    weight -= pace.step_size * (pace.weight_decay * weight + (gradient + pace.noise * noise) * free);
}

template <int C>
void move_layer(const Step& s, int l, Real inverse) {
    Work& w = s.work;
    Member& m = s.m;
    const Pace pace(m);
    const int rows = rows_of(l), units = units_of(l);
    const Real* error = w.error[l + 1];
    normals_in_order(w.normal, w.random, int64_t(rows) * units, s.now, {uint32_t(m.seed), UPGD_WEIGHT_CODES[l]});
    const Vec* by_column = corrections<C>(s, m.column_steps[l]);
    alignas(64) Real noise[TILE * C] = {};  // and zero in the padding
    int q = 0;
    for (int first = 0; first < rows; first += TILE) {
        const int count = rows - first < TILE ? rows - first : TILE;
        for (int i = 0; i < units; ++i)
            for (int r = 0; r < count; ++r) noise[r * C + i] = w.normal[int64_t(i) * rows + first + r];
        for (int r = 0; r < count; ++r) {
            const int j = first + r;
            const Real by_row = UNITS ? utility_correction(s, m.row_steps[l][j]) : Real(0);
            const Real* x = q < w.count[l] && w.index[l][q] == j ? w.value[l] + BATCH * q++ : nullptr;
            Vec* weight = vectors(m.weights[l] + int64_t(j) * C);
            const Vec* utility = vectors(m.first[l] + int64_t(j) * C);
            for (int v = 0; v < C / LANES; ++v) {
                const Vec by = by_column[v], correction = later_of(by, by_row);
                const Vec g = row_gradient<C>(pace, error, x, v, weight[v]);
                move(pace, weight[v], g, vectors(noise + r * C)[v], inverse * (utility[v] * correction));
            }
        }
    }
    if constexpr (BIASES) {
        std::memset(noise, 0, C * sizeof(Real));
        normals_in_order(w.normal, w.random, units, s.now, {uint32_t(m.seed), UPGD_BIAS_CODES[l]});
        std::memcpy(noise, w.normal, units * sizeof(Real));
        by_column = corrections<C>(s, m.bias_steps[l]);
        for (int v = 0; v < C / LANES; ++v) {
            Vec& bias = vectors(m.biases[l])[v];
            const Vec g = bias_gradient<C>(error, v) + pace.decay * bias;
            const Vec utility = vectors(m.bias_first[l])[v] * by_column[v];
            move(pace, bias, g, vectors(noise)[v], inverse * utility);
        }
    }
}

}  // namespace
