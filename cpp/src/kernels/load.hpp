#pragma once

#if defined(__x86_64__)
#include <immintrin.h>
#else
#include <arm_neon.h>
#endif

#include <cstddef>
#include <cstdint>

// Vectors, and how bytes become vectors of floats. All intrinsics are here, one set chosen by what
// the including file is compiled for: to convert a vector of bytes, the compiler (GCC 12) takes it
// apart byte by byte. In an anonymous namespace, so that each instruction set has its own.
namespace ferlite::kernels {
namespace {

// Values in a vector.
#if defined(__AVX512F__)
constexpr std::ptrdiff_t wide = 16;
#elif defined(__AVX2__)
constexpr std::ptrdiff_t wide = 8;
#else
constexpr std::ptrdiff_t wide = 4;
#endif

template <class T, std::ptrdiff_t n>
struct VectorOf {
    using Type __attribute__((vector_size(n * sizeof(T)))) = T;
};
template <class T, std::ptrdiff_t n>
using Vector = typename VectorOf<T, n>::Type;
using Wide = Vector<float, wide>;
using Pixel = Vector<float, 4>;  // and a fourth value, such as the next pixel's first

template <class V>
inline V load(const void* from) {
    V vector;
    __builtin_memcpy(&vector, from, sizeof vector);
    return vector;
}

template <class V>
inline void store(const V& vector, void* to) {
    __builtin_memcpy(to, &vector, sizeof vector);
}

// Four bytes as floats.
inline Pixel load_four(const std::uint8_t* from) {
    const auto four = load<std::int32_t>(from);
#if defined(__SSE4_1__)
    return _mm_cvtepi32_ps(_mm_cvtepu8_epi32(_mm_cvtsi32_si128(four)));
#elif defined(__SSE2__)
    const __m128i zero = _mm_setzero_si128();
    const __m128i words = _mm_unpacklo_epi8(_mm_cvtsi32_si128(four), zero);
    return _mm_cvtepi32_ps(_mm_unpacklo_epi16(words, zero));
#else
    const uint8x8_t bytes = vreinterpret_u8_s32(vdup_n_s32(four));
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(vmovl_u8(bytes))));
#endif
}

constexpr std::size_t unit = 16;  // values that are loaded together
constexpr std::size_t parts = unit / wide;
struct Unit {
    Wide part[parts];
};

// Sixteen bytes as floats.
inline Unit load_unit(const std::uint8_t* from) {
#if defined(__AVX512F__)
    // With a full mask, as GCC 12 warns of the other's header.
    const __m512i integers = _mm512_maskz_cvtepu8_epi32(0xffff, load<__m128i>(from));
    return {_mm512_maskz_cvtepi32_ps(0xffff, integers)};
#elif defined(__AVX2__)
    const auto eight = [](const std::uint8_t* p) {
        return _mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(_mm_cvtsi64_si128(load<long long>(p))));
    };
    return {eight(from), eight(from + 8)};
#elif defined(__SSE2__)
    const __m128i zero = _mm_setzero_si128();
    const auto bytes = load<__m128i>(from);
    const __m128i low = _mm_unpacklo_epi8(bytes, zero);
    const __m128i high = _mm_unpackhi_epi8(bytes, zero);
    return {_mm_cvtepi32_ps(_mm_unpacklo_epi16(low, zero)),
            _mm_cvtepi32_ps(_mm_unpackhi_epi16(low, zero)),
            _mm_cvtepi32_ps(_mm_unpacklo_epi16(high, zero)),
            _mm_cvtepi32_ps(_mm_unpackhi_epi16(high, zero))};
#else
    const uint8x16_t bytes = vld1q_u8(from);
    const uint16x8_t low = vmovl_u8(vget_low_u8(bytes));
    const uint16x8_t high = vmovl_high_u8(bytes);
    return {vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_high_u16(low)),
            vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), vcvtq_f32_u32(vmovl_high_u16(high))};
#endif
}

// How weigh_rows reads a unit of values.
struct Bytes {
    static constexpr std::ptrdiff_t bytes = 1;  // of the frame for each value
    static constexpr float scale = 1.0F;

    Unit operator()(const std::uint8_t* from) const { return load_unit(from); }
};

#if !defined(__SSE2__) || defined(__AVX2__)  // SSE2 cannot take three channels apart
#define FERLITE_GRAY

// How weigh_gray_rows reads a unit of pixels, mixed in integers.
struct Gray {
    static constexpr std::ptrdiff_t bytes = 3;
    static constexpr float scale = 1.0F / 65536;
    std::int32_t shares[3];

    explicit Gray(const float* weights) {
        for (int c = 0; c < 3; ++c) {
            shares[c] = static_cast<std::int32_t>(weights[c] / scale + 0.5F);
        }
    }

