// What emitted lane programs are made of: vectors of W members, one element each. Included twice, with W 16 for
// the steps and W 1 for rare events of one member (and, with W 8 or 16 weights of one row, in the online path's chains); STRIDE is the distance between two elements of one member.

typedef float f32v __attribute__((vector_size(4 * W)));
typedef double f64v __attribute__((vector_size(8 * W)));
typedef int32_t i32v __attribute__((vector_size(4 * W)));
typedef uint32_t u32v __attribute__((vector_size(4 * W)));
typedef int64_t i64v __attribute__((vector_size(8 * W)));
typedef uint64_t u64v __attribute__((vector_size(8 * W)));
typedef i32v maskv;  // -1 for true, 0 for false

// An array of the state: element k of these members.
template <class V> struct slot {
  char* base;
  inline V& operator[](long k) const { return *reinterpret_cast<V*>(base + k * STRIDE * (long)(sizeof(V) / W)); }
};

// Written out, since compilers know a broadcast by it.
#if W == 16
#define ALL(x) {x, x, x, x, x, x, x, x, x, x, x, x, x, x, x, x}
#elif W == 8
#define ALL(x) {x, x, x, x, x, x, x, x}
#else
#define ALL(x) {x}
#endif
static inline f32v f32_all(float x) { return f32v ALL(x); }
static inline f64v f64_all(double x) { return f64v ALL(x); }
static inline i32v i32_all(int32_t x) { return i32v ALL(x); }
static inline i64v i64_all(int64_t x) { return i64v ALL(x); }
static inline maskv mask_all(int32_t x) { return maskv ALL(x); }
static inline f32v all(float x) { return f32v ALL(x); }
static inline f64v all(double x) { return f64v ALL(x); }
static inline i64v all(int64_t x) { return i64v ALL(x); }

template <class V> static inline f32v to_f32(V x) { return __builtin_convertvector(x, f32v); }
template <class V> static inline f64v to_f64(V x) { return __builtin_convertvector(x, f64v); }
template <class V> static inline i32v to_i32(V x) { return __builtin_convertvector(x, i32v); }
template <class V> static inline i64v to_i64(V x) { return __builtin_convertvector(x, i64v); }
static inline f32v f32_of_truth(maskv x) { return __builtin_convertvector(-x, f32v); }
static inline f64v f64_of_truth(maskv x) { return __builtin_convertvector(-x, f64v); }
static inline i32v i32_of_truth(maskv x) { return -x; }
static inline i64v i64_of_truth(maskv x) { return __builtin_convertvector(-x, i64v); }
static inline maskv truth(i32v x) { return x; }
static inline maskv truth(i64v x) { return __builtin_convertvector(x, maskv); }

static inline f32v chosen(maskv m, f32v a, f32v b) { return m ? a : b; }
static inline i32v chosen(maskv m, i32v a, i32v b) { return m ? a : b; }
static inline f64v chosen(maskv m, f64v a, f64v b) { return __builtin_convertvector(m, i64v) ? a : b; }
static inline i64v chosen(maskv m, i64v a, i64v b) { return __builtin_convertvector(m, i64v) ? a : b; }

