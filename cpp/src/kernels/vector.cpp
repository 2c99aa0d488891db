#include <utility>

#include "kernels/kernels.hpp"
#include "kernels/load.hpp"
#include "kernels/sample.hpp"

// Compiled once for each instruction set, with FERLITE_ISA naming it. Vectors are those of GCC and
// Clang, so that one source serves all; loops that the compiler vectorises as well are left to it.
// What is written in vectors resamples a gray crop of 150 px in 9.8, 4.3 and 3.6 us (SSE2, AVX2,
// AVX-512 of a Zen 5); with plain loops over rows, left to the compiler, it is 15.3, 8.7 and 7.6.
namespace ferlite::kernels {

namespace {

// Some units of a line, summed over all rows before they are stored.
template <std::size_t units>
struct Block {
    Wide sums[units * parts];

    template <class Read>
    Block(const Read& read, const std::uint8_t* rows, std::ptrdiff_t stride, const float* weights,
          std::ptrdiff_t count, bool add, const float* line) {
        for (std::size_t i = 0; i < units * parts; ++i) {
            sums[i] = add ? load<Wide>(line + i * wide) : Wide{};
        }
        for (std::ptrdiff_t k = 0; k < count; ++k, rows += stride) {
            const float weight = weights[k] * Read::scale;
#pragma GCC unroll 4
            for (std::size_t u = 0; u < units; ++u) {
                const Unit values = read(rows + u * Read::size);
#pragma GCC unroll 4
                for (std::size_t p = 0; p < parts; ++p) {
                    sums[u * parts + p] += weight * values.part[p];
                }
            }
        }
    }

