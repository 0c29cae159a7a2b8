// One multilayer perceptron trained online: all steps of a call, in one thread, on state that stays in these buffers.
//
// For Adam and its kin, whose moments move every weight in every step (see online_adam.h), for UPGD (online_upgd.h), and
// for descent with noise on every weight in every step (online_noise.h). Descent without noise is online_traced.h's.
//
// Weights lie [in][out]. A row whose input is zero (a dark pixel, a unit silent under relu) adds nothing forward, gets
// no gradient backward and is not changed by the step: it is not read. What would change it all the same, weight decay
// and noise, is owed: the row notes the step it is at, and noise is paid for when it is next read. Decay stays owed for
// longer where there is no noise, as a factor of the row: a weak one, taken step by step in single precision, would be
// lost in rounding. Of a row that is read, the backward product and the update are one pass.
//
// workloads/engine/online_source.py puts this text together: constants (sizes, loss, activation, way of learning),
// philox.h, online_rows.h, online_descent.h, online_products.h, online.h, online_noise.h, online_units.h, online_adam.h,
// lanes.h, online_upgd.h, and this.

namespace {

// ---- forward ----

// Activation in place, and its derivative there; at the kinks as torch has it.
template <int C, int KIND = ACTIVATION>
inline void activate(Real* z, Real* slope) {
    constexpr Real ALPHA = 1.6732632423543772848170429916717, SCALE = 1.0507009873554804934193349852946;
    if constexpr (KIND == RELU) {
        for (int i = 0; i < BATCH * C; ++i) z[i] = z[i] < 0 ? Real(0) : z[i];  // NaN stays NaN
    } else {
        for (int i = 0; i < BATCH * C; ++i) {
            const Real x = z[i];
            Real y = x, d = 1;
            if constexpr (KIND == LEAKY_RELU) {
                d = x > 0 ? Real(1) : Real(LEAKY_SLOPE);
                y = x * d;
            } else if constexpr (KIND == TANH) {
                y = std::tanh(x);
                d = 1 - y * y;
            } else if constexpr (KIND == SIGMOID) {
                y = 1 / (1 + std::exp(-x));
                d = y * (1 - y);
            } else if constexpr (KIND == SWISH) {
                const Real s = 1 / (1 + std::exp(-x));
                y = x * s;
                d = s * (1 + x * (1 - s));
            } else if constexpr (KIND == ELU) {
                y = x <= 0 ? std::expm1(x) : x;
                d = x <= 0 ? std::exp(x) : Real(1);
            } else if constexpr (KIND == SELU) {
                y = SCALE * (x <= 0 ? ALPHA * std::expm1(x) : x);
                d = SCALE * (x <= 0 ? ALPHA * std::exp(x) : Real(1));
            } else {
                static_assert(KIND == LINEAR, "an activation that this kernel does not know");
            }
            z[i] = y;
            slope[i] = d;
        }
    }
}

// Loss and its derivative by the outputs, and whether the largest output is the right one; means over the batch.
inline void judge(const Real* output, const void* target, Real* error, double& loss, double& correct) {
    Real total = 0, right = 0;
    for (int b = 0; b < BATCH; ++b) {
        const Real* o = output + b * ENDS;
        Real* e = error + b * ENDS;
        if constexpr (CROSS_ENTROPY) {
            const int64_t wanted = ((const int64_t*)target)[b];
            Real most = o[0], scale = 0, own = 0;
            int best = 0;
            for (int i = 1; i < OUTPUTS; ++i)
                if (o[i] > most || (o[i] != o[i] && most == most)) most = o[i], best = i;  // NaN is the largest
            for (int i = 0; i < OUTPUTS; ++i) scale += e[i] = std::exp(o[i] - most);
            const bool known = wanted >= 0 && wanted < OUTPUTS;
            if (known) own = (o[wanted] - most) - std::log(scale);
            for (int i = 0; i < OUTPUTS; ++i) e[i] = known ? (e[i] / scale - Real(i == wanted)) / BATCH : Real(0);
            total += -own;
            right += best == wanted;
        } else {
            const Real* t = (const Real*)target + b * OUTPUTS;
            Real own = 0;
            for (int i = 0; i < OUTPUTS; ++i) {
                const Real off = o[i] - t[i];
                own += off * off;
                e[i] = 2 * off / BATCH;
            }
            total += own;
        }
    }
    loss += double(total / BATCH);
    correct += double(right / BATCH);
}

// ---- backward and update ----

// A decay that leaves less than LEAST of a weight in one step cannot stay owed: its rows are changed after `learn`.
template <int C>
void decay_and_learn(const Step& s, int l) {
    Work& w = s.work;
    for (int q = 0; q < w.count[l]; ++q) {
        const int row = w.index[l][q];
        for (int v = 0; v < C / LANES; ++v) {
            Vec& weight = vectors(s.m.weights[l] + int64_t(row) * C)[v];
            weight *= Real(s.keep);
            for (int b = 0; b < BATCH; ++b)
                weight -= Real(s.m.step_size) * w.value[l][q * BATCH + b] * vectors(w.error[l + 1] + b * C)[v];
        }
        s.m.awake[l][row] = s.now + 1;
    }
}

template <int C>
void descend(const Step& s, int l) {
    Work& w = s.work;
    Member& m = s.m;
    const Real step_size = Real(m.step_size);
    const int count = w.count[l];
    const bool decays = s.keep != 1, at_once = std::fabs(s.keep) < LEAST;
    for (int q = 0; q < count; ++q) w.after[q] = 1;
    if (decays && !at_once) {
        for (int q = 0; q < count; ++q) {
            const int asleep = int(s.now - m.awake[l][w.index[l][q]]);
            w.after[q] = w.stored_after[asleep];
            const Real gain = w.stored_gain[asleep];
            for (int b = 0; b < BATCH; ++b) w.scaled[q * BATCH + b] = gain * w.value[l][q * BATCH + b];
        }
    } else {
        const Real gain = at_once ? Real(0) : step_size;
        for (int i = 0; i < count * BATCH; ++i) w.scaled[i] = gain * w.value[l][i];
    }
    const auto run = [&](auto below) {  // the padded width of the layer below; 0: there is none
        constexpr int NEXT = decltype(below)::value;
        constexpr bool BACK = NEXT > 0;
        constexpr auto pass = BATCH == 1 ? learn<C, BACK, false, false> : learn_batch<C, NEXT, BACK, false, false>;
        pass(m.weights[l], count, w.index[l], w.scaled, w.after, w.times[l], w.error[l + 1], w.error[l], nullptr,
             nullptr);
    };
    if (l == 0)
        run(std::integral_constant<int, 0>());
    else
        with_width(l - 1, run);
    if (at_once) decay_and_learn<C>(s, l);
    if constexpr (BIASES) {
        const Real rate = s.lost(1);
        for (int v = 0; v < C / LANES; ++v) {
            Vec& bias = vectors(m.biases[l])[v];
            const Vec moved = step_size * bias_gradient<C>(w.error[l + 1], v);
            if (decays) {  // biases are few: what rounding took of a change is added to the next
                const Vec old = bias, change = rate * old + moved + vectors(m.rests[l])[v];
                bias = old - change;
                vectors(m.rests[l])[v] = (bias - old) + change;
            } else {
                bias -= moved;
            }
        }
    }
}

// ---- one step ----

static_assert(!UNITS || DENSE, "rows that sleep beside units that are replaced");

void train(const Step& s, const Real* x, const void* y) {
    Work& w = s.work;
    Member& m = s.m;
    const bool decays = s.keep != 1;
    for (int l = 0; l < LAYERS; ++l) {
        const Real* input = l ? w.hidden[l] : x;
        const int count = active(input, l ? columns_of(l - 1) : INPUTS, rows_of(l), l && !SILENT, w.index[l], w.value[l]);
        w.count[l] = count;
        with_width(l, [&](auto width) {
            constexpr int C = decltype(width)::value;
            if (LAZY && s.noisy)
                for (int q = 0; q < count; ++q) wake<C>(s, l, w.index[l][q]);
            if constexpr (SLEEPS)
                for (int q = 0; q < count; ++q) catch_up<C>(s, l, w.index[l][q]);
            const Real* value = w.value[l];
            for (int q = 0; q < count; ++q) w.times[l][q] = 1;
            if (decays && !(LAZY && s.noisy)) {
                for (int q = 0; q < count; ++q) {
                    w.times[l][q] = w.stored[rouse<C>(s, l, w.index[l][q])];
                    for (int b = 0; b < BATCH; ++b) w.scaled[q * BATCH + b] = w.times[l][q] * value[q * BATCH + b];
                }
                value = w.scaled;
            }
            for (int b = 0; b < BATCH; ++b) {
                if (BIASES)
                    std::memcpy(w.hidden[l + 1] + b * C, m.biases[l], C * sizeof(Real));
                else
                    std::memset(w.hidden[l + 1] + b * C, 0, C * sizeof(Real));
            }
            gather<C>(m.weights[l], count, w.index[l], value, w.hidden[l + 1]);
            if (l < DEPTH) activate<C>(w.hidden[l + 1], w.slope[l + 1]);
        });
    }
    std::memset(w.error[LAYERS], 0, BATCH * ENDS * sizeof(Real));
    judge(w.hidden[LAYERS], y, w.error[LAYERS], *m.loss, *m.correct);
    [[maybe_unused]] Vec most = {};  // UPGD's largest utility, where any is positive
    for (int l = DEPTH; l >= 0; --l) {
        const int below = l ? BATCH * columns_of(l - 1) : 0;
        if (l > 0) std::memset(w.error[l], 0, below * sizeof(Real));
        with_width(l, [&](auto width) {
            if constexpr (ADAM)
                adapt<decltype(width)::value>(s, l);
            else if constexpr (UPGD)
                weigh_layer<decltype(width)::value>(s, l, most);
            else
                descend<decltype(width)::value>(s, l);
        });
        if (l == 0) break;
        // A relu row that was read has slope 1, except in examples of a batch where it is silent itself.
        if (!SILENT)
            for (int i = 0; i < below; ++i) w.error[l][i] *= w.slope[l][i];
        else if (BATCH > 1)
            for (int i = 0; i < below; ++i) w.error[l][i] = w.hidden[l][i] <= 0 ? Real(0) : w.error[l][i];
    }
    if constexpr (UPGD) {
        const Real inverse = inverse_of(most);
        for (int l = 0; l < LAYERS; ++l)
            with_width(l, [&](auto width) { move_layer<decltype(width)::value>(s, l, inverse); });
    }
    if (NOISE && s.noisy) perturb(s);
    if constexpr (UNITS) {
        recount(s.later());
        renew(s);
    }
}

// What a call needs before its first step, `now`.
Step begun(Member& m, const Shared& shared, Work& work, int64_t now) {
    const Step step{m, shared, work, ADAM || UPGD ? 1.0 : 1 - m.step_size * m.decay, m.noise != 0, now};
    fill_tables(step);
    if constexpr (SLEEPS)
        for (int n = 0; n <= PIECE; ++n) work.piece_after[n] = -1;
    return step;
}

}  // namespace