template <class V> static inline V squared(V x) { return x * x; }
// As torch: NaN wins.
template <class V> static inline V larger(V a, V b) { return chosen(truth(a > b) | truth(a != a), a, b); }
template <class V> static inline V smaller(V a, V b) { return chosen(truth(a < b) | truth(a != a), a, b); }
#if defined(__AVX512F__) && W == 16
static inline f32v larger(f32v a, f32v b) {
  const __m512 x = (__m512)a, y = (__m512)b;
  return (f32v)_mm512_mask_blend_ps(
      _mm512_cmp_ps_mask(x, y, _CMP_GT_OQ) | _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), y, x);
}
static inline f32v smaller(f32v a, f32v b) {
  const __m512 x = (__m512)a, y = (__m512)b;
  return (f32v)_mm512_mask_blend_ps(
      _mm512_cmp_ps_mask(x, y, _CMP_LT_OQ) | _mm512_cmp_ps_mask(x, x, _CMP_UNORD_Q), y, x);
}
#endif
template <class V> static inline V positive_part(V x) { return chosen(truth(x <= V{}), V{}, x); }
template <class V> static inline V absolute(V x) { return chosen(truth(x < V{}), -x, x); }
template <class V> static inline V signum(V x) {
  return chosen(truth(x > V{}), V{} + 1, chosen(truth(x < V{}), V{} - 1, V{}));  // as torch: 0 for NaN
}
static inline f32v absolute(f32v x) { return (f32v)((i32v)x & 0x7fffffff); }
static inline f64v absolute(f64v x) { return (f64v)((i64v)x & 0x7fffffffffffffffLL); }

// A function of the C library, lane by lane.
#define BY_LANE(how, name, V, S, call)                   \
  static how V name(V x) {                               \
    S a[W];                                              \
    memcpy(a, &x, sizeof x);                             \
    for (int l = 0; l < W; ++l) a[l] = call(a[l]);       \
    memcpy(&x, a, sizeof x);                             \
    return x;                                            \
  }
// In double precision accuracy is the point and speed is not.
#define CALLED __attribute__((noinline))
BY_LANE(CALLED, exponential, f64v, double, exp)
BY_LANE(CALLED, exponential_minus_one, f64v, double, expm1)
BY_LANE(CALLED, logarithm, f64v, double, log)
BY_LANE(CALLED, hyperbolic_tangent, f64v, double, tanh)
BY_LANE(CALLED, sine, f64v, double, sin)
BY_LANE(CALLED, cosine, f64v, double, cos)
// In single precision too: an argument of any size has to be reduced, which the library does well.
BY_LANE(CALLED, sine, f32v, float, sinf)
BY_LANE(CALLED, cosine, f32v, float, cosf)
// These are single instructions, which the compiler finds in such loops.
BY_LANE(inline, root, f32v, float, sqrtf)
BY_LANE(inline, root, f64v, double, sqrt)
BY_LANE(inline, rounded_down, f32v, float, floorf)
BY_LANE(inline, rounded_down, f64v, double, floor)

static inline f64v logistic(f64v x) { return 1 / (1 + exponential(-x)); }

// In single precision: polynomials of the range-reduced argument, within 2 units in the last place.

// 2^n for whole numbers n in [-126, 127].
static inline f32v power_of_two(i32v n) { return (f32v)((n + 127) << 23); }