    void store_to(float* line) const {
        for (std::size_t i = 0; i < units * parts; ++i) store(sums[i], line + i * wide);
    }
};

// For n of at least one unit.
template <class Read>
inline void weigh_units(const Read& read, const std::uint8_t* rows, std::ptrdiff_t stride,
                        const float* weights, std::ptrdiff_t count, std::ptrdiff_t n, bool add,
                        float* line) {
    constexpr std::ptrdiff_t step = unit;
    constexpr std::ptrdiff_t bytes = Read::size / step;  // of the frame for each value
    constexpr std::ptrdiff_t units = 2;                  // more are no faster
    // The last unit overlaps those before it and is read before they are written.
    const std::ptrdiff_t last = n - step;
    const Block<1> end(read, rows + last * bytes, stride, weights, count, add, line + last);
    std::ptrdiff_t i = 0;
    for (; i + units * step <= n; i += units * step) {
        Block<units>(read, rows + i * bytes, stride, weights, count, add, line + i)
            .store_to(line + i);
    }
    for (; i < last; i += step) {
        Block<1>(read, rows + i * bytes, stride, weights, count, add, line + i).store_to(line + i);
    }
    end.store_to(line + last);
}

void weigh_rows(const std::uint8_t* rows, std::ptrdiff_t stride, const float* weights,
                std::ptrdiff_t count, std::ptrdiff_t n, bool add, float* line) {
    if (n < static_cast<std::ptrdiff_t>(unit)) {
        plain.weigh_rows(rows, stride, weights, count, n, add, line);
    } else {
        weigh_units(Bytes{}, rows, stride, weights, count, n, add, line);
    }
}

#if defined(FERLITE_GRAY)
void weigh_gray_rows(const std::uint8_t* rows, std::ptrdiff_t stride, const float* weights,
                     std::ptrdiff_t count, const float* shares, std::ptrdiff_t n, bool add,
                     float* line) {
    if (n < static_cast<std::ptrdiff_t>(unit)) {
        plain.weigh_gray_rows(rows, stride, weights, count, shares, n, add, line);
    } else {
        weigh_units(Gray(shares), rows, stride, weights, count, n, add, line);
    }
}
#else
constexpr auto weigh_gray_rows = nullptr;
#endif

// Which lane of a, or of b behind it, to add into lane i: neighbours for n up to 4, in each quarter
// of four lanes by itself as processors shuffle best, and neighbouring quarters above.
constexpr int addend(std::ptrdiff_t n, std::ptrdiff_t i, std::ptrdiff_t odd) {
    const std::ptrdiff_t grain = n > 4 ? 4 : 1;
    const std::ptrdiff_t within = n > 4 ? lanes : 4;
    const std::ptrdiff_t at = i % within / grain;
    const std::ptrdiff_t half = within / grain / 2;
    const std::ptrdiff_t from = at < half ? 0 : lanes;
    return static_cast<int>(from + i / within * within + (2 * (at % half) + odd) * grain +
                            i % grain);
}

template <std::ptrdiff_t n, std::ptrdiff_t... i>
inline Values add_halves(const Values& a, const Values& b,
                         std::integer_sequence<std::ptrdiff_t, i...>) {
    return __builtin_shufflevector(a, b, addend(n, i, 0)...) +
           __builtin_shufflevector(a, b, addend(n, i, 1)...);
}

// The weighted sums of n spans of `vectors` vectors, or of count / lanes where that is 0; each in
// as many parts as lanes / n.
template <std::ptrdiff_t n, std::ptrdiff_t vectors>
inline Values sums_of(const float* line, const Span* spans, const float* weights,
                      std::ptrdiff_t count) {
    if constexpr (n == 1) {
        const float* values = line + spans->first;
        Values sum = load<Values>(weights) * load<Values>(values);
        for (std::ptrdiff_t k = lanes; k < (vectors > 0 ? vectors * lanes : count); k += lanes) {
            sum += load<Values>(weights + k) * load<Values>(values + k);
        }
        return sum;
    } else {
        const Values before = sums_of<n / 2, vectors>(line, spans, weights, count);
        const Values behind =
            sums_of<n / 2, vectors>(line, spans + n / 2, weights + n / 2 * count, count);
        return add_halves<n>(before, behind, std::make_integer_sequence<std::ptrdiff_t, lanes>{});
    }
}

void weigh_values(const float* line, const Span* spans, const float* weights, std::ptrdiff_t n,
                  float* out) {
    for (std::ptrdiff_t i = 0; i < n; i += lanes, spans += lanes) {
        const std::ptrdiff_t count = spans->count;
        const Values sums = count == lanes ? sums_of<lanes, 1>(line, spans, weights, lanes)
                            : count == 2 * lanes
                                ? sums_of<lanes, 2>(line, spans, weights, 2 * lanes)
                                : sums_of<lanes, 0>(line, spans, weights, count);
        store(sums, out + i);
        weights += lanes * count;
    }
}

void weigh_pixels(const float* line, const Span* spans, const float* weights, std::ptrdiff_t n,
                  float* out) {
    // The fourth value written is overwritten by the next pixel.
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const float* pixel = line + 3 * spans[i].first;
        Pixel sum{};
        for (std::ptrdiff_t k = 0; k < spans[i].count; ++k) {
            sum += *weights++ * load<Pixel>(pixel + 3 * k);
        }
        store(sum, out + 3 * i);
    }
}

// For BGR or RGB bytes that follow one another.
void add_samples(const ImageView& image, double x, double y, double dx, double dy,
                 std::ptrdiff_t group, std::ptrdiff_t n, float* sums) {
    constexpr std::ptrdiff_t most = 128;  // samples whose places are worked out at a time
    constexpr std::ptrdiff_t largest = 0x7fffffff;
    if (image.channels != 3 || image.column_stride != 3 || image.channel_stride != 1 ||
        image.width > largest || image.height > largest || group > most) {
        sample_any(image, x, y, dx, dy, group, n, sums);
        return;
    }
    const auto right = static_cast<double>(image.width - 1);
    const auto bottom = static_cast<double>(image.height - 1);
    std::int32_t left[most];
    std::int32_t top[most];
    float shares[4][most];  // of the pixels at the left and right above, left and right below
    for (std::ptrdiff_t i = 0; i < n;) {
        const std::ptrdiff_t pixels = most / group < n - i ? most / group : n - i;
        const auto begin = static_cast<double>(i * group);
        const auto count = static_cast<std::int32_t>(pixels * group);
        for (std::int32_t t = 0; t < count; ++t) {
            const double column = held(x + (begin + t) * dx, right);
            const double row = held(y + (begin + t) * dy, bottom);
            left[t] = static_cast<std::int32_t>(column);
            top[t] = static_cast<std::int32_t>(row);
            const auto across = static_cast<float>(column - left[t]);
            const auto down = static_cast<float>(row - top[t]);
            shares[0][t] = (1 - across) * (1 - down);
            shares[1][t] = across * (1 - down);
            shares[2][t] = (1 - across) * down;
            shares[3][t] = across * down;
        }
        for (std::ptrdiff_t t = 0; t < count; ++i) {
            Pixel above{};
            Pixel beneath{};
            for (const std::ptrdiff_t end = t + group; t < end; ++t) {
                const std::uint8_t* upper = image.data + top[t] * image.row_stride + 3 * left[t];
                const std::uint8_t* lower =
                    upper + (top[t] + 1 < image.height ? image.row_stride : 0);
                if (left[t] + 2 < image.width) {
                    above += shares[0][t] * load_four(upper);
                    above += shares[1][t] * load_four(upper + 3);
                    beneath += shares[2][t] * load_four(lower);
                    beneath += shares[3][t] * load_four(lower + 3);
                    continue;
                }
                // Four bytes would reach beyond the row.
                const std::ptrdiff_t beside = left[t] + 1 < image.width ? 3 : 0;
                for (int c = 0; c < 3; ++c) {
                    above[c] += shares[0][t] * static_cast<float>(upper[c]);
                    above[c] += shares[1][t] * static_cast<float>(upper[c + beside]);
                    beneath[c] += shares[2][t] * static_cast<float>(lower[c]);
                    beneath[c] += shares[3][t] * static_cast<float>(lower[c + beside]);
                }
            }
            above += beneath;
            for (int c = 0; c < 3; ++c) sums[3 * i + c] += above[c];
        }
    }
}

void mix_channels(const float* __restrict pixels, std::ptrdiff_t n, const float* weights,
                  float* __restrict gray) {
    const float first = weights[0];
    const float second = weights[1];
    const float third = weights[2];
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        gray[i] = first * pixels[3 * i] + second * pixels[3 * i + 1] + third * pixels[3 * i + 2];
    }
}

