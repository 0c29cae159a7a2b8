// All steps of a call for one member. What stands between two @ is filled in by online_text.py.

namespace {

inline bool some(const int32_t* due, int count) {
    for (int k = 0; k < count; ++k)
        if (due[k] > 0) return true;
    return false;
}

template <int OUT> inline void narrowed(Real* to, const Real* from) {
    for (int b = 0; b < BATCH; ++b) std::memcpy(to + b * OUT, from + b * padded(OUT), OUT * sizeof(Real));
}

template <int OUT> inline void widened(Real* to, const Real* from) {  // the padding was zero and stays so
    for (int b = 0; b < BATCH; ++b) std::memcpy(to + b * padded(OUT), from + b * OUT, OUT * sizeof(Real));
}

void train(const Member& m, char* scratch, @given@, const Real* x, const @target@* y, int64_t now) {
    @body@
}

}  // namespace

extern "C" {

int64_t scratch_bytes() { return @scratch@; }

// Trains up to `count` steps from `start`, x and y the member's own batches, strides in elements and bytes between
// steps; returns how many: it stops after a step that counted a rare event.
int64_t advance(const Member* member, char* scratch, const Real* x, const char* y, int64_t x_stride, int64_t y_bytes,
                int64_t count, int64_t start) {
    const Member& m = *member;
    @opening@
    @rows@
    @prepare@
    for (int64_t k = 0; k < count; ++k, x += x_stride, y += y_bytes) {
        train(m, scratch, @passed@, x, (const @target@*)y, start + k);
        if (@due@) return k + 1;
    }
    return count;
}

// The same from pictures: example b of step t is image shown[t][b], whose byte i is input places[i], of the value that
// `shades` has for it. Eight dark bytes, whose value must be 0, cost one look.
int64_t advance_pictures(const Member* member, char* scratch, const uint8_t* images, const int64_t* labels,
                         const Real* shades, const int32_t* shown, const int32_t* places, int64_t count,
                         int64_t start) {
    const Member& m = *member;
    constexpr int INPUTS = @inputs@, WHOLE = INPUTS / 8 * 8;
    @opening@
    @rows@
    @prepare@
    Real* const x = (Real*)(scratch + @picture@);
    @target@ y[BATCH];
    for (int64_t k = 0; k < count; ++k, shown += BATCH) {
        std::memset(x, 0, BATCH * INPUTS * sizeof(Real));
        for (int b = 0; b < BATCH; ++b) {
            const uint8_t* image = images + int64_t(shown[b]) * INPUTS;
            const auto show = [&](int i) { x[b * INPUTS + places[i]] = shades[image[i]]; };
            for (int i = 0; i < WHOLE; i += 8) {
                uint64_t eight;
                std::memcpy(&eight, image + i, 8);
                if (eight)
                    for (int j = 0; j < 8; ++j) show(i + j);
            }
            for (int i = WHOLE; i < INPUTS; ++i) show(i);
            y[b] = @target@(labels[shown[b]]);
        }
        if (k + 1 < count)  // where the next one lies nobody could guess
            for (int line = 0; line < INPUTS; line += 64)
                __builtin_prefetch(images + int64_t(shown[BATCH]) * INPUTS + line);
        train(m, scratch, @passed@, x, y, start + k);
        if (@due@) return k + 1;
    }
    return count;
}

// All that rows owe before step `now` is paid, in place.
void settle(const Member* member, char* scratch, int64_t now) {
    const Member& m = *member;
    @opening@
    @rows@
    @prepare@
    @settle@
}
}