// e^x = 2^n e^r with |r| <= ln 2 / 2; gives n and e^r - 1.
static inline f32v reduced_exponential(f32v x, i32v& n) {
  // Adding and subtracting 1.5 * 2^23 rounds to the nearest whole number.
  const f32v magic = f32_all(12582912.0f);
  const f32v whole = (x * 1.44269504088896341f + magic) - magic;
  n = __builtin_convertvector(whole, i32v);
  f32v r = x - whole * 0.693359375f;
  r = r + whole * 2.12194440e-4f;
  f32v p = f32_all(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return p * (r * r) + r;
}

static inline f32v exponential(f32v x) {
  // Beyond these bounds the result rounds to infinity or to 0.
  const f32v clipped = chosen(truth(x > 89.0f), f32_all(89.0f), chosen(truth(x < -104.0f), f32_all(-104.0f), x));
  i32v n;
  const f32v e = reduced_exponential(clipped, n);
  // Two factors, since 2^128 and 2^-150 are out of range where the result is not.
  const i32v half = n >> 1;
  const f32v y = (e + 1.0f) * power_of_two(half) * power_of_two(n - half);
  return chosen(truth(x != x), x, y);
}

static inline f32v exponential_minus_one(f32v x) {
  const f32v clipped = chosen(truth(x > 89.0f), f32_all(89.0f), chosen(truth(x < -87.0f), f32_all(-87.0f), x));
  i32v n;
  const f32v e = reduced_exponential(clipped, n);
  // Half the result, doubled: 2^128 is out of range where the result is not.
  const f32v scale = power_of_two(n - 1);
  const f32v y = 2.0f * (scale * e + (scale - 0.5f));
  return chosen(truth(x != x), x, y);
}

// log x for normal x > 0: x = 2^n m with m in [sqrt 1/2, sqrt 2).
static inline f32v positive_logarithm(f32v x) {
  const i32v bits = (i32v)x - 0x3f3504f3;
  const f32v n = __builtin_convertvector(bits >> 23, f32v);
  const f32v m = (f32v)((bits & 0x007fffff) + 0x3f3504f3) - 1.0f;
  f32v p = f32_all(7.0376836292e-2f);
  p = p * m - 1.1514610310e-1f;
  p = p * m + 1.1676998740e-1f;
  p = p * m - 1.2420140846e-1f;
  p = p * m + 1.4249322787e-1f;
  p = p * m - 1.6668057665e-1f;
  p = p * m + 2.0000714765e-1f;
  p = p * m - 2.4999993993e-1f;
  p = p * m + 3.3333331174e-1f;
  const f32v z = m * m;
  f32v y = p * m * z;
  y = y + n * -2.12194440e-4f;
  y = y - 0.5f * z;
  return (m + y) + n * 0.693359375f;
}

static inline f32v logarithm(f32v x) {
  // Numbers below the normal range are brought into it by 2^24.
  const maskv tiny = truth(x < 1.17549435e-38f);
  f32v y = positive_logarithm(chosen(tiny, x * 16777216.0f, x));
  y = y - chosen(tiny, f32_all(16.635532333f), f32v{});
  y = chosen(truth(x == 0.0f), f32_all(-INFINITY), y);
  y = chosen(truth(x == INFINITY), x, y);
  return chosen(truth(x < 0.0f) | truth(x != x), f32_all(NAN), y);
}

static inline f32v hyperbolic_tangent(f32v x) {
  const f32v size = smaller(absolute(x), f32_all(20.0f));
  const f32v e = exponential_minus_one(2.0f * size);
  const f32v y = e / (e + 2.0f);
  return chosen(truth(x != x), x, chosen(truth(x < 0.0f), -y, y));
}

static inline f32v logistic(f32v x) { return 1.0f / (1.0f + exponential(-x)); }

// Philox4x32-10, as in workloads/random.py.
static inline void wide_product(u32v a, uint32_t b, u32v& high, u32v& low) {
#if defined(__AVX512F__) && W == 16
  const __m512i x = (__m512i)a, y = _mm512_set1_epi32((int)b);
  const __m512i even = _mm512_mul_epu32(x, y), odd = _mm512_mul_epu32(_mm512_srli_epi64(x, 32), y);
  high = (u32v)_mm512_mask_blend_epi32(0xAAAA, _mm512_srli_epi64(even, 32), odd);
  low = (u32v)_mm512_mask_blend_epi32(0xAAAA, even, _mm512_slli_epi64(odd, 32));
#else
  const u64v product = __builtin_convertvector(a, u64v) * (uint64_t)b;
  high = __builtin_convertvector(product >> 32, u32v);
  low = __builtin_convertvector(product, u32v);
#endif
}

static inline void philox(u32v c[4], u32v k0, uint32_t k1) {
#pragma GCC unroll 10
  for (int round = 0; round < 10; ++round) {
    u32v high_a, low_a, high_b, low_b;
    wide_product(c[0], 0xD2511F53u, high_a, low_a);
    wide_product(c[2], 0xCD9E8D57u, high_b, low_b);
    c[0] = high_b ^ c[1] ^ k0;
    c[1] = low_b;
    c[2] = high_a ^ c[3] ^ k1;
    c[3] = low_a;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
}

// 24 random bits per word; word i of a draw is word i / blocks of counter block i % blocks.
template <int COUNT> static inline void draw_bits(i32v* to, i64v seed, i64v step, uint32_t what, i64v offset) {
  constexpr int blocks = (COUNT + 3) / 4;
  const u32v key = __builtin_convertvector(seed, u32v);
  const u32v low = __builtin_convertvector(step, u32v), high = __builtin_convertvector(step >> 32, u32v);
  const u32v first = __builtin_convertvector(offset * blocks, u32v);
  for (int b = 0; b < blocks; ++b) {
    u32v c[4] = {first + (uint32_t)b, low, high, u32v{}};
    philox(c, key, what);
    for (int word = 0; word < 4; ++word)
      if (b + word * blocks < COUNT) to[b + word * blocks] = (i32v)(c[word] >> 8);
  }
}

template <int COUNT> static inline void draw_uniform(f32v* to, i64v seed, i64v step, uint32_t what, i64v offset) {
  i32v bits[COUNT];
  draw_bits<COUNT>(bits, seed, step, what, offset);
  for (int i = 0; i < COUNT; ++i) to[i] = __builtin_convertvector(bits[i], f32v) * 5.9604644775390625e-8f;
}

template <int COUNT> static inline void draw_uniform(f64v* to, i64v seed, i64v step, uint32_t what, i64v offset) {
  i32v bits[COUNT];
  draw_bits<COUNT>(bits, seed, step, what, offset);
  for (int i = 0; i < COUNT; ++i) to[i] = __builtin_convertvector(bits[i], f64v) * 5.9604644775390625e-8;
}

// cos and sin of 2 pi k / 2^24. The angle is a whole number, so it is brought into an eighth of a turn exactly.
static inline void turned(i32v k, f32v& cosine, f32v& sine) {
  const i32v quarter = (k + 0x200000) >> 22;
  const f32v r = __builtin_convertvector(k - (quarter << 22), f32v) * 3.7450704e-07f;  // 2 pi / 2^24
  const f32v z = r * r;
  f32v c = f32_all(2.443315711809948e-5f);
  c = c * z - 1.388731625493765e-3f;
  c = c * z + 4.166664568298827e-2f;
  c = (c * z - 0.5f) * z + 1.0f;
  f32v s = f32_all(-1.9515295891e-4f);
  s = s * z + 8.3321608736e-3f;
  s = s * z - 1.6666654611e-1f;
  s = s * z * r + r;
  const maskv swapped = -(quarter & 1);
  const i32v c_sign = ((quarter + 1) & 2) << 30, s_sign = (quarter & 2) << 30;
  cosine = (f32v)((i32v)chosen(swapped, s, c) ^ c_sign);
  sine = (f32v)((i32v)chosen(swapped, c, s) ^ s_sign);
}

// Two normal numbers from two words of 24 bits (Box-Muller). One expression for all who draw, so that all get its bits.
static inline void normal_pair(i32v radius_bits, i32v angle, f32v& cosine, f32v& sine) {
  const f32v u = __builtin_convertvector(radius_bits + 1, f32v) * 5.9604644775390625e-8f;
  const f32v radius = root(-2.0f * positive_logarithm(u));
  turned(angle, cosine, sine);
  cosine = radius * cosine;
  sine = radius * sine;
}

// The numbers of one member, W at a time: element i in to[i], which has room for W more.
template <int COUNT> static inline void draw_normal_alone(
    float* to, int64_t seed, int64_t step, uint32_t what, int64_t offset) {
  constexpr int half = (COUNT + 1) / 2, blocks = (2 * half + 3) / 4;
  int32_t bits[4 * blocks + 2 * W];
  u32v place;
  for (int l = 0; l < W; ++l) place[l] = (uint32_t)(offset * blocks + l);
  const u32v key = u32v{} + (uint32_t)seed, low = u32v{} + (uint32_t)step, high = u32v{} + (uint32_t)(step >> 32);
  for (int b = 0; b < blocks; b += W) {
    u32v c[4] = {place + (uint32_t)b, low, high, u32v{}};
    philox(c, key, what);
    for (int word = 0; word < 4; ++word) {
      const u32v drawn = c[word] >> 8;
      memcpy(bits + word * blocks + b, &drawn, 4 * (blocks - b < W ? blocks - b : W));
    }
  }
  for (int i = 0; i < half; i += W) {
    i32v radius_bits, angle;
    f32v cosine, sine;
    memcpy(&radius_bits, bits + i, sizeof radius_bits);
    memcpy(&angle, bits + half + i, sizeof angle);
    normal_pair(radius_bits, angle, cosine, sine);
    memcpy(to + i, &cosine, 4 * (half - i < W ? half - i : W));
    memcpy(to + half + i, &sine, sizeof sine);
  }
}

// Bit l tells of member l.
static inline uint32_t as_bits(maskv m) {
#if defined(__AVX512F__) && defined(__AVX512DQ__) && W == 16
  return _mm512_movepi32_mask((__m512i)m);
#else
  uint32_t bits = 0;
  for (int l = 0; l < W; ++l) bits |= (uint32_t)(m[l] & 1) << l;
  return bits;
#endif
}

// Members of one seed draw the same: where a vector has few seeds, each seed's numbers are drawn once.
constexpr int FEW_SEEDS = 4;

template <int COUNT> static inline void draw_normal(f32v* to, i64v seed, i64v step, uint32_t what, i64v offset) {
#if W > 1
  constexpr uint32_t every = (1u << W) - 1;
  const u32v key = __builtin_convertvector(seed, u32v);
  uint32_t keys[W], left = every;
  memcpy(keys, &key, sizeof key);
  int seeds = 0, first[FEW_SEEDS];
  maskv members[FEW_SEEDS];
  for (; left && seeds < FEW_SEEDS; ++seeds) {
    first[seeds] = __builtin_ctz(left);
    members[seeds] = key == u32v{} + keys[first[seeds]];
    left &= ~as_bits(members[seeds]);
  }
  if (!left && as_bits(truth(step == all(step[0])) & truth(offset == all(offset[0]))) == every) {
    for (int k = 0; k < seeds; ++k) {
      float drawn[COUNT + 2 * W];
      draw_normal_alone<COUNT>(drawn, keys[first[k]], step[0], what, offset[0]);
      if (k == 0)
        for (int i = 0; i < COUNT; ++i) to[i] = f32_all(drawn[i]);
      else
        for (int i = 0; i < COUNT; ++i) to[i] = chosen(members[k], f32_all(drawn[i]), to[i]);
    }
    return;
  }
#endif
  constexpr int half = (COUNT + 1) / 2;
  i32v bits[2 * half];
  draw_bits<2 * half>(bits, seed, step, what, offset);
  for (int i = 0; i < half; ++i) {
    f32v cosine, sine;
    normal_pair(bits[i], bits[half + i], cosine, sine);
    to[i] = cosine;
    if (half + i < COUNT) to[half + i] = sine;
  }
}

template <int COUNT> static inline void draw_normal(f64v* to, i64v seed, i64v step, uint32_t what, i64v offset) {
  constexpr int half = (COUNT + 1) / 2;
  i32v bits[2 * half];
  draw_bits<2 * half>(bits, seed, step, what, offset);
  for (int i = 0; i < half; ++i)
    for (int l = 0; l < W; ++l) {
      const double radius = sqrt(-2.0 * log((bits[i][l] + 1) * 5.9604644775390625e-8));
      const double angle = (2.0 * M_PI * 5.9604644775390625e-8) * bits[half + i][l];
      to[i][l] = radius * cos(angle);
      if (half + i < COUNT) to[half + i][l] = radius * sin(angle);
    }
}

#undef ALL
#undef BY_LANE
#undef EACH
