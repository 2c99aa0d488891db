#include "kernels/kernels.hpp"
#include "kernels/sample.hpp"

// What the vectors of vector.cpp must compute, one value at a time.
namespace ferlite::kernels {

namespace {

// line[i] = the weighted sum of what value_of(row, i) reads.
template <class ValueOf>
void weigh_each(const Rows& rows, std::ptrdiff_t n, bool add, float* line,
                const ValueOf& value_of) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        float sum = add ? line[i] : 0.0F;
        float value = 0.0F;
        for (std::ptrdiff_t k = 0; k < rows.count; ++k) {
            value = value_of(rows.first + k * rows.stride, i);
            sum += rows.weights[k] * value;
        }
        line[i] = sum;
        if (rows.carry != nullptr) rows.carry[i] = rows.carry_weight * value;
    }
}

void weigh_rows(const Rows& rows, std::ptrdiff_t n, bool add, float* line) {
    weigh_each(rows, n, add, line, [](const std::uint8_t* row, std::ptrdiff_t i) {
        return static_cast<float>(row[i]);
    });
}

void weigh_gray_rows(const Rows& rows, const float* shares, std::ptrdiff_t n, bool add,
                     float* line) {
    weigh_each(rows, n, add, line, [shares](const std::uint8_t* row, std::ptrdiff_t i) {
        float gray = 0.0F;
        for (int c = 0; c < 3; ++c) gray += shares[c] * static_cast<float>(row[3 * i + c]);
        return gray;
    });
}

void weigh_columns(const Lines& lines, const Span* spans, const float* weights, std::ptrdiff_t n,
                   float*, float* out, std::ptrdiff_t) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        float sums[3] = {};
        for (std::ptrdiff_t k = 0; k < spans[i].count; ++k, ++weights) {
            const float* pixel = lines.first + (spans[i].first + k) * lines.channels;
            for (std::ptrdiff_t c = 0; c < lines.channels; ++c) sums[c] += *weights * pixel[c];
        }
        if (lines.shares != nullptr) {
            *out++ =
                lines.shares[0] * sums[0] + lines.shares[1] * sums[1] + lines.shares[2] * sums[2];
            continue;
        }
        for (std::ptrdiff_t c = 0; c < lines.channels; ++c) *out++ = sums[c];
    }
}

void mix_channels(const float* __restrict pixels, std::ptrdiff_t n, const float* weights,
                  float* __restrict gray) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const float* pixel = pixels + 3 * i;
        gray[i] = weights[0] * pixel[0] + weights[1] * pixel[1] + weights[2] * pixel[2];
    }
}

void store_floats(const float* line, std::ptrdiff_t step, std::ptrdiff_t n, float scale,
                  float offset, float* out, std::ptrdiff_t out_step) {
    for (std::ptrdiff_t i = 0; i < n; ++i) out[i * out_step] = line[i * step] * scale + offset;
}

std::uint8_t byte(float level) {
    const float held_level = level > 255.0F ? 255.0F : level < 0.0F ? 0.0F : level;
    return static_cast<std::uint8_t>(static_cast<int>(held_level + 0.5F));
}

void store_bytes(const float* line, std::ptrdiff_t step, std::ptrdiff_t n, float scale,
                 float offset, std::uint8_t* out, std::ptrdiff_t out_step) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        out[i * out_step] = byte(line[i * step] * scale + offset);
    }
}

void join_planes(const std::uint8_t* y, const std::uint8_t* u, const std::uint8_t* v,
                 std::ptrdiff_t n, const YuvMatrix& matrix, std::uint8_t* bgr) {
    for (std::ptrdiff_t i = 0; i < n; ++i) {
        const float gray = matrix.y_gain * (static_cast<float>(y[i]) - matrix.black);
        const float blue = static_cast<float>(u[i]) - 128.0F;
        const float red = static_cast<float>(v[i]) - 128.0F;
        bgr[3 * i] = byte(gray + matrix.u_blue * blue);
        bgr[3 * i + 1] = byte(gray + matrix.u_green * blue + matrix.v_green * red);
        bgr[3 * i + 2] = byte(gray + matrix.v_red * red);
    }
}

std::ptrdiff_t find_at_least(const float* values, std::ptrdiff_t from, std::ptrdiff_t n,
                             float least) {
    while (from < n && !(values[from] >= least)) ++from;
    return from;
}

}  // namespace

const Table plain{"plain",       1,           weigh_rows,   weigh_gray_rows,
                  weigh_columns, sample_any,  mix_channels, store_floats,
                  store_bytes,   join_planes, find_at_least};

}  // namespace ferlite::kernels
