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

// The events that step `now` counted, with what they touch awake.
[[maybe_unused]] void happen(const Member& m, char* scratch, @given@, int64_t now) {
    [[maybe_unused]] bool anew = false;  // the sums of |w|
    @noted@
    @events@
    @recount@
    @forget@
}

void train(const Member& m, char* scratch, @given@, const Real* x, const @target@* y, int64_t now) {
    @body@
}

}  // namespace

extern "C" {

// Trains up to `count` steps from `start`, x and y the member's own batches, strides in elements and bytes between
// steps; returns how many: it stops after a step that counted a rare event which is the caller's.
int64_t advance(const Member* member, char* scratch, const Real* x, const char* y, int64_t x_stride, int64_t y_bytes,
                int64_t count, int64_t start) {
    const Member& m = *member;
    @opening@
    @rows@
    @prepare@
    for (int64_t k = 0; k < count; ++k, x += x_stride, y += y_bytes) {
        train(m, scratch, @passed@, x, (const @target@*)y, start + k);
        if (@due@) @happen@
    }
    return count;
}

// The same from pictures: example b of step t is image shown[t][b], laid out as `lay_out` says.
int64_t advance_pictures(const Member* member, char* scratch, const uint8_t* images, const int64_t* labels,
                         const Real* shades, const int32_t* shown, const int32_t* places, int64_t count,
                         int64_t start) {
    const Member& m = *member;
    constexpr int INPUTS = @inputs@;
    @opening@
    @rows@
    @prepare@
    Real* const x = (Real*)(scratch + @picture@);
    @target@ y[BATCH];
    for (int64_t k = 0; k < count; ++k, shown += BATCH) {
        lay_out<BATCH, INPUTS>(x, images, shown, places, shades);
        for (int b = 0; b < BATCH; ++b) y[b] = @target@(labels[shown[b]]);
        if (k + 1 < count) fetch<INPUTS>(images + int64_t(shown[BATCH]) * INPUTS);
        train(m, scratch, @passed@, x, y, start + k);
        if (@due@) @happen@
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

// The sums of weights, from those before step `now`.
void count(const Member* member, char* scratch, int64_t now) {
    const Member& m = *member;
    @opening@
    @rows@
    @prepare@
    @count@
}
}
