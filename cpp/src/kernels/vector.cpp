#include <utility>

#include "kernels/kernels.hpp"
#include "kernels/load.hpp"
#include "kernels/sample.hpp"

// Compiled once for each instruction set, with FERLITE_ISA naming it. Vectors are those of GCC and
// Clang, so that one source serves all; loops that the compiler vectorises as well are left to it.
// A gray crop of 150 px takes 12.1, 5.0 and 3.7 us (SSE2, AVX2, AVX-512 of a Zen 5), of eight in a
// call from Python; with plain loops over rows, left to the compiler, 15.3, 8.7 and 7.6 without it.
namespace ferlite::kernels {

namespace {

// Some units of a line, summed over all rows before they are stored.
template <std::size_t units>
struct Block {
    Wide sums[units * parts];

    template <class Read>
    Block(const Read& read, const Rows& rows, std::ptrdiff_t at, bool add, const float* line) {
        for (std::size_t i = 0; i < units * parts; ++i) {
            sums[i] = add ? load<Wide>(line + at + i * wide) : Wide{};
        }
        const std::uint8_t* row = rows.first + at * Read::bytes;
        const std::ptrdiff_t last = rows.count - 1;
        for (std::ptrdiff_t k = 0; k < last; ++k, row += rows.stride) {
            add_row(read, row, rows.weights[k] * Read::scale, nullptr, 0.0F);
        }
        float* carry = rows.carry == nullptr ? nullptr : rows.carry + at;
        add_row(read, row, rows.weights[last] * Read::scale, carry,
                rows.carry_weight * Read::scale);
    }

    template <class Read>
    void add_row(const Read& read, const std::uint8_t* row, float weight, float* carry,
                 float carry_weight) {
#pragma GCC unroll 4
        for (std::size_t u = 0; u < units; ++u) {
            const Unit values = read(row + u * unit * Read::bytes);
            // Apart, so that sums are fused alike with and without a carry.
#pragma GCC unroll 4
            for (std::size_t p = 0; p < parts; ++p) {
                sums[u * parts + p] += weight * values.part[p];
            }
            if (carry == nullptr) continue;
#pragma GCC unroll 4
            for (std::size_t p = 0; p < parts; ++p) {
                store(carry_weight * values.part[p], carry + (u * parts + p) * wide);
            }
        }
    }

