// The rows of one layer: woken, read, and moved by a chain that was traced from the learner's own step.
//
// L is an emitted structure: sizes, how its rows sleep, and `step`, which takes one vector of weights and of everything
// else that is kept per weight through one step with a given gradient. Everything kept per weight lies as the weights
// do, [in][padded out]; the first of these arrays are the weights. How rows sleep, what a member's rows need when they
// wake, and the lengths of tables are told by online_sleep.py. One file, since all of it is methods of one structure.

namespace {

constexpr int64_t FOREVER = int64_t(1) << 62;  // rows that need nothing more

// A^k - 1 and 1 + A + ... + A^(k - 1), for k steps at once.
template <int N> struct Power {
    double moved[N * N], given[N * N];
};

// First `a`, then `b`.
template <int N> inline Power<N> after(const Power<N>& a, const Power<N>& b) {
    Power<N> both;
    for (int i = 0; i < N; ++i)
        for (int j = 0; j < N; ++j) {
            double moved = a.moved[i * N + j] + b.moved[i * N + j];
            double given = a.given[i * N + j] + b.given[i * N + j];
            for (int k = 0; k < N; ++k) {
                moved += b.moved[i * N + k] * a.moved[k * N + j];
                given += b.moved[i * N + k] * a.given[k * N + j];
            }
            both.moved[i * N + j] = moved;
            both.given[i * N + j] = given;
        }
    return both;
}

template <int N> struct Lengths {
    Real moved[TABLE][N * N], given[TABLE][N * N];
    Power<N> doubled[DOUBLINGS];
};

// What rows that descend may owe: a^k, its absolute value, and what the error is taken by, for the stored weights.
struct Factors {
    double power[LONGEST + 1];
    Real left[LONGEST], rest[LONGEST], gain[LONGEST];
};

template <class L> struct Rows {
    static constexpr int N = L::EVOLVING, M = L::CONSTANT, V = L::C / LANES;
    using Number = wide::Number;
    const Member& m;
    char* scratch;
    Real* array[N + M];
    typename L::Numbers numbers;
    Lengths<N>* lengths;
    Factors* factors;  // in the same place: a layer needs one of them
    double *columns, *across;  // sums of |w|: of what goes into a unit, and of what leaves one
    Real *scaled, *times, *rest;  // per row that is read: of its input, of it before the step, and after
    int64_t* awake;
    const Real* vector[L::VECTORS + 1];  // of numbers per unit, padded, or per row
    int mode;

    // `m.pace` is [mode, b, A row by row], as online_sleep.py finds them.
    Rows(const Member& m, char* scratch) : m(m), scratch(scratch), awake(m.awake[L::NUMBER]) {
        L::arrays(m, scratch, array);
        mode = int(m.pace[L::NUMBER][0]);
        lengths = (Lengths<N>*)(scratch + L::LENGTHS);
        factors = (Factors*)(scratch + L::LENGTHS);
        scaled = (Real*)(scratch + L::SCALED);
        times = (Real*)(scratch + L::TIMES);
        rest = (Real*)(scratch + L::REST);
        columns = m.columns[L::NUMBER];
        across = m.across[L::NUMBER];
        if constexpr (L::SLEEP != DENSE) L::read(m, scratch, numbers);
    }

    // Whether a step is one multiplication and addition, and what a row owes stays a factor of it. Then sums of |w| are
    // kept by what changes, and not taken anew in every step.
    bool running() const { return L::DESCENDS && (mode == STILL || mode == OWED); }

    // Before the first step of a call.
    void prepare() const {
        if (running()) return prepare_factors();
        if (mode != PACED) return;
        const double* pace = m.pace[L::NUMBER] + 1;
        Power<N> some, one;  // of no step at first, and of one
        for (int i = 0; i < N * N; ++i) {
            const double same = i / N == i % N;
            some.moved[i] = some.given[i] = 0;
            one.moved[i] = pace[1 + i] - same;
            one.given[i] = same;
        }
        for (int k = 0; k < TABLE; ++k) {
            for (int i = 0; i < N * N; ++i) {
                lengths->moved[k][i] = Real(some.moved[i]);
                lengths->given[k][i] = Real(some.given[i]);
            }
            some = after<N>(some, one);
        }
        lengths->doubled[0] = one;
        for (int k = 1; k < DOUBLINGS; ++k)
            lengths->doubled[k] = after<N>(lengths->doubled[k - 1], lengths->doubled[k - 1]);
    }

    void prepare_factors() const {
        static_assert(sizeof(Factors) <= 2 * sizeof(double) * (TABLE + DOUBLINGS), "the room for them");
        const double b = m.pace[L::NUMBER][1], a = m.pace[L::NUMBER][2];
        double power = 1;
        for (int k = 0; k <= LONGEST; ++k, power *= a) factors->power[k] = power;
        for (int k = 0; k < LONGEST; ++k) {
            factors->left[k] = Real(factors->power[k]);
            factors->rest[k] = Real(std::fabs(factors->power[k + 1]));
            factors->gain[k] = Real(-b / factors->power[k + 1]);
        }
        for (int j = 0; j < L::IN; ++j) times[j] = rest[j] = 1;
    }

    Power<N> power(int64_t steps) const {
        Power<N> total = {};
        for (int k = 0; steps; ++k, steps >>= 1)
            if (steps & 1) total = after<N>(total, lengths->doubled[k]);
        return total;
    }

    static Vec kept(int v, Number number) {  // nothing gets into the padding, whatever a chain makes of zeros there
        if ((v + 1) * LANES <= L::OUT) return (Vec)number;
        Ints own;
        for (int i = 0; i < LANES; ++i) own[i] = -Int(v * LANES + i < L::OUT);
        return (Vec)((Ints)number & own);
    }

    // Function(v, s, c) on every vector v of a row: what is kept per weight, and what only is read.
    template <typename Function> inline void each(int row, Function function) const {
        Vec* at[N + M];  // own ones: a vector stored might be what `array` points to, for all the compiler knows
        for (int a = 0; a < N + M; ++a) at[a] = vectors(array[a] + int64_t(row) * L::C);
        const auto one = [&](int v) {
            Number s[N], c[M + 1];
            for (int a = 0; a < N; ++a) s[a] = (Number)at[a][v];
            for (int a = 0; a < M; ++a) c[a] = (Number)at[N + a][v];
            function(v, s, c);
            for (int a = 0; a < N; ++a) at[a][v] = kept(v, s[a]);
        };
        if constexpr (V <= IN_REGISTERS) {
#pragma GCC unroll 14
            for (int v = 0; v < V; ++v) one(v);
        } else {
            for (int v = 0; v < V; ++v) one(v);
        }
    }

    // A row after `steps` steps without gradient, at once; then(v, weights) sees every vector of it.
    template <typename Then> inline void pass(int row, int64_t steps, Then then) const {
        const typename L::Numbers own = numbers;
        Number moved[N * N], given[N * N];
        if (steps < TABLE) {
            for (int i = 0; i < N * N; ++i) moved[i] = Number{} + lengths->moved[steps][i];
            for (int i = 0; i < N * N; ++i) given[i] = Number{} + lengths->given[steps][i];
        } else {
            const Power<N> by = power(steps);
            for (int i = 0; i < N * N; ++i) moved[i] = Number{} + Real(by.moved[i]);
            for (int i = 0; i < N * N; ++i) given[i] = Number{} + Real(by.given[i]);
        }
        each(row, [&](int v, Number* s, const Number* c) {
            Number still[N] = {}, change[N] = {};
            if constexpr (!L::HOMOGENEOUS) L::step(still, c, Number{}, nullptr, own);
            for (int a = 0; a < N; ++a)
                for (int b = 0; b < N; ++b) {
                    change[a] += moved[a * N + b] * s[b];
                    if constexpr (!L::HOMOGENEOUS) change[a] += given[a * N + b] * still[b];
                }
            for (int a = 0; a < N; ++a) s[a] += change[a];
            then(v, (Vec)s[0]);
        });
    }

    // The same, one after the other.
    void repeat(int row, int64_t steps) const {
        const typename L::Numbers own = numbers;
        each(row, [&](int, Number* s, const Number* c) {
            for (int64_t k = 0; k < steps; ++k) L::step(s, c, Number{}, nullptr, own);
        });
    }

    // What so many steps leave of a weight.
    double left(int64_t steps) const {
        return steps <= LONGEST ? factors->power[steps] : std::pow(m.pace[L::NUMBER][2], double(steps));
    }

    // The same where it is a factor. In single precision 1 - 3e-8 is 1 or 1 - 6e-8, but 3e-8 is itself.
    void shrink(int row, int64_t steps) const {
        const Real lost = Real(1 - left(steps));
        Vec* w = vectors(array[0] + int64_t(row) * L::C);
        for (int v = 0; v < V; ++v) w[v] -= lost * w[v];
    }

    void sleep(int row, int64_t steps) const {
        if constexpr (L::DESCENDS)
            if (mode == OWED) return shrink(row, steps);
        if (mode == STEPPED) return repeat(row, steps);
        const int64_t single = mode == ONCE || (mode == PACED && L::SLEEP == CLAMPED);
        if (single) repeat(row, 1);
        if (mode == PACED && steps > single) pass(row, steps - single, [](int, Vec) {});
    }

    void wake(int row, int64_t now) const {
        if constexpr (L::SLEEP == DENSE) return;
        if (awake[row] < now) sleep(row, now - awake[row]);
    }

    int64_t awake_from(int64_t now) const { return mode == ONCE ? FOREVER : now; }

    // ---- rows that descend ----

    // For how many steps a row owes at step `now`, once it has paid what could not stay a factor of it.
    int owed(int row, int64_t now) const {
        const int64_t asleep = now - awake[row];
        if (asleep < LONGEST) {
            const Real left = std::fabs(factors->left[asleep]);
            if (left >= Real(LEAST) && left <= Real(1 / LEAST)) return int(asleep);
        }
        shrink(row, asleep);
        awake[row] = now;
        return 0;
    }

    void add_rows(int count, const int* index, const Real* value, Real* out, int64_t now) const {
        if (mode == OWED) {
            for (int q = 0; q < count; ++q) {
                times[q] = factors->left[owed(index[q], now)];
                for (int b = 0; b < BATCH; ++b) scaled[q * BATCH + b] = times[q] * value[q * BATCH + b];
            }
            value = scaled;
        }
        gather<L::C>(array[0], count, index, value, out);
    }

    void descend(int count, const int* index, const Real* value, const Real* error, Real* back, int64_t now) const {
        if (mode == OWED) {
            for (int q = 0; q < count; ++q) {
                const int asleep = int(now - awake[index[q]]);
                rest[q] = factors->rest[asleep];
                for (int b = 0; b < BATCH; ++b) scaled[q * BATCH + b] = factors->gain[asleep] * value[q * BATCH + b];
            }
        } else {
            const Real gain = factors->gain[0];
            for (int i = 0; i < count * BATCH; ++i) scaled[i] = gain * value[i];
        }
        const double shrink = mode == OWED ? std::fabs(m.pace[L::NUMBER][2]) : 1;
        if (L::LEAVING && shrink != 1)
            for (int j = 0; j < L::IN; ++j) across[j] *= shrink;
        alignas(64) Real change[L::C];
        if constexpr (BATCH == 1)
            ::learn<L::C, L::BACK, L::ENTERING, L::LEAVING>(array[0], count, index, scaled, rest, times, error, back,
                                                            change, across);
        else
            learn_batch<L::C, L::IN, L::BACK, L::ENTERING, L::LEAVING>(array[0], count, index, scaled, rest, times,
                                                                       error, back, change, across);
        if (L::ENTERING)
            for (int i = 0; i < L::C; ++i) columns[i] = shrink * columns[i] + change[i];
    }

    // ---- numbers per unit and per row ----

    Real* units(int k) const { return (Real*)(scratch + L::UNITS) + k * L::C; }

    static void pad(Real* to, const Real* from) {
        std::memcpy(to, from, L::OUT * sizeof(Real));
        for (int i = L::OUT; i < L::C; ++i) to[i] = 0;
    }

    void place_vectors() {
        L::vectors(m, scratch, vector);
        for (int k = 0; k < L::VECTORS; ++k)
            if (L::BY_UNIT[k]) {
                pad(units(k), vector[k]);
                vector[k] = units(k);
            }
    }

    inline void read_vectors(int row, int v, Number* to) const {
        for (int k = 0; k < L::VECTORS; ++k)
            to[k] = L::BY_UNIT[k] ? (Number)vectors(vector[k])[v] : Number{} + vector[k][row];
    }

    // to (out) = W v of v (in); to (in) = Wᵀ u of u (out). No row sleeps where these are asked for.
    void by_inputs(const Real* from, Real* to) const {
        constexpr int WIDE = V <= IN_REGISTERS ? V : 8, LAST = V % WIDE;
        const auto tile = [&](int v, auto wide) {
            constexpr int NV = decltype(wide)::value;
            Vec total[NV] = {};
            for (int row = 0; row < L::IN; ++row) {
                const Vec* w = vectors(array[0] + int64_t(row) * L::C) + v;
                for (int i = 0; i < NV; ++i) total[i] += from[row] * w[i];
            }
            for (int i = 0; i < NV; ++i) vectors(units(0))[v + i] = total[i];
        };
        for (int v = 0; v + WIDE <= V; v += WIDE) tile(v, std::integral_constant<int, WIDE>());
        if constexpr (LAST > 0) tile(V - LAST, std::integral_constant<int, LAST>());
        std::memcpy(to, units(0), L::OUT * sizeof(Real));
    }

    void by_units(const Real* from, Real* to) const {
        pad(units(0), from);
        const Vec* u = vectors(units(0));
        const auto rows = [&](int row, auto count) {
            constexpr int NR = decltype(count)::value;
            Vec dot[NR] = {};
            for (int v = 0; v < V; ++v)
                for (int r = 0; r < NR; ++r) dot[r] += vectors(array[0] + int64_t(row + r) * L::C)[v] * u[v];
            for (int r = 0; r < NR; ++r) to[row + r] = sum(dot[r]);
        };
        int row = 0;
        for (; row + 4 <= L::IN; row += 4) rows(row, std::integral_constant<int, 4>());
        for (; row < L::IN; ++row) rows(row, std::integral_constant<int, 1>());
    }

    // ---- all new weights at once ----

    // The sum of their squares, as they are before step `now`; what is owed is paid for it.
    Real settled_size(int64_t now) const {
        settle(now);
        double total = 0;
        for (int row = 0; row < L::IN; ++row) {
            const Vec* w = vectors(array[0] + int64_t(row) * L::C);
            Vec some[2] = {};
            for (int v = 0; v < V; ++v) some[v & 1] += w[v] * w[v];
            total += sum(some[0] + some[1]);
        }
        return Real(total);
    }

    void scale(Real by) const {
        Vec* w = vectors(array[0]);
        for (int64_t i = 0; i < int64_t(L::IN) * V; ++i) w[i] *= by;
        if (by - by != 0)  // nothing gets into the padding
            for (int row = 0; row < L::IN; ++row)
                for (int i = L::OUT; i < L::C; ++i) array[0][int64_t(row) * L::C + i] = 0;
        if (L::ENTERING)
            for (int i = 0; i < L::C; ++i) columns[i] *= std::fabs(by);
        if (L::LEAVING)
            for (int j = 0; j < L::IN; ++j) across[j] *= std::fabs(by);
    }

    // ---- what is asked for before the step of the weights ----

    // back (B, in) = row . error of the rows that were read.
    void back(int count, const int* index, const Real* error, Real* to) const {
        std::memset(to, 0, BATCH * L::IN * sizeof(Real));
        if (!running())
            for (int q = 0; q < count; ++q) times[q] = 1;
        const auto tile = [&](int q, auto rows) {
            constexpr int NR = decltype(rows)::value, LAST = BATCH % 4;
            int b = 0;
            for (; b + 4 <= BATCH; b += 4)
                back_tile<L::C, L::IN, NR, 4>(array[0], index + q, times + q, error + b * L::C, to + b * L::IN);
            if constexpr (LAST > 0)
                back_tile<L::C, L::IN, NR, LAST>(array[0], index + q, times + q, error + b * L::C, to + b * L::IN);
        };
        int q = 0;
        for (; q + 4 <= count; q += 4) tile(q, std::integral_constant<int, 4>());
        for (; q < count; ++q) tile(q, std::integral_constant<int, 1>());
    }

    // The sum of the squares of the gradient, which the rows that were not read have none of. Of one example it is the
    // product of two lengths; of a batch the gradient is made, since what cancels in it would not in theirs.
    Real square(int count, const Real* value, const Real* error) const {
        const auto length = [](const Real* from, int n) {
            Vec some = {};
            int i = 0;
            for (; i + LANES <= n; i += LANES) {
                Vec x;
                std::memcpy(&x, from + i, sizeof(Vec));
                some += x * x;
            }
            Real total = sum(some);
            for (; i < n; ++i) total += from[i] * from[i];
            return total;
        };
        if constexpr (BATCH == 1) return length(value, count) * length(error, L::C);
        Real total = 0;
        for (int q = 0; q < count; ++q) {
            Vec squares = {};
            for (int v = 0; v < V; ++v) {
                Vec gradient = {};
                for (int b = 0; b < BATCH; ++b) gradient += value[q * BATCH + b] * vectors(error + b * L::C)[v];
                squares += gradient * gradient;
            }
            total += sum(squares);
        }
        return total;
    }

    // ---- the bias, whose chain descends ----

    Real* bias() const { return (Real*)m.leaf[L::BIAS]; }
    Real* rests() const { return (Real*)m.rests[L::NUMBER]; }

    // Its step. Biases are few: what rounding took of a change is added to the next, since a weak decay is less.
    void learn_bias(const Real* error) const {
        const double b = m.pace[L::NUMBER][2 + N * N], a = m.pace[L::NUMBER][3 + N * N];
        const Real lost = Real(1 - a), step_size = Real(-b);
        Real* __restrict own = bias();
        Real* __restrict rest = rests();
        const auto gradient = [error](int i) {
            Real total = error[i];
            for (int k = 1; k < BATCH; ++k) total += error[k * L::C + i];
            return total;
        };
        if (a == 1) {
            for (int i = 0; i < L::OUT; ++i) own[i] -= step_size * gradient(i);
            return;
        }
        for (int i = 0; i < L::OUT; ++i) {
            const Real old = own[i], change = lost * old + step_size * gradient(i) + rest[i];
            own[i] = old - change;
            rest[i] = (own[i] - old) + change;
        }
    }

    // Of a bias that an event sets nothing is kept: first, and after the event.
    void note_bias() const { std::memcpy(scratch + L::NOTED, bias(), L::OUT * sizeof(Real)); }

    void forget_rests() const {
        const Real* noted = (const Real*)(scratch + L::NOTED);
        for (int i = 0; i < L::OUT; ++i)
            if (std::memcmp(noted + i, bias() + i, sizeof(Real))) rests()[i] = 0;
    }

    // ---- sums of |w| ----

    static constexpr bool SUMS = L::ENTERING || L::LEAVING;

    // The sums, taken anew from the weights as they are before step `now`.
    void recount(int64_t now) const {
        if (mode == PACED) settle(now);
        const auto times = [&](int row) { return mode == OWED ? left(now - awake[row]) : 1.0; };
        add_magnitudes<L::C, L::ENTERING, L::LEAVING>(array[0], L::IN, times, columns, across);
    }

    void entering(Real* to, double over) const {
        for (int i = 0; i < L::OUT; ++i) to[i] = Real(columns[i]) / Real(over);
    }

    void leaving(Real* to, double over) const {
        for (int j = 0; j < L::IN; ++j) to[j] = Real(across[j]) / Real(over);
    }

    // ---- rows that a chain moves ----

    // NR rows at once, so that the error is read once for all: back = row . error, and one step of the chain.
    template <int NR>
    void learn_rows(const int* index, const Real* x, const Vec* error, Real* back) const {
        const typename L::Numbers own = numbers;
        Vec* at[NR][N + M];
        Vec dot[NR] = {}, input[NR];
        for (int r = 0; r < NR; ++r) {
            input[r] = held(Vec{} + x[r]);
            for (int a = 0; a < N + M; ++a) at[r][a] = vectors(array[a] + int64_t(index[r]) * L::C);
        }
        const auto one = [&](int v) {
            const Vec e = held(error[v]);
            for (int r = 0; r < NR; ++r) {
                Number s[N], c[M + 1];
                for (int a = 0; a < N; ++a) s[a] = (Number)at[r][a][v];
                for (int a = 0; a < M; ++a) c[a] = (Number)at[r][N + a][v];
                if (L::BACK) dot[r] += (Vec)s[0] * e;
                Number own_vectors[L::VECTORS + 1];
                read_vectors(index[r], v, own_vectors);
                L::step(s, c, (Number)(input[r] * e), own_vectors, own);
                for (int a = 0; a < N; ++a) at[r][a][v] = kept(v, s[a]);
            }
        };
        if constexpr (V <= IN_REGISTERS) {
#pragma GCC unroll 14
            for (int v = 0; v < V; ++v) one(v);
        } else {
            for (int v = 0; v < V; ++v) one(v);
        }
        if (L::BACK)
            for (int r = 0; r < NR; ++r) back[index[r]] = sum(dot[r]);
    }

    // One row and a batch: first the products, then one step with the summed gradient.
    void learn_row(int row, const Real* x, const Real* error, Real* back) const {
        const int64_t at = int64_t(row) * L::C;
        if (L::BACK)
            for (int b = 0; b < BATCH; ++b) {
                Vec dot[2] = {};
                for (int v = 0; v < V; ++v) dot[v & 1] += vectors(array[0] + at)[v] * vectors(error + b * L::C)[v];
                back[b * L::IN + row] = sum(dot[0] + dot[1]);
            }
        for (int v = 0; v < V; ++v) {
            Number s[N], c[M + 1];
            Vec gradient = x[0] * vectors(error)[v];
            for (int b = 1; b < BATCH; ++b) gradient += x[b] * vectors(error + b * L::C)[v];
            for (int a = 0; a < N; ++a) s[a] = (Number)vectors(array[a] + at)[v];
            for (int a = 0; a < M; ++a) c[a] = (Number)vectors(array[N + a] + at)[v];
            Number own_vectors[L::VECTORS + 1];
            read_vectors(row, v, own_vectors);
            L::step(s, c, (Number)gradient, own_vectors, numbers);
            for (int a = 0; a < N; ++a) vectors(array[a] + at)[v] = kept(v, s[a]);
        }
    }

    // Rows that wake are read while they are at hand.
    void wake_and_read(int count, const int* index, const Real* value, Real* out, int64_t now) const {
        Vec total[V];
        for (int v = 0; v < V; ++v) total[v] = vectors(out)[v];
        for (int q = 0; q < count; ++q) {
            const int row = index[q];
            const Vec x = held(Vec{} + value[q]);
            const Vec* w = vectors(array[0] + int64_t(row) * L::C);
            if (awake[row] < now) {
                pass(row, now - awake[row], [&](int v, Vec weight) { total[v] += x * weight; });
            } else {
                for (int v = 0; v < V; ++v) total[v] += x * w[v];
            }
        }
        for (int v = 0; v < V; ++v) vectors(out)[v] = total[v];
    }

    // The rows to read, as they are at step `now`, and their product with the input (B, in), from `start` (out) or
    // zero: out (B, padded out).
    int forward(const Real* input, int* index, Real* value, Real* out, const Real* start, int64_t now) const {
        const int count = active(input, L::IN, L::IN, L::ALL, index, value);
        std::memset(out, 0, BATCH * L::C * sizeof(Real));
        if (start)
            for (int b = 0; b < BATCH; ++b) std::memcpy(out + b * L::C, start, L::OUT * sizeof(Real));
        if constexpr (L::DESCENDS) {
            if (running()) {
                add_rows(count, index, value, out, now);
                return count;
            }
        }
        if constexpr (BATCH == 1 && V <= IN_REGISTERS && L::SLEEP == LINEAR) {
            if (mode == PACED) {
                wake_and_read(count, index, value, out, now);
                return count;
            }
        }
        if (mode != STILL)
            for (int q = 0; q < count; ++q) wake(index[q], now);
        gather<L::C>(array[0], count, index, value, out);
        return count;
    }

    // Step `now` of the rows that were read, or of all where they are dense, from the error (B, padded out).
    void learn(int count, int* index, Real* value, const Real* error, Real* back, int64_t now) {
        if (SUMS && running() && now % REFRESH == 0) recount(now);
        learn_all(count, index, value, error, back, now);
        if (SUMS && !running()) recount(now + 1);
    }

    void learn_all(int count, int* index, Real* value, const Real* error, Real* back, int64_t now) {
        if constexpr (L::SLEEP == DENSE) L::read(m, scratch, numbers);
        if constexpr (L::VECTORS > 0) place_vectors();
        if (L::BACK) std::memset(back, 0, BATCH * L::IN * sizeof(Real));
        if constexpr (L::DESCENDS)
            if (running()) return descend(count, index, value, error, back, now);
        for (int k = 0; k < L::PULLS; ++k)
            ::pull(array[0], L::IN, L::OUT, Real(L::TARGETS[k]), (Real*)(scratch + L::GRAM),
                   (Real*)(scratch + L::TURNED), array[N + M - L::PULLS + k]);
        if constexpr (L::SLEEP == DENSE) count = spread(count, index, value);
        if constexpr (BATCH == 1) {
            constexpr int TOGETHER = N + M == 1 ? 4 : 2;
            int q = count;  // last to first, since the last are still near
            for (; q >= TOGETHER; q -= TOGETHER)
                learn_rows<TOGETHER>(index + q - TOGETHER, value + q - TOGETHER, vectors(error), back);
            for (; q > 0; --q) learn_rows<1>(index + q - 1, value + q - 1, vectors(error), back);
        } else {
            for (int q = 0; q < count; ++q) learn_row(index[q], value + q * BATCH, error, back);
        }
        if (L::SLEEP != DENSE && mode != STILL) {
            const int64_t from = awake_from(now + 1);
            for (int q = 0; q < count; ++q) awake[index[q]] = from;
        }
    }

    // All rows, those that were not read with input zero: where every row moves in every step.
    int spread(int count, int* index, Real* value) const {
        std::memcpy(scaled, value, count * BATCH * sizeof(Real));
        std::memset(value, 0, L::IN * BATCH * sizeof(Real));
        for (int q = 0; q < count; ++q)
            for (int b = 0; b < BATCH; ++b) value[index[q] * BATCH + b] = scaled[q * BATCH + b];
        for (int row = 0; row < L::IN; ++row) index[row] = row;
        return L::IN;
    }

    void settle(int64_t now) const {
        if (L::SLEEP == DENSE || mode == STILL) return;
        for (int row = 0; row < L::IN; ++row) {
            wake(row, now);
            awake[row] = now;
        }
    }
};

}  // namespace
