"""How fast a step could be on this core: the work it must do, counted, over the rates the core reaches, measured.

Counted from the shapes, for one example (`work_of`):

- forward one multiply-add per weight, backward one per weight above the first layer, update one per parameter;
- L2 one per parameter; noise one, and one normal number, per parameter (lanes draw once for neighbours of one seed);
- Adam six per parameter (two for each moment, one below the fraction, one for the weight), a root and a division;
- AdamO the products of every matrix with its smaller Gram matrix: d (d + 1) / 2 x D for the matrix, which is
  symmetric, d^2 x D for its product with the weights and d x D for the pull, at every `every`-th step;
- continual backprop one addition per weight for each sum of |w| it is in, and eight operations and two divisions per
  hidden unit. Replacements are rare and not counted.

A sparse step counts only rows that are read, by the shares of inputs and hidden units that are not zero, as measured
in the network at hand. Under Adam the other rows sleep, but for pulls towards an
isometry, weight decay and unit replacement, which move every weight. Weights leave the first cache, so bytes are
counted too: a weight is read forward, read and written backward; under Adam it and both moments are read and written.
Bytes move as fast as they do over and over one working set of the size of all weights (and moments), since which rows
are read changes from step to step; a step that finds rows again in a nearer cache can be faster than that. The weights
of packs in lanes stay in the first cache, and their bytes are not counted; that a pack of few trials leaves lanes empty
is not counted either. Nor are the stream, the loss and the activation anywhere.

Of arithmetic, roots and divisions (one unit does both), normals and bytes, the slowest alone is the limit: a bound
from counted operations, as if all else hid behind it. That a program can reach it is not claimed.

For a GPU there is a table of the same kind: `roofline`.
"""

from __future__ import annotations

import ctypes
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

WIDTH = 4  # bytes of a float32
MEASURE_NS, REPEATS = 5e6, 5  # of every peak; the best counts


@dataclass(frozen=True, slots=True)
class Work:
    """What a step of one network must do at least."""

    multiply_adds: float
    roots: float = 0  # each with a division
    divisions: float = 0  # beyond those
    normals: float = 0
    moved: float = 0  # bytes
    resident: float = 0  # bytes that a step comes back to: they decide how fast bytes move


@dataclass(frozen=True, slots=True)
class Peaks:
    """What one core does in a nanosecond at best, float32."""

    multiply_adds: float
    roots: float
    divisions: float
    normals: float
    moved: float  # bytes, in a working set of the size asked for


def limit_ns(work: Work, peaks: Peaks) -> float:
    """The least time of the work: its slowest part alone."""
    return max(
        work.multiply_adds / peaks.multiply_adds,
        work.roots / peaks.roots + (work.roots + work.divisions) / peaks.divisions,
        work.normals / peaks.normals,
        work.moved / peaks.moved,
    )


def work_of(
    sizes: Sequence[int],
    optimizer: Mapping[str, Any],
    methods: Mapping[str, Any],
    *,
    shares: Sequence[float] | None = None,
    sharing: int = 1,
) -> Work:
    """The work of one step at batch 1. `sizes` are inputs, hidden widths and outputs; see the module.

    `shares`: of inputs and hidden units that are not zero, for a sparse step. `sharing`: how many trials of one seed
    use the same normal numbers.
    """
    layers = list(zip(sizes, sizes[1:], strict=False))
    reads = [n * share for n, share in zip(sizes, shares, strict=False)] if shares else sizes
    per_layer = [rows * out for rows, (_, out) in zip(reads, layers, strict=False)]
    read, weights, biases = sum(per_layer), sum(a * b for a, b in layers), sum(sizes[1:])
    adam = optimizer["name"] != "sgd"
    every = optimizer.get("every", 1) if optimizer.get("isometry_strength") else 0  # steps between pulls
    dense = adam and ("l2" in methods or "continual_backprop" in methods or "shrink_and_perturb" in methods)
    # A pull moves every weight, and finds all of them where Adam had left them when they fell asleep.
    moving = weights if dense or every == 1 else read + (2 * (weights - read) / every if every else 0)
    changed = (moving if adam else read) + biases
    operations = read + sum(per_layer[1:]) + (6 if adam else 1) * changed
    roots = changed if adam else 0
    divisions = normals = 0.0
    if "l2" in methods or "shrink_and_perturb" in methods:
        operations += changed
    if "shrink_and_perturb" in methods:
        operations += changed
        normals = changed / sharing
    if "continual_backprop" in methods:
        hidden = sum(sizes[1:-1])
        operations += sum(per_layer[:-1]) + sum(per_layer[1:]) + 8 * hidden
        divisions = 2 * hidden
    if optimizer.get("isometry_strength"):
        operations += sum(gram_products(*layer) for layer in layers) / every
    return Work(
        multiply_adds=operations,
        roots=roots,
        divisions=divisions,
        normals=normals,
        moved=WIDTH * (read + 6 * moving if adam else 3 * read) if shares else 0.0,
        resident=WIDTH * (3 if adam else 1) * weights,
    )


