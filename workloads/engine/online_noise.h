// Normal numbers, the debts of rows that slept, and the noise of shrink and perturb.

namespace {

// Box-Muller on 24-bit integers held in lanes: radius x cosine and radius x sine. Polynomials of Cephes (Moshier).
inline void box_muller(Ints radius_bits, Ints angle_bits, Vec& cosine, Vec& sine) {
    if constexpr (FLOAT) {
        const Vec u = __builtin_convertvector(radius_bits + 1, Vec);  // log(u 2^-24), by u = 2^e x, x in [0.7, 1.4]
        const Ints raw = (Ints)u;
        const Ints shifted = raw - Int(0x3F3504F3);
        const Ints exponent = shifted >> 23;
        const Vec x = (Vec)(raw - (exponent << 23)) - Real(1);
        const Vec e = __builtin_convertvector(exponent - 24, Vec);
        Vec p = Vec{} + Real(7.0376836292e-2);
        p = p * x - Real(1.1514610310e-1);
        p = p * x + Real(1.1676998740e-1);
        p = p * x - Real(1.2420140846e-1);
        p = p * x + Real(1.4249322787e-1);
        p = p * x - Real(1.6668057665e-1);
        p = p * x + Real(2.0000714765e-1);
        p = p * x - Real(2.4999993993e-1);
        p = p * x + Real(3.3333331174e-1);
        const Vec z = x * x;
        Vec log = p * x * z - Real(2.12194440e-4) * e - Real(0.5) * z + x;
        log = log + Real(0.693359375) * e;
        const Vec squared = Real(-2) * log;
        Vec radius;
        for (int i = 0; i < LANES; ++i) radius[i] = std::sqrt(squared[i]);
        const Ints quadrant = (angle_bits + Int(1 << 21)) >> 22;
        constexpr Real TURN = 3.7450702829e-7;  // 2 pi 2^-24
        const Vec a = __builtin_convertvector(angle_bits - (quadrant << 22), Vec) * TURN;
        const Vec aa = a * a;
        const Vec s = ((Real(-1.9515295891e-4) * aa + Real(8.3321608736e-3)) * aa - Real(1.6666654611e-1)) * aa * a + a;
        const Vec c = ((Real(2.443315711809948e-5) * aa - Real(1.388731625493765e-3)) * aa +
                       Real(4.166664568298827e-2)) * aa * aa - Real(0.5) * aa + Real(1);
        const Ints odd = -(quadrant & 1);
        const Ints cosine_bits = (((Ints)c & ~odd) | ((Ints)s & odd)) ^ (((quadrant + 1) & 2) << 30);
        const Ints sine_bits = (((Ints)s & ~odd) | ((Ints)c & odd)) ^ ((quadrant & 2) << 30);
        cosine = radius * (Vec)cosine_bits;
        sine = radius * (Vec)sine_bits;
    } else {
        for (int i = 0; i < LANES; ++i) {
            const Real radius = std::sqrt(-2.0 * std::log((radius_bits[i] + 1) * 0x1p-24));
            const Real angle = (2.0 * M_PI * 0x1p-24) * angle_bits[i];
            cosine[i] = radius * std::cos(angle);
            sine[i] = radius * std::sin(angle);
        }
    }
}

// Four vectors of normals (or the first two), from the counters index, index + 1, ...
template <bool TWO>
inline void four_normals(uint32_t index, uint64_t step, uint32_t last, philox::Key key, Vec out[4]) {
    philox::Eight low[4];
    philox::blocks<7>(index, step, last, key, low);
    Ints bits[4];
    if constexpr (FLOAT) {
        philox::Eight high[4];
        philox::blocks<7>(index + 8, step, last, key, high);
        for (int w = 0; w < 4; ++w) {
            const Ints joined = (Ints)((low[w] & 0xFFFFFFFF) | (high[w] << 32));
            bits[w] = (joined >> 8) & 0xFFFFFF;
        }
    } else {
        for (int w = 0; w < 4; ++w) bits[w] = (Ints)((low[w] >> 8) & 0xFFFFFF);
    }
    box_muller(bits[0], bits[2], out[0], out[1]);
    if (!TWO) box_muller(bits[1], bits[3], out[2], out[3]);
}

typedef uint32_t Words __attribute__((vector_size(4 * LANES), may_alias));

// `count` normals in the order of workloads.random.Draw.normal. Both buffers have room for `count` + 64.
void normals_in_order(Real* out, uint32_t* random, int64_t count, uint64_t step, philox::Key key) {
    const int64_t half = (count + 1) / 2;
    philox::words(random, 2 * half, step, key);
    for (int64_t e = 0; e < half; e += LANES) {
        Words radius, angle;
        std::memcpy(&radius, random + e, sizeof radius);
        std::memcpy(&angle, random + half + e, sizeof angle);
        Vec cosine, sine;
        box_muller(__builtin_convertvector(radius >> 8, Ints), __builtin_convertvector(angle >> 8, Ints), cosine, sine);
        const int64_t used = half - e < LANES ? half - e : LANES;
        if (used == LANES) {  // a size that the compiler knows
            std::memcpy(out + e, &cosine, sizeof cosine);
            std::memcpy(out + half + e, &sine, sizeof sine);
        } else {
            std::memcpy(out + e, &cosine, used * sizeof(Real));
            std::memcpy(out + half + e, &sine, used * sizeof(Real));
        }
    }
}

// ---- rows that slept -----------------------------------------------------------------------------------------------

// A row's weights as they are before step `s.now`: all decay and, where noise is lazy, all noise applied.
template <int C>
inline void settled(const Step& s, int layer, int row, const Real* from, Real* to) {
    constexpr int V = C / LANES;
    const Real lost = s.lost(s.now - s.m.awake[layer][row]);
    double deviation = 0;
    if (LAZY && s.noisy) deviation = s.m.noise * std::sqrt(s.spread(s.now - s.m.quiet[layer][row]));
    if (deviation == 0) {
        for (int v = 0; v < V; ++v) vectors(to)[v] = vectors(from)[v] - lost * vectors(from)[v];
        return;
    }
    const philox::Key key{uint32_t(s.m.seed), SLEEP_CODES[layer]};
    const auto four = [&](int v, auto wanted) {
        constexpr int WANTED = decltype(wanted)::value;
        Vec normal[4];
        four_normals<WANTED <= 2>(uint32_t(v * 16), s.now, uint32_t(row), key, normal);
        for (int q = 0; q < WANTED; ++q)
            vectors(to)[v + q] = vectors(from)[v + q] - (lost * vectors(from)[v + q] - normal[q] * Real(deviation));
    };
    int v = 0;
    for (; v + 4 <= V; v += 4) four(v, std::integral_constant<int, 4>());
    if constexpr (V % 4 > 0) four(v, std::integral_constant<int, V % 4>());
}

template <int C>
inline void wake(const Step& s, int layer, int row) {
    if (s.m.awake[layer][row] == s.now && (!LAZY || s.m.quiet[layer][row] == s.now)) return;
    Real* w = s.m.weights[layer] + int64_t(row) * C;
    settled<C>(s, layer, row, w, w);
    s.m.awake[layer][row] = s.now;
    if constexpr (LAZY) s.m.quiet[layer][row] = s.now;
}

// Decay is paid before it is so much that the stored weights are of another size than those they stand for, or before
// its power is in no table. Returns for how many steps the row owes then.
template <int C>
inline int rouse(const Step& s, int layer, int row) {
    const int64_t asleep = s.now - s.m.awake[layer][row];
    if (asleep < LONGEST) {
        const Real left = std::fabs(s.work.stored[asleep]);
        if (left >= Real(LEAST) && left <= Real(1 / LEAST)) return int(asleep);
    }
    wake<C>(s, layer, row);
    return 0;
}

// Noise on every weight (unless it is lazy) and every bias, with the bits of Draw.normal. `s.now` is the step trained.
void perturb(const Step& s) {
    const Real noise = Real(s.m.noise);
    const Step next = s.later();
    alignas(64) Real drawn[COLUMNS + 64];
    uint32_t random[COLUMNS + 64];
    for (int l = 0; l < LAYERS; ++l) {
        const int rows = rows_of(l), units = units_of(l);
        if constexpr (DENSE_NOISE) {
            const philox::Key key{uint32_t(s.m.seed), WEIGHT_CODES[l]};
            normals_in_order(s.work.normal, s.work.random, int64_t(rows) * units, s.now, key);
            const int wide = columns_of(l);
            for (int j = 0; j < rows; ++j) {
                s.work.lost[j] = next.lost(next.now - s.m.awake[l][j]);
                s.m.awake[l][j] = next.now;
            }
            for (int first = 0; first < units; first += 16)  // the draw is [out][in]
                for (int j = 0; j < rows; ++j)
                    for (int i = first; i < units && i < first + 16; ++i) {
                        Real& weight = s.m.weights[l][int64_t(j) * wide + i];
                        weight -= s.work.lost[j] * weight - noise * s.work.normal[int64_t(i) * rows + j];
                    }
        }
        if constexpr (BIASES) {
            normals_in_order(drawn, random, units, s.now, {uint32_t(s.m.seed), BIAS_CODES[l]});
            for (int i = 0; i < units; ++i) s.m.biases[l][i] += noise * drawn[i];
        }
    }
}

}  // namespace