inline float normalised(float value, float scale, float offset) { return value * scale + offset; }

void store_floats(const float* line, std::ptrdiff_t step, std::ptrdiff_t n, float scale,
                  float offset, float* out, std::ptrdiff_t out_step) {
    if (step == 1 && out_step == 1) {
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = normalised(line[i], scale, offset);
    } else {
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            out[i * out_step] = normalised(line[i * step], scale, offset);
        }
    }
}

inline std::uint8_t byte(float level) {
    const float positive = level > 0.0F ? level : 0.0F;
    const float within = positive < 255.0F ? positive : 255.0F;
    return static_cast<std::uint8_t>(static_cast<int>(within + 0.5F));
}

void store_bytes(const float* line, std::ptrdiff_t step, std::ptrdiff_t n, float scale,
                 float offset, std::uint8_t* out, std::ptrdiff_t out_step) {
    if (step == 1 && out_step == 1) {
        for (std::ptrdiff_t i = 0; i < n; ++i) out[i] = byte(normalised(line[i], scale, offset));
    } else {
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            out[i * out_step] = byte(normalised(line[i * step], scale, offset));
        }
    }
}

// In parts, so that each loop is one that the compiler vectorises.
void join_planes(const std::uint8_t* y, const std::uint8_t* u, const std::uint8_t* v,
                 std::ptrdiff_t n, const YuvMatrix& matrix, std::uint8_t* bgr) {
    constexpr std::ptrdiff_t most = 256;
    std::uint8_t channels[3][most];
    const YuvMatrix m = matrix;
    for (std::ptrdiff_t begin = 0; begin < n; begin += most) {
        const std::ptrdiff_t count = most < n - begin ? most : n - begin;
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            const float gray = m.y_gain * (static_cast<float>(y[begin + i]) - m.black);
            const float blue = static_cast<float>(u[begin + i]) - 128.0F;
            const float red = static_cast<float>(v[begin + i]) - 128.0F;
            channels[0][i] = byte(gray + m.u_blue * blue);
            channels[1][i] = byte(gray + m.u_green * blue + m.v_green * red);
            channels[2][i] = byte(gray + m.v_red * red);
        }
        std::uint8_t* to = bgr + 3 * begin;
        for (std::ptrdiff_t i = 0; i < count; ++i) {
            to[3 * i] = channels[0][i];
            to[3 * i + 1] = channels[1][i];
            to[3 * i + 2] = channels[2][i];
        }
    }
}

std::ptrdiff_t find_at_least(const float* values, std::ptrdiff_t from, std::ptrdiff_t n,
                             float least) {
    constexpr std::ptrdiff_t block = 4 * wide;
    for (; from + block <= n; from += block) {
        int any = 0;
        for (std::ptrdiff_t i = 0; i < block; ++i) any |= values[from + i] >= least ? 1 : 0;
        if (any != 0) break;
    }
    while (from < n && !(values[from] >= least)) ++from;
    return from;
}

#define FERLITE_TEXT_(name) #name
#define FERLITE_TEXT(name) FERLITE_TEXT_(name)

}  // namespace

const Table FERLITE_ISA{FERLITE_TEXT(FERLITE_ISA),
                        lanes,
                        weigh_rows,
                        weigh_gray_rows,
                        weigh_values,
                        weigh_pixels,
                        add_samples,
                        mix_channels,
                        store_floats,
                        store_bytes,
                        join_planes,
                        find_at_least};

}  // namespace ferlite::kernels