    Unit operator()(const std::uint8_t* from) const;
};

#if defined(__AVX2__)

// Four pixels at `from` bytes into each sixteen, as pairs of words: channels 0 and 1 of a pixel for
// odd = 0, channels 2 and 1 for odd = 1.
#define FERLITE_PAIRS(from, odd)                                                \
    from + 2 * (odd), -1, from + 1, -1, from + 3 + 2 * (odd), -1, from + 4, -1, \
        from + 6 + 2 * (odd), -1, from + 7, -1, from + 9 + 2 * (odd), -1, from + 10, -1

inline Unit Gray::operator()(const std::uint8_t* from) const {
    // Products of signed words: half of the middle share, the largest, goes with each of the
    // others.
    const std::int32_t half = shares[1] / 2;
    const std::int32_t before = (half << 16) | shares[0];
    const std::int32_t behind = ((shares[1] - half) << 16) | shares[2];
#if defined(__AVX512F__)
    const __m512i spread = _mm512_setr_epi32(0, 1, 2, 2, 3, 4, 5, 5, 6, 7, 8, 8, 9, 10, 11, 11);
    const __m512i first = _mm512_maskz_broadcast_i32x4(0xffff, _mm_setr_epi8(FERLITE_PAIRS(0, 0)));
    const __m512i second = _mm512_maskz_broadcast_i32x4(0xffff, _mm_setr_epi8(FERLITE_PAIRS(0, 1)));
    const __m512i packed = _mm512_maskz_loadu_epi8(0xffffffffffff, from);
    const __m512i pixels = _mm512_maskz_permutexvar_epi32(0xffff, spread, packed);
    const __m512i sums = _mm512_add_epi32(
        _mm512_madd_epi16(_mm512_shuffle_epi8(pixels, first), _mm512_set1_epi32(before)),
        _mm512_madd_epi16(_mm512_shuffle_epi8(pixels, second), _mm512_set1_epi32(behind)));
    return {_mm512_maskz_cvtepi32_ps(0xffff, sums)};
#else
    const auto eight = [&](__m128i low, __m128i high, __m256i first, __m256i second) {
        const __m256i pixels = _mm256_set_m128i(high, low);
        const __m256i sums = _mm256_add_epi32(
            _mm256_madd_epi16(_mm256_shuffle_epi8(pixels, first), _mm256_set1_epi32(before)),
            _mm256_madd_epi16(_mm256_shuffle_epi8(pixels, second), _mm256_set1_epi32(behind)));
        return _mm256_cvtepi32_ps(sums);
    };
    // The last sixteen bytes begin early, so as not to reach beyond the pixels.
    return {eight(load<__m128i>(from), load<__m128i>(from + 12),
                  _mm256_setr_epi8(FERLITE_PAIRS(0, 0), FERLITE_PAIRS(0, 0)),
                  _mm256_setr_epi8(FERLITE_PAIRS(0, 1), FERLITE_PAIRS(0, 1))),
            eight(load<__m128i>(from + 24), load<__m128i>(from + 32),
                  _mm256_setr_epi8(FERLITE_PAIRS(0, 0), FERLITE_PAIRS(4, 0)),
                  _mm256_setr_epi8(FERLITE_PAIRS(0, 1), FERLITE_PAIRS(4, 1)))};
#endif
}

#else

inline Unit Gray::operator()(const std::uint8_t* from) const {
    const uint8x16x3_t pixels = vld3q_u8(from);
    const auto four = [&](uint16x4_t a, uint16x4_t b, uint16x4_t c) {
        uint32x4_t sum = vmull_n_u16(a, static_cast<std::uint16_t>(shares[0]));
        sum = vmlal_n_u16(sum, b, static_cast<std::uint16_t>(shares[1]));
        return vcvtq_f32_u32(vmlal_n_u16(sum, c, static_cast<std::uint16_t>(shares[2])));
    };
    uint16x8_t low[3];
    uint16x8_t high[3];
    for (int c = 0; c < 3; ++c) {
        low[c] = vmovl_u8(vget_low_u8(pixels.val[c]));
        high[c] = vmovl_high_u8(pixels.val[c]);
    }
    return {four(vget_low_u16(low[0]), vget_low_u16(low[1]), vget_low_u16(low[2])),
            four(vget_high_u16(low[0]), vget_high_u16(low[1]), vget_high_u16(low[2])),
            four(vget_low_u16(high[0]), vget_low_u16(high[1]), vget_low_u16(high[2])),
            four(vget_high_u16(high[0]), vget_high_u16(high[1]), vget_high_u16(high[2]))};
}

#endif
#endif

}  // namespace
}  // namespace ferlite::kernels
