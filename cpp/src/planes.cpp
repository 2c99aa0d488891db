#include "ferlite/planes.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <stdexcept>
#include <type_traits>
#include <vector>

#include "boxes.hpp"
#include "crop_one.hpp"
#include "kernels/kernels.hpp"
#include "parallel.hpp"
#include "resample.hpp"

namespace ferlite {

namespace {

// A share of colour in gray under this is under half a level at the strongest colour.
constexpr float negligible = 0.004F;

// What y, u and v add to a channel, and what is added to all of it.
struct Shares {
    std::array<float, 3> of;
    float constant;
};

void require(bool holds, const char* otherwise) {
    if (!holds) throw std::invalid_argument(otherwise);
}

void require_range(const YuvMatrix& matrix) {
    for (const float share :
         {matrix.y_gain, matrix.u_blue, matrix.u_green, matrix.v_green, matrix.v_red}) {
        require(std::abs(share) <= 4, "the matrix is out of range");
    }
    require(matrix.black >= 0 && matrix.black <= 255, "the level of black is not in 0..255");
}

// Pixels of u and v a pixel of y.
float chroma_zoom(const Planes& image) {
    require_pixels(image.y);
    for (const ImageView* plane : {&image.y, &image.u, &image.v}) {
        require(plane->channels == 1, "a plane must be gray");
    }
    require(image.u.width == image.v.width && image.u.height == image.v.height,
            "u and v differ in size");
    if (image.u.width == image.y.width && image.u.height == image.y.height) return 1.0F;
    require(image.u.width == (image.y.width + 1) / 2 && image.u.height == (image.y.height + 1) / 2,
            "u and v are neither as large as y nor half as large");
    return 0.5F;
}

// Blue, green and red in the order of the colour, or their mixture.
std::vector<Shares> channels(const YuvMatrix& matrix, Color color) {
    const auto share = [&matrix](float u, float v) {
        return Shares{{matrix.y_gain, u, v}, -matrix.y_gain * matrix.black - 128.0F * (u + v)};
    };
    const Shares blue = share(matrix.u_blue, 0.0F);
    const Shares green = share(matrix.u_green, matrix.v_green);
    const Shares red = share(0.0F, matrix.v_red);
    if (color == Color::bgr) return {blue, green, red};
    if (color == Color::rgb) return {red, green, blue};
    const float* weights = gray_weights(Color::bgr);
    const float u = weights[0] * matrix.u_blue + weights[1] * matrix.u_green;
    const float v = weights[1] * matrix.v_green + weights[2] * matrix.v_red;
    return {share(std::abs(u) < negligible ? 0.0F : u, std::abs(v) < negligible ? 0.0F : v)};
}

struct PlanesScratch {
    Scratch resampling;
    std::array<std::vector<float>, 3> planes;
    std::array<std::vector<std::uint8_t>, 3> levels;
    std::vector<float> line;

