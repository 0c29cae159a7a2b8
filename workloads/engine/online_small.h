// What emitted segments are made of: the names of lanes.h for one member, as plain numbers, whose loops the compiler
// turns into vectors by itself.

typedef float f32v;
typedef double f64v;
typedef int32_t i32v;
typedef int64_t i64v;
typedef int32_t maskv;  // -1 for true, 0 for false

static inline f32v f32_all(float x) { return x; }
static inline f64v f64_all(double x) { return x; }
static inline i32v i32_all(int32_t x) { return x; }
static inline i64v i64_all(int64_t x) { return x; }
static inline maskv mask_all(int32_t x) { return x; }

template <class V> static inline f32v to_f32(V x) { return f32v(x); }
template <class V> static inline f64v to_f64(V x) { return f64v(x); }
template <class V> static inline i32v to_i32(V x) { return i32v(x); }
template <class V> static inline i64v to_i64(V x) { return i64v(x); }
static inline f32v f32_of_truth(maskv x) { return f32v(-x); }
static inline f64v f64_of_truth(maskv x) { return f64v(-x); }
static inline i32v i32_of_truth(maskv x) { return -x; }
static inline i64v i64_of_truth(maskv x) { return -x; }
static inline maskv truth(bool x) { return -maskv(x); }

template <class V> static inline V chosen(maskv m, V a, V b) { return m ? a : b; }
template <class V> static inline V squared(V x) { return x * x; }
// As torch: NaN wins.
template <class V> static inline V larger(V a, V b) { return a > b || a != a ? a : b; }
template <class V> static inline V smaller(V a, V b) { return a < b || a != a ? a : b; }
template <class V> static inline V positive_part(V x) { return x <= 0 ? V(0) : x; }
template <class V> static inline V absolute(V x) { return std::fabs(x); }
static inline i32v absolute(i32v x) { return x < 0 ? -x : x; }
static inline i64v absolute(i64v x) { return x < 0 ? -x : x; }
template <class V> static inline V signum(V x) { return V(x > 0) - V(x < 0); }

template <class V> static inline V exponential(V x) { return std::exp(x); }
template <class V> static inline V exponential_minus_one(V x) { return std::expm1(x); }
// As in lanes.h: without a branch, so that a loop of them becomes vectors.
static inline f32v exponential_minus_one(f32v x) {
  const f32v clipped = x > 89.0f ? 89.0f : x < -87.0f ? -87.0f : x;
  const f32v whole = (clipped * 1.44269504088896341f + 12582912.0f) - 12582912.0f;
  const f32v r = (clipped - whole * 0.693359375f) + whole * 2.12194440e-4f;
  f32v p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const f32v scale = __builtin_bit_cast(f32v, (i32v(whole) + 126) << 23);
  const f32v y = 2.0f * (scale * (p * (r * r) + r) + (scale - 0.5f));
  return x != x ? x : y;
}
template <class V> static inline V logarithm(V x) { return std::log(x); }
template <class V> static inline V hyperbolic_tangent(V x) { return std::tanh(x); }
template <class V> static inline V sine(V x) { return std::sin(x); }
template <class V> static inline V cosine(V x) { return std::cos(x); }
template <class V> static inline V root(V x) { return std::sqrt(x); }
template <class V> static inline V rounded_down(V x) { return std::floor(x); }
template <class V> static inline V logistic(V x) { return 1 / (1 + std::exp(-x)); }

template <int COUNT, class V>
static inline void draw_uniform(V* to, i64v seed, i64v step, uint32_t what, i64v offset) {
  const philox::Key key{uint32_t(seed), what};
  if (offset == 0) {
    alignas(64) static thread_local uint32_t words[COUNT + 3];
    philox::words(words, COUNT, uint64_t(step), key);
    for (int i = 0; i < COUNT; ++i) to[i] = V(words[i] >> 8) * V(0x1p-24);
  } else {
    for (int i = 0; i < COUNT; ++i) to[i] = V(philox::uniform(i, COUNT, uint64_t(step), key, offset));
  }
}

template <int COUNT, class V>
static inline void draw_normal(V* to, i64v seed, i64v step, uint32_t what, i64v offset) {
  constexpr int half = (COUNT + 1) / 2;
  const philox::Key key{uint32_t(seed), what};
  for (int i = 0; i < half; ++i) {
    const double radius = std::sqrt(-2.0 * std::log(((philox::word(i, 2 * half, step, key, offset) >> 8) + 1) * 0x1p-24));
    const double angle = (2.0 * M_PI * 0x1p-24) * (philox::word(half + i, 2 * half, step, key, offset) >> 8);
    to[i] = V(radius * std::cos(angle));
    if (half + i < COUNT) to[half + i] = V(radius * std::sin(angle));
  }
}
