// What the parts of the online kernel share: one member's buffers, the scratch memory, the step at hand.

namespace {

constexpr int LAYERS = DEPTH + 1;
constexpr int TABLE = 1024;      // powers of the decay kept in a table

constexpr int ENDS = padded(OUTPUTS);

constexpr int largest_size(int first, int last) {
    int most = 1;
    for (int l = first; l <= last; ++l) most = larger(most, SIZES[l]);
    return most;
}

constexpr int ROWS = largest_size(0, DEPTH), COLUMNS = padded(largest_size(1, LAYERS));

// Where zero output means zero slope, a silent unit needs no backward product.
constexpr bool SILENT = ACTIVATION == RELU;
constexpr bool DENSE_NOISE = NOISE && !LAZY;
constexpr bool DENSE = ADAM || UPGD || DENSE_NOISE;  // every weight changes in every step
constexpr bool DRAWS = UPGD || DENSE_NOISE;  // a number for every weight in every step
// Which sums of |w| the utility asks for.
constexpr bool BOTH = UTILITY == ADAPTABLE_CONTRIBUTION;
constexpr bool BY_INPUT = UNITS && (BOTH || UTILITY == ADAPTATION || UTILITY == FEATURE_BY_INPUT);
constexpr bool BY_OUTPUT =
    UNITS && (BOTH || UTILITY == WEIGHT || UTILITY == CONTRIBUTION || UTILITY == ZERO_CONTRIBUTION);

// Where only a row's own gradient and moments move it, Adam lets rows without gradient sleep (see online_adam.h).
constexpr int PIECE = ADAM && BETA2 < 1 ? int(std::fmin(32, 0.0325 / (1 - BETA2))) : 0;  // steps paid for at once
constexpr bool SLEEPS = ADAM && !UNITS && !NOISE && PIECE >= 8;
constexpr Real WARM = BETA2 < 1 ? Real(1 / (1 - BETA2)) : Real(0);  // steps of a layer before its rows may sleep
constexpr int PIECES = 64;             // of one long sleep, at a time
constexpr int TERMS = FLOAT ? 5 : 9;

// What some steps without gradient do to a number.
struct Piece {
    Real scale, mean, square, lost, term[TERMS];
};

}  // namespace

// One member, as online.py lays it out.
struct Member {
    Real* weights[LAYERS];       // [in][padded out]
    Real* biases[LAYERS];        // [padded out]
    Real* rests[LAYERS];         // per bias: what rounding has kept from it so far
    int64_t* awake[LAYERS];      // per row: the step before which all decay is in it
    int64_t* quiet[LAYERS];      // per row: the step before which all noise is in it
    Real* utility[LAYERS];       // per unit
    Real* mean[LAYERS];          // per unit
    Real* age[LAYERS];           // per unit
    Real* first[LAYERS];         // Adam's moments of the weights, or UPGD's utilities
    Real* second[LAYERS];
    Real* bias_first[LAYERS];    // and of the biases
    Real* bias_second[LAYERS];
    Real* row_steps[LAYERS];     // a weight's t is the smaller of its row's and its column's
    Real* column_steps[LAYERS];
    Real* bias_steps[LAYERS];
    double* counter;             // per hidden layer
    double* loss;
    double* correct;
    int64_t* replaced;           // units, of all layers
    double step_size, decay, weight_decay, noise, pull, replacement_rate, maturity_threshold, perturb_scale;
    int64_t seed;
};

// What all members share: 1 - decay^t for t = 0, 1, ..., up to where it is 1 (or too long: then it is computed).
struct Shared {
    const Real* unit_table;
    const Real* first_table;
    const Real* second_table;
    int64_t unit_entries, first_entries, second_entries;
    char* scratch;
};

namespace {

inline Real corrected(const Real* table, int64_t entries, double decay, Real steps) {
    if (steps < Real(entries)) return table[int64_t(steps)];
    if (table[entries - 1] == Real(1)) return Real(1);
    return -std::expm1(steps * Real(std::log(decay)));
}

// Calls function(integral_constant<padded width of the layer's output>) so that loops over a row have a fixed length.
template <int FIRST = 0, typename Function>
inline void with_width(int layer, Function function) {
    if constexpr (FIRST < DEPTH) {
        if (layer > FIRST) return with_width<FIRST + 1>(layer, function);
    }
    function(std::integral_constant<int, padded(SIZES[FIRST + 1])>());
}

inline int rows_of(int layer) { return SIZES[layer]; }
inline int units_of(int layer) { return SIZES[layer + 1]; }
inline int columns_of(int layer) { return padded(SIZES[layer + 1]); }

// Everything a step works on, laid out in the scratch memory.
struct Work {
    int* index[LAYERS];      // rows that are read
    int count[LAYERS];
    Real* value[LAYERS];     // their inputs, [row][B]
    Real* hidden[LAYERS + 1];  // output of the layer before, [B][columns]; the last is the network's
    Real* slope[LAYERS + 1];   // derivative of the activation there, [B][columns]
    Real* error[LAYERS + 1];   // derivative of the loss by what goes into the activation, [B][columns]
    Real* times[LAYERS];     // what a row's stored weights must be multiplied by to be those of now
    Real* scaled;            // value x times, or step size x value
    Real* after;             // the same after the step
    Real* lost;              // what steps without a gradient took of a row's weights, as a share
    double* columns[LAYERS];  // sums of |weights| into a unit
    double* rows[LAYERS];     // and out of a unit of the layer before
    Real* correction;        // per unit
    Real* first_row;         // reciprocal bias corrections, per row and per unit
    Real* second_row;
    Real* first_column;
    Real* second_column;
    double* power;           // decay^n
    double* spread;          // sum of decay^2i, i < n
    Real* stored;            // decay^n, n < LONGEST
    Real* stored_after;      // |decay^(n + 1)|
    Real* stored_gain;       // step size / decay^(n + 1)
    uint32_t* random;
    Real* normal;
    Real* gram;
    Real* transposed;
    Real* pulled;
    Real* picture;           // [B][inputs]
    Piece* piece;            // by how many steps it is
    Real* piece_after;       // how many steps the layer had taken before it; -1: not known yet
    Piece* pieces;           // of one long sleep
    int64_t size;