extern "C" {

int64_t scratch_bytes() { return Work(nullptr).size; }

// Trains `count` steps from `start`: x and y are the member's own batches, strides in elements between steps.
void advance(Member* m, const Shared* shared, const Real* x, const char* y, int64_t x_stride, int64_t y_bytes,
             int64_t count, int64_t start) {
    Work work(shared->scratch);
    Step step = begun(*m, *shared, work, start);
    for (; step.now < start + count; ++step.now, x += x_stride, y += y_bytes) train(step, x, y);
}

// The same from pictures: example b of step t is image shown[t][b], laid out as `lay_out` says.
void advance_pictures(Member* m, const Shared* shared, const uint8_t* images, const int64_t* labels,
                      const Real* shades, const int32_t* shown, const int32_t* places, int64_t count, int64_t start) {
    Work work(shared->scratch);
    Step step = begun(*m, *shared, work, start);
    Real* const x = work.picture;
    int64_t y[BATCH];
    for (; step.now < start + count; ++step.now, shown += BATCH) {
        lay_out<BATCH, INPUTS>(x, images, shown, places, shades);
        for (int b = 0; b < BATCH; ++b) y[b] = labels[shown[b]];
        if (step.now + 1 < start + count) fetch<INPUTS>(images + int64_t(shown[BATCH]) * INPUTS);
        train(step, x, y);
    }
}

// All weights as they are before step `now`, into out[layer], laid out as the member's own; changes nothing. Adam's
// moments too, into first[layer] and second[layer].
void settle(Member* m, const Shared* shared, Real** out, Real** first, Real** second, int64_t now) {
    Work work(shared->scratch);
    const Step step = begun(*m, *shared, work, now);
    for (int l = 0; l < LAYERS; ++l)
        with_width(l, [&](auto width) {
            constexpr int C = decltype(width)::value;
            for (int j = 0; j < rows_of(l); ++j) {
                const int64_t at = int64_t(j) * C;
                if constexpr (SLEEPS) {
                    std::memcpy(out[l] + at, m->weights[l] + at, C * sizeof(Real));
                    std::memcpy(first[l] + at, m->first[l] + at, C * sizeof(Real));
                    std::memcpy(second[l] + at, m->second[l] + at, C * sizeof(Real));
                    slept<C>(step, m->column_steps[l][0], now - m->awake[l][j], out[l] + at, first[l] + at,
                             second[l] + at);
                } else
                    settled<C>(step, l, j, m->weights[l] + at, out[l] + at);
            }
        });
}
}