def gram_products(inputs: int, outputs: int) -> int:
    """Multiply-adds of the pull of one matrix towards an isometry."""
    small, large = sorted((inputs, outputs))
    return large * (small * (small + 1) // 2 + small * small + small)


SOURCE = r"""
#include <cmath>
#include <cstdint>
#include <cstring>

#if defined(__AVX512F__)
#include <immintrin.h>
constexpr int LANES = 16;
#elif defined(__AVX__)
constexpr int LANES = 8;
#else
constexpr int LANES = 4;
#endif
constexpr int CHAINS = 10;  // more than a unit's latency, and with the constants fewer than there are registers
typedef float Vec __attribute__((vector_size(LANES * 4)));
typedef int32_t Int __attribute__((vector_size(LANES * 4)));
typedef uint64_t Long __attribute__((vector_size(LANES * 4)));

template <typename Function>
float chains(int64_t count, Function function) {
    Vec v[CHAINS];
    for (int i = 0; i < CHAINS; ++i) v[i] = Vec{} + (1 + 0.01f * i);
    for (; count > 0; --count)
#pragma GCC unroll 10
        for (int i = 0; i < CHAINS; ++i) v[i] = function(v[i]);
    Vec sum = {};
    for (int i = 0; i < CHAINS; ++i) sum += v[i];
    return sum[0];
}

inline Long product(Long a, uint64_t b) {  // of the low halves
#if defined(__AVX512F__)
    return (Long)_mm512_mul_epu32((__m512i)a, (__m512i)(Long{} + b));
#else
    return (a & 0xFFFFFFFF) * b;
#endif
}

// Philox4x32 with seven rounds: four words of LANES / 2 counters, each in the low half of its lane.
inline void philox(uint32_t index, uint32_t step, Long w[4]) {
    for (int i = 0; i < LANES / 2; ++i) w[0][i] = index + i;
    w[1] = Long{} + step, w[2] = w[3] = Long{};
    uint32_t k0 = 1, k1 = 2;
#pragma GCC unroll 7
    for (int round = 0; round < 7; ++round) {
        const Long a = product(w[0], 0xD2511F53), b = product(w[2], 0xCD9E8D57);
        w[0] = (b >> 32) ^ w[1] ^ k0, w[1] = b;
        w[2] = (a >> 32) ^ w[3] ^ k1, w[3] = a;
        k0 += 0x9E3779B9, k1 += 0xBB67AE85;
    }
}

inline void pair(Int radius_bits, Int angle, Vec& cosine, Vec& sine) {  // Box-Muller, on 24 bits each
    const Int raw = (Int)__builtin_convertvector(radius_bits + 1, Vec);
    const Int exponent = (raw - 0x3F3504F3) >> 23;
    const Vec x = (Vec)(raw - (exponent << 23)) - 1;
    Vec p = x * 7.0376836292e-2f - 1.1514610310e-1f;
    p = p * x + 1.1676998740e-1f;
    p = p * x - 1.2420140846e-1f;
    p = p * x + 1.4249322787e-1f;
    p = p * x - 1.6668057665e-1f;
    p = p * x + 2.0000714765e-1f;
    p = p * x - 2.4999993993e-1f;
    p = p * x + 3.3333331174e-1f;
    const Vec log = p * x * x * x - 0.5f * x * x + x + 0.69314718f * __builtin_convertvector(exponent - 24, Vec);
    Vec radius = -2 * log;
    for (int i = 0; i < LANES; ++i) radius[i] = std::sqrt(radius[i]);
    const Int quadrant = (angle + (1 << 21)) >> 22, odd = -(quadrant & 1);
    const Vec a = __builtin_convertvector(angle - (quadrant << 22), Vec) * 3.7450702829e-7f, aa = a * a;
    const Vec s = ((-1.9515295891e-4f * aa + 8.3321608736e-3f) * aa - 1.6666654611e-1f) * aa * a + a;
    const Vec c = ((2.4433157e-5f * aa - 1.3887316e-3f) * aa + 4.1666646e-2f) * aa * aa - 0.5f * aa + 1;
    cosine = radius * (Vec)((((Int)c & ~odd) | ((Int)s & odd)) ^ (((quadrant + 1) & 2) << 30));
    sine = radius * (Vec)((((Int)s & ~odd) | ((Int)c & odd)) ^ ((quadrant & 2) << 30));
}

extern "C" {

int lanes() { return LANES * CHAINS; }

float multiply_adds(int64_t count, float a, float b) {
    return chains(count, [=](Vec v) { return v * a + b; });
}

float roots(int64_t count, float, float b) {
    return chains(count, [=](Vec v) {
        for (int i = 0; i < LANES; ++i) v[i] = std::sqrt(v[i]);
        return v + b;
    });
}

float divisions(int64_t count, float a, float b) {
    return chains(count, [=](Vec v) { return a / v + b; });
}

// 4 x 1024 normals, as many times as `count` says.
void normals(int64_t count, float* out) {
    for (int64_t step = 0; step < count; ++step)
        for (int i = 0; i < 1024; i += LANES) {
            Long low[4], high[4];
            Int bits[4];
            philox(i, step, low), philox(i + LANES / 2, step, high);
            for (int w = 0; w < 4; ++w) bits[w] = ((Int)((low[w] & 0xFFFFFFFF) | (high[w] << 32)) >> 8) & 0xFFFFFF;
            for (int w = 0; w < 4; w += 2) {
                Vec normal[2];
                pair(bits[w], bits[w + 1], normal[0], normal[1]);
                std::memcpy(out + w * 1024 + i, &normal[0], sizeof(Vec));
                std::memcpy(out + (w + 1) * 1024 + i, &normal[1], sizeof(Vec));
            }
        }
}

// Reads two floats and writes one, `size` times over, as an update does.
void triad(int64_t count, float* a, const float* b, int64_t size, float s) {
    for (; count > 0; --count)
        for (int64_t i = 0; i < size; ++i) a[i] += s * b[i];
}
}
"""


def library() -> ctypes.CDLL:
    """The compiled kernels. Raises NoCompiler."""
    from workloads.native import compiled

    kernels = compiled(SOURCE)
    pointer, number, real = ctypes.c_void_p, ctypes.c_int64, ctypes.c_float
    for kernel in (kernels.multiply_adds, kernels.roots, kernels.divisions):
        kernel.argtypes, kernel.restype = [number, real, real], real
    kernels.normals.argtypes, kernels.normals.restype = [number, pointer], None
    kernels.triad.argtypes, kernels.triad.restype = [number, pointer, pointer, number, real], None
    return kernels


def peaks(resident: float) -> Peaks | None:
    """This core's peaks, bytes as they move in a working set of `resident` bytes; None without a compiler."""
    import numpy as np

    from workloads.native import NoCompiler

    try:
        kernels = library()
    except NoCompiler:
        return None
    lanes = kernels.lanes()
    normal = np.zeros(4096, np.float32)
    size = max(1024, int(resident) // (2 * WIDTH))
    a, b = np.zeros(size, np.float32), np.ones(size, np.float32)
    return Peaks(
        multiply_adds=lanes * rate(lambda n: kernels.multiply_adds(n, 0.5, 0.25)),
        roots=lanes * rate(lambda n: kernels.roots(n, 0, 1.3)),
        divisions=lanes * rate(lambda n: kernels.divisions(n, 1.7, 0.3)),
        normals=normal.size * rate(lambda n: kernels.normals(n, normal.ctypes.data)),
        moved=3 * WIDTH * size * rate(lambda n: kernels.triad(n, a.ctypes.data, b.ctypes.data, size, 0.5)),
    )


def rate(run: Callable[[int], object]) -> float:
    """How often per nanosecond `run(count)` does its work: the best of some repeats."""
    count = 1
    while timed(run, count) < MEASURE_NS:
        count *= 2
    return count / min(timed(run, count) for _ in range(REPEATS))


def timed(run: Callable[[int], object], count: int) -> float:
    """ns of one call."""
    began = time.perf_counter_ns()
    run(count)
    return time.perf_counter_ns() - began