    void store_to(float* line) const {
        for (std::size_t i = 0; i < units * parts; ++i) store(sums[i], line + i * wide);
    }
};

// For n of at least one unit.
template <class Read>
inline void weigh_units(const Read read, const Rows& rows, std::ptrdiff_t n, bool add,
                        float* line) {
    constexpr std::ptrdiff_t step = unit;
    constexpr std::ptrdiff_t units = 2;  // more are no faster
    const Rows some = rows;
    // The last unit overlaps those before it and is read before they are written.
    const std::ptrdiff_t last = n - step;
    const Block<1> end(read, some, last, add, line);
    std::ptrdiff_t i = 0;
    for (; i + units * step <= n; i += units * step) {
        Block<units>(read, some, i, add, line).store_to(line + i);
    }
    for (; i < last; i += step) {
        Block<1>(read, some, i, add, line).store_to(line + i);
    }
    end.store_to(line + last);
}

void weigh_rows(const Rows& rows, std::ptrdiff_t n, bool add, float* line) {
    if (n < static_cast<std::ptrdiff_t>(unit)) {
        plain.weigh_rows(rows, n, add, line);
    } else {
        weigh_units(Bytes{}, rows, n, add, line);
    }
}

#if defined(FERLITE_GRAY)
void weigh_gray_rows(const Rows& rows, const float* shares, std::ptrdiff_t n, bool add,
                     float* line) {
    if (n < static_cast<std::ptrdiff_t>(unit)) {
        plain.weigh_gray_rows(rows, shares, n, add, line);
    } else {
        weigh_units(Gray(shares), rows, n, add, line);
    }
}
#else
constexpr auto weigh_gray_rows = nullptr;
#endif

#if defined(__AVX2__)

constexpr std::ptrdiff_t lines_taken = wide;

// Lane i of a step of `turn`: blocks of `grain` lanes taken from a and b in turns, from the even
// places for odd = 0.
constexpr int taken(std::ptrdiff_t grain, std::ptrdiff_t i, std::ptrdiff_t odd) {
    const std::ptrdiff_t from = i / grain % 2 == 0 ? 0 : wide;
    return static_cast<int>(from + (i / grain / 2 * 2 + odd) * grain + i % grain);
}

template <std::ptrdiff_t grain, std::ptrdiff_t... i>
inline void turn_pair(Wide& a, Wide& b, std::integer_sequence<std::ptrdiff_t, i...>) {
    const Wide even = __builtin_shufflevector(a, b, taken(grain, i, 0)...);
    b = __builtin_shufflevector(a, b, taken(grain, i, 1)...);
    a = even;
}

// Rows of a square become its columns.
template <std::ptrdiff_t grain = 1>
inline void turn(Wide* rows) {
    constexpr auto places = std::make_integer_sequence<std::ptrdiff_t, wide>{};
    if constexpr (grain < wide) {
#pragma GCC unroll 16
        for (std::ptrdiff_t i = 0; i < wide; ++i) {
            if ((i & grain) == 0) turn_pair<grain>(rows[i], rows[i + grain], places);
        }
        turn<2 * grain>(rows);
    }
}

// Lines are turned, so that a vector holds one value of each and sums take no shuffling; the sums
// are turned back.
template <std::ptrdiff_t channels>
inline void weigh_lines(const Lines& lines, const Span* spans, const float* weights,
                        std::ptrdiff_t n, float* turned, float* out, std::ptrdiff_t stride) {
    constexpr std::size_t side = wide;
    for (std::ptrdiff_t begin = 0; begin < n; begin += wide) {
        const std::ptrdiff_t pixels = wide < n - begin ? wide : n - begin;
        const Span* group = spans + begin;
        const std::ptrdiff_t first = group->first;
        const Span& last = group[pixels - 1];
        const std::ptrdiff_t values = (last.first + last.count - first) * channels;
        const float* from = lines.first + first * channels;
        for (std::ptrdiff_t at = 0; at < values; at += wide) {
            Wide square[side];
#pragma GCC unroll 16
            for (std::ptrdiff_t r = 0; r < wide; ++r) {
                square[r] = load<Wide>(from + at + r * lines.stride);
            }
            turn(square);
#pragma GCC unroll 16
            for (std::ptrdiff_t i = 0; i < wide; ++i) store(square[i], turned + (at + i) * wide);
        }
        Wide sums[side * channels];
        for (std::ptrdiff_t i = 0; i < pixels; ++i) {
            const float* value = turned + (group[i].first - first) * channels * wide;
            Wide* pixel = sums + i * channels;
            for (std::ptrdiff_t c = 0; c < channels; ++c) pixel[c] = Wide{};
            for (std::ptrdiff_t k = 0; k < group[i].count; ++k, ++weights) {
                for (std::ptrdiff_t c = 0; c < channels; ++c, value += wide) {
                    pixel[c] += *weights * load<Wide>(value);
                }
            }
        }
        float* to = out + begin * channels;
        for (std::ptrdiff_t at = 0; at < pixels * channels; at += wide) {
            turn(sums + at);
#pragma GCC unroll 16
            for (std::ptrdiff_t r = 0; r < wide; ++r) store(sums[at + r], to + at + r * stride);
        }
    }
}

void weigh_columns(const Lines& lines, const Span* spans, const float* weights, std::ptrdiff_t n,
                   float* turned, float* out, std::ptrdiff_t stride) {
    if (lines.channels == 1) {
        weigh_lines<1>(lines, spans, weights, n, turned, out, stride);
    } else {
        weigh_lines<3>(lines, spans, weights, n, turned, out, stride);
    }
}

#else

// Four lanes are too few to turn lines: that takes a third longer than this for a gray crop of
// 150 px (SSE2).
constexpr std::ptrdiff_t lines_taken = 8;

inline Wide add_neighbours(const Wide& a, const Wide& b) {
    return __builtin_shufflevector(a, b, 0, 2, 4, 6) + __builtin_shufflevector(a, b, 1, 3, 5, 7);
}

// Four spans at a time, their weights filled up to whole vectors with zeros.
template <std::ptrdiff_t channels>
inline void weigh_values(const Lines& lines, const Span* spans, const float* weights,
                         std::ptrdiff_t n, const float* shares, float* filled, float* out,
                         std::ptrdiff_t stride) {
    const std::ptrdiff_t end = (spans[n - 1].first + spans[n - 1].count) * channels + slack;
    for (std::ptrdiff_t begin = 0; begin < n; begin += wide) {
        const std::ptrdiff_t pixels = wide < n - begin ? wide : n - begin;
        std::ptrdiff_t longest = 0;
        for (std::ptrdiff_t i = 0; i < pixels; ++i) {
            const std::ptrdiff_t count = spans[begin + i].count;
            longest = count > longest ? count : longest;
        }
        const std::ptrdiff_t count = (longest * channels + wide - 1) / wide * wide;
        std::ptrdiff_t firsts[wide] = {};
        for (std::ptrdiff_t i = 0; i < wide * count; ++i) filled[i] = 0.0F;
        for (std::ptrdiff_t i = 0; i < pixels; ++i) {
            // A span that would reach beyond the slack begins earlier.
            const std::ptrdiff_t first = spans[begin + i].first * channels;
            firsts[i] = first < end - count ? first : end - count;
            float* to = filled + i * count + first - firsts[i];
            for (std::ptrdiff_t k = 0; k < spans[begin + i].count; ++k, ++weights) {
                for (std::ptrdiff_t c = 0; c < channels; ++c) *to++ = *weights * shares[c];
            }
        }
        for (std::ptrdiff_t r = 0; r < lines_taken; ++r) {
            const float* line = lines.first + r * lines.stride;
            Wide sums[wide];
            for (std::ptrdiff_t i = 0; i < wide; ++i) {
                sums[i] = load<Wide>(filled + i * count) * load<Wide>(line + firsts[i]);
            }
            for (std::ptrdiff_t k = wide; k < count; k += wide) {
                for (std::ptrdiff_t i = 0; i < wide; ++i) {
                    sums[i] +=
                        load<Wide>(filled + i * count + k) * load<Wide>(line + firsts[i] + k);
                }
            }
            const Wide before = add_neighbours(sums[0], sums[1]);
            const Wide behind = add_neighbours(sums[2], sums[3]);
            store(add_neighbours(before, behind), out + begin + r * stride);
        }
    }
}

inline void weigh_pixels(const Lines& lines, const Span* spans, const float* all_weights,
                         std::ptrdiff_t n, float* out, std::ptrdiff_t stride) {
    for (std::ptrdiff_t r = 0; r < lines_taken; ++r, out += stride) {
        const float* weights = all_weights;
        for (std::ptrdiff_t i = 0; i < n; ++i) {
            // The fourth value written is overwritten by the next pixel.
            const float* pixel = lines.first + r * lines.stride + 3 * spans[i].first;
            Pixel sum{};
            for (std::ptrdiff_t k = 0; k < spans[i].count; ++k) {
                sum += *weights++ * load<Pixel>(pixel + 3 * k);
            }
            store(sum, out + 3 * i);
        }
    }
}

void weigh_columns(const Lines& lines, const Span* spans, const float* weights, std::ptrdiff_t n,
                   float* scratch, float* out, std::ptrdiff_t stride) {
    static constexpr float whole = 1.0F;
    if (lines.channels == 1) {
        weigh_values<1>(lines, spans, weights, n, &whole, scratch, out, stride);
    } else if (lines.shares != nullptr) {
        weigh_values<3>(lines, spans, weights, n, lines.shares, scratch, out, stride);
    } else {
        weigh_pixels(lines, spans, weights, n, out, stride);
    }
}

#endif

// For BGR or RGB bytes that follow one another.
void add_samples(const ImageView& image, double x, double y, double dx, double dy,
                 std::ptrdiff_t group, std::ptrdiff_t n, float* sums) {
    constexpr std::ptrdiff_t most = 128;  // samples whose places are worked out at a time
    constexpr std::ptrdiff_t largest = 0x7fffffff / 3;  // of which bytes are counted in 32 bits
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
                        lines_taken,
                        weigh_rows,
                        weigh_gray_rows,
                        weigh_columns,
                        add_samples,
                        mix_channels,
                        store_floats,
                        store_bytes,
                        join_planes,
                        find_at_least};

}  // namespace ferlite::kernels