    std::size_t bytes() const {
        std::size_t bytes = resampling.bytes() + line.capacity() * sizeof(float);
        for (const auto& plane : planes) bytes += plane.capacity() * sizeof(float);
        for (const auto& plane : levels) bytes += plane.capacity();
        return bytes;
    }
};

// Where one plane is resampled to.
template <class S>
PixelsView<S> room_for(std::vector<S>& plane, std::ptrdiff_t height, std::ptrdiff_t width) {
    plane.resize(static_cast<std::size_t>(height * width));
    return {plane.data(), height, width, width, 1, 0};
}

Box zoomed(const Box& box, float zoom) {
    return {box.x * zoom, box.y * zoom, box.width * zoom, box.height * zoom};
}

// Writes the channel that the resampled planes make.
template <class T>
void mix(const Shares& shares, const Format& format, const PixelsView<T>& channel,
         PlanesScratch& scratch) {
    scratch.line.resize(static_cast<std::size_t>(channel.width));
    float* line = scratch.line.data();
    for (std::ptrdiff_t row = 0; row < channel.height; ++row) {
        std::fill_n(line, channel.width, shares.constant);
        for (std::size_t k = 0; k < 3; ++k) {
            const float share = shares.of[k];
            if (share == 0.0F) continue;
            const float* plane = scratch.planes[k].data() + row * channel.width;
            for (std::ptrdiff_t i = 0; i < channel.width; ++i) line[i] += share * plane[i];
        }
        for (std::ptrdiff_t i = 0; i < channel.width; ++i) {
            line[i] = std::clamp(line[i], 0.0F, 255.0F);
        }
        write_row(line, 1, Color::gray, 1.0F, {Color::gray, format.scale, format.offset}, channel,
                  row);
    }
}

// What the kernel that joins planes writes, three times as fast, from planes that are rounded
// first.
template <class T>
bool bytes_in_bgr(const Format& format, const PixelsView<T>& out) {
    return std::is_same_v<T, std::uint8_t> && format.color == Color::bgr && format.scale == 1.0F &&
           format.offset == 0.0F && out.column_stride == 3 && out.channel_stride == 1;
}

void join(const std::array<std::vector<std::uint8_t>, 3>& planes, const YuvMatrix& matrix,
          const PixelsView<std::uint8_t>& out) {
    const kernels::Table& kernel = kernels::active();
    for (std::ptrdiff_t row = 0; row < out.height; ++row) {
        const std::ptrdiff_t at = row * out.width;
        kernel.join_planes(planes[0].data() + at, planes[1].data() + at, planes[2].data() + at,
                           out.width, matrix, out.data + row * out.row_stride);
    }
}

}  // namespace

template <class T>
void crop_faces(const Planes& image, std::span<const Box> boxes, std::span<const double> angles,
                const Format& format, const BatchView<T>& out, int threads) {
    const float zoom = chroma_zoom(image);
    require_range(image.matrix);
    require_boxes(boxes, true);
    require_angles(boxes, angles);
    const std::vector<Shares> wanted = channels(image.matrix, format.color);
    const std::array<const ImageView*, 3> views{&image.y, &image.u, &image.v};
    const auto crop = [&](std::ptrdiff_t i, PlanesScratch& scratch) {
        const auto at = static_cast<std::size_t>(i);
        const PixelsView<T> target = out[i];
        const bool joined = bytes_in_bgr(format, target);
        for (std::size_t k = 0; k < views.size(); ++k) {
            const auto used = [k](const Shares& shares) { return shares.of[k] != 0.0F; };
            if (!joined && std::none_of(wanted.begin(), wanted.end(), used)) continue;
            const Box box = zoomed(boxes[at], k == 0 ? 1.0F : zoom);
            const double angle = angles.empty() ? 0.0 : angles[at];
            const auto cut = [&]<class S>(std::vector<S>& plane) {
                crop_one(*views[k], box, angle, {}, room_for(plane, target.height, target.width),
                         scratch.resampling);
            };
            if (joined) {
                cut(scratch.levels[k]);
            } else {
                cut(scratch.planes[k]);
            }
        }
        if constexpr (std::is_same_v<T, std::uint8_t>) {
            if (joined) {
                join(scratch.levels, image.matrix, target);
                return;
            }
        }
        for (std::size_t c = 0; c < wanted.size(); ++c) {
            PixelsView<T> channel = target;
            channel.data += static_cast<std::ptrdiff_t>(c) * target.channel_stride;
            mix(wanted[c], format, channel, scratch);
        }
    };
    const double bytes = bytes_read(image.y, boxes, angles) * 2;
    parallel_for<PlanesScratch>(static_cast<std::ptrdiff_t>(boxes.size()),
                                useful_threads(bytes, threads), crop);
}

template void crop_faces<float>(const Planes&, std::span<const Box>, std::span<const double>,
                                const Format&, const BatchView<float>&, int);
template void crop_faces<std::uint8_t>(const Planes&, std::span<const Box>, std::span<const double>,
                                       const Format&, const BatchView<std::uint8_t>&, int);

}  // namespace ferlite
