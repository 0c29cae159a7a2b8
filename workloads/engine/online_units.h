// Continual backprop: sums of |w|, utilities of units, and their replacement (methods/continual_backprop.py).

namespace {

// The sums of |w|, of the weights before step `s.now`: every one has changed in the step before.
void recount(const Step& s) {
    for (int l = 0; l < LAYERS; ++l)
        with_width(l, [&](auto width) {
            const auto times = [&](int row) { return s.power(s.now - s.m.awake[l][row]); };
            double *columns = l < DEPTH ? s.work.columns[l] : nullptr, *rows = l > 0 ? s.work.rows[l] : nullptr;
            constexpr int C = decltype(width)::value;
            add_magnitudes<C, BY_INPUT, BY_OUTPUT>(s.m.weights[l], rows_of(l), times, columns, rows);
        });
}

inline Real unit_correction(const Shared& shared, Real age) {
    return corrected(shared.unit_table, shared.unit_entries, UTILITY_DECAY, age);
}

// The eligible unit of least utility; NaN is least, as for torch's argmin.
int least_useful(const Step& s, int site) {
    int least = 0;
    Real lowest = INFINITY;
    const int units = units_of(site);
    for (int i = 0; i < units; ++i) {
        if (!(s.m.age[site][i] > Real(s.m.maturity_threshold))) continue;
        Real rank;
        if (UTILITY == RANDOM)
            rank = Real(philox::uniform(i, units, s.now, {uint32_t(s.m.seed), RANDOM_CODES[site]}));
        else
            rank = s.m.utility[site][i] / unit_correction(s.shared, s.m.age[site][i]);
        if (rank != rank) return i;
        if (rank < lowest) lowest = rank, least = i;
    }
    return least;
}

// One unit of a hidden layer is replaced by a fresh one, after step `s.now`.
void replace(const Step& s, int site) {
    Member& m = s.m;
    const Step next = s.later();
    const int unit = least_useful(s, site), above = site + 1, rows = rows_of(site);
    with_width(above, [&](auto width) {
        constexpr int C = decltype(width)::value;
        if (s.keep != 1) wake<C>(next, above, unit);
        Real* outgoing = m.weights[above] + int64_t(unit) * C;
        if (TRANSFER && BIASES) {
            const Real centre = m.mean[site][unit] / unit_correction(s.shared, m.age[site][unit]);
            for (int i = 0; i < units_of(above); ++i) m.biases[above][i] += outgoing[i] * centre;
        }
        std::memset(outgoing, 0, C * sizeof(Real));
        if (RESETS) {
            std::memset(m.first[above] + int64_t(unit) * C, 0, C * sizeof(Real));
            if (ADAM) std::memset(m.second[above] + int64_t(unit) * C, 0, C * sizeof(Real));
            m.row_steps[above][unit] = 0;
        }
    });
    with_width(site, [&](auto width) {
        constexpr int C = decltype(width)::value;
        for (int j = 0; j < rows; ++j) {
            const Real times = s.keep == 1 ? Real(1) : s.work.stored[rouse<C>(next, site, j)];
            const Real drawn = Real(philox::uniform(j, rows, s.now, {uint32_t(m.seed), REINIT_CODES[site]}, unit));
            const Real fresh = Real(REINIT_BOUNDS[site]) * (2 * drawn - 1);
            Real* row = m.weights[site] + int64_t(j) * C;
            row[unit] = fresh / times;
            for (int i = units_of(site); i < C; ++i) row[i] = 0;  // where a NaN may have got in
            if (RESETS) m.first[site][int64_t(j) * C + unit] = 0;
            if (ADAM && RESETS) m.second[site][int64_t(j) * C + unit] = 0;
        }
    });
    if (BIASES) m.biases[site][unit] = m.rests[site][unit] = 0;
    if (RESETS) {
        m.column_steps[site][unit] = 0;
        if (BIASES) m.bias_first[site][unit] = m.bias_steps[site][unit] = 0;
        if (BIASES && ADAM) m.bias_second[site][unit] = 0;
    }
    m.utility[site][unit] = m.mean[site][unit] = m.age[site][unit] = 0;
    ++*m.replaced;
}

// Continual backprop: ages, means and utilities advance, and units that are due are replaced.
void renew(const Step& s) {
    Member& m = s.m;
    constexpr Real KEEP = UTILITY_DECAY, NEW = 1 - UTILITY_DECAY;
    const Shared& shared = s.shared;
    const int last = int(shared.unit_entries) - 1;
    const bool whole = shared.unit_table[last] == Real(1);
    int due[DEPTH + 1];
    for (int site = 0; site < DEPTH; ++site) {
        const Real* __restrict h = s.work.hidden[site + 1];
        Real* __restrict age = m.age[site];
        Real* __restrict mean = m.mean[site];
        Real* __restrict utility = m.utility[site];
        Real* __restrict correction = s.work.correction;
        const Real* __restrict table = shared.unit_table;
        const double* __restrict columns = s.work.columns[site];
        const double* __restrict rows = s.work.rows[site + 1];
        const Real limit = Real(m.maturity_threshold);
        const Real fan_in = rows_of(site), fan_out = units_of(site + 1);
        const int units = units_of(site), wide = columns_of(site);
        int eligible = 0;
        for (int i = 0; i < units; ++i) {
            age[i] += 1;
            eligible += age[i] > limit;
        }
        if (whole)
            for (int i = 0; i < units; ++i) correction[i] = table[age[i] < last ? int(age[i]) : last];
        else
            for (int i = 0; i < units; ++i) correction[i] = unit_correction(shared, age[i]);
        for (int i = 0; i < units; ++i) {
            Real average = h[i], size = std::fabs(h[i]);
            for (int b = 1; b < BATCH; ++b) {
                average += h[b * wide + i];
                size += std::fabs(h[b * wide + i]);
            }
            const Real running = KEEP * mean[i] + NEW * (average / BATCH);
            const Real centre = running / correction[i];
            Real deviation = 0;
            for (int b = 0; b < BATCH; ++b) deviation += std::fabs(h[b * wide + i] - centre);
            deviation /= BATCH;
            size /= BATCH;
            Real incoming = 1, outgoing = 1, y = 0;
            if (BY_INPUT) incoming = Real(columns[i]) / fan_in;
            if (BY_OUTPUT) outgoing = Real(rows[i]) / fan_out;
            if (UTILITY == WEIGHT) y = outgoing;
            if (UTILITY == CONTRIBUTION) y = outgoing * size;
            if (UTILITY == ADAPTATION) y = 1 / incoming;
            if (UTILITY == ZERO_CONTRIBUTION) y = outgoing * deviation;
            if (UTILITY == ADAPTABLE_CONTRIBUTION) y = outgoing * deviation / incoming;
            if (UTILITY == FEATURE_BY_INPUT) y = deviation / incoming;
            static_assert(!UNITS || UTILITY <= RANDOM, "a utility that this kernel does not know");
            mean[i] = running;
            utility[i] = KEEP * utility[i] + NEW * y;
        }
        const double expected = m.replacement_rate * eligible;
        if (ACCUMULATE) {
            const double counter = m.counter[site] + expected;
            due[site] = int(std::floor(counter));
            m.counter[site] = counter - std::floor(counter);
        } else if (expected < 1) {
            const philox::Key key{uint32_t(m.seed), REPLACE_CODE};
            due[site] = expected > 0 && philox::uniform(site, DEPTH, s.now, key) < expected;
        } else {
            due[site] = int(std::floor(expected));
        }
    }
    for (int site = 0; site < DEPTH; ++site)
        for (int n = 0; n < due[site]; ++n) replace(s, site);
}

}  // namespace