    explicit Work(char* at) {
        char* start = at;
        const auto take = [&at](auto*& place, int64_t count) {
            place = (typename std::remove_reference<decltype(place)>::type)at;
            at += (count * sizeof(*place) + 63) / 64 * 64;
        };
        const int64_t largest = int64_t(ROWS) * COLUMNS;
        for (int l = 0; l < LAYERS; ++l) {
            take(index[l], ROWS + LANES);  // whole vectors are written at their end
            take(value[l], int64_t(ROWS + LANES) * BATCH);
            take(times[l], ROWS + 1);
            take(columns[l], UNITS ? COLUMNS : 0);
            take(rows[l], UNITS ? ROWS : 0);
        }
        for (int l = 0; l <= LAYERS; ++l) {
            take(hidden[l], BATCH * COLUMNS);
            take(slope[l], BATCH * COLUMNS);
            take(error[l], BATCH * COLUMNS);
        }
        take(scaled, int64_t(ROWS + 1) * BATCH);
        take(after, ROWS + 1);
        take(lost, ROWS + 1);
        take(correction, COLUMNS);
        take(first_row, ADAM ? ROWS : 0);
        take(second_row, ADAM ? ROWS : 0);
        take(first_column, COLUMNS);
        take(second_column, COLUMNS);
        take(power, TABLE);
        take(spread, TABLE);
        take(stored, LONGEST);
        take(stored_after, LONGEST);
        take(stored_gain, LONGEST);
        take(random, DRAWS ? largest + 64 : 0);
        take(normal, DRAWS ? largest + 64 : 0);
        take(gram, ISOMETRY ? int64_t(padded(ROWS)) * padded(ROWS) : 0);
        take(transposed, ISOMETRY ? int64_t(COLUMNS) * padded(ROWS) : 0);
        take(pulled, ISOMETRY ? largest : 0);
        take(picture, int64_t(BATCH) * INPUTS);
        take(piece, SLEEPS ? PIECE + 1 : 0);
        take(piece_after, SLEEPS ? PIECE + 1 : 0);
        take(pieces, SLEEPS ? PIECES : 0);
        size = at - start;
    }
};

struct Step {
    Member& m;
    const Shared& shared;
    Work& work;
    double keep;  // what a step leaves of a weight that has no gradient
    bool noisy;
    int64_t now;

    double power(int64_t n) const {
        if (keep == 1) return 1;
        return n < TABLE ? work.power[n] : std::pow(keep, double(n));
    }

    // What n steps without a gradient take of a weight, as a share: in single precision 1 - 3e-8 is 1 or 1 - 6e-8, but
    // 3e-8 is itself.
    Real lost(int64_t n) const { return Real(1 - power(n)); }

    Step later() const { return {m, shared, work, keep, noisy, now + 1}; }

    double spread(int64_t n) const {
        if (n < TABLE) return work.spread[n];
        return keep == 1 ? double(n) : (1 - std::pow(keep, 2.0 * n)) / (1 - keep * keep);
    }
};

void fill_tables(const Step& s) {
    double power = 1, spread = 0;
    for (int n = 0; n < TABLE; ++n) {
        s.work.power[n] = power;
        s.work.spread[n] = spread;
        spread += power * power;
        power *= s.keep;
    }
    for (int n = 0; n < LONGEST; ++n) {
        s.work.stored[n] = Real(s.work.power[n]);
        s.work.stored_after[n] = Real(std::fabs(s.work.power[n + 1]));
        s.work.stored_gain[n] = Real(s.m.step_size / s.work.power[n + 1]);
    }
}

// The gradient with respect to one bias vector.
template <int C>
inline Vec bias_gradient(const Real* error, int v) {
    Vec g = vectors(error)[v];
    for (int b = 1; b < BATCH; ++b) g += vectors(error + b * C)[v];
    return g;
}

}  // namespace
