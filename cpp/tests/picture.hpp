#pragma once

#include <cstdint>
#include <random>
#include <vector>

#include "ferlite/image_view.hpp"

namespace ferlite::tests {

// A frame in a buffer of exactly its own size, so that the sanitizer sees one byte too far.
struct Picture {
    std::vector<std::uint8_t> bytes;
    ImageView view;

    Picture(std::ptrdiff_t height, std::ptrdiff_t width, Color color)
        : bytes(static_cast<std::size_t>(height * width * (color == Color::gray ? 1 : 3))),
          view{bytes.data(),  height, width, color == Color::gray ? 1 : 3, 0, 0,
               /*channel=*/1, color} {
        view.column_stride = view.channels;
        view.row_stride = width * view.channels;
    }
    // The view points into the vector, whose memory moves along but is not shared by a copy.
    Picture(Picture&&) = default;
};

inline Picture noise(std::ptrdiff_t height, std::ptrdiff_t width, Color color, unsigned seed) {
    std::mt19937 random(seed);
    Picture picture(height, width, color);
    for (auto& byte : picture.bytes) byte = static_cast<std::uint8_t>(random());
    return picture;
}

// The same bytes seen in another order: mirrored, upside down, channels swapped, transposed.
inline ImageView seen(ImageView view, bool mirrored, bool upside_down, bool swapped, bool turned) {
    if (mirrored) {
        view.data += (view.width - 1) * view.column_stride;
        view.column_stride = -view.column_stride;
    }
    if (upside_down) {
        view.data += (view.height - 1) * view.row_stride;
        view.row_stride = -view.row_stride;
    }
    if (swapped && view.channels == 3) {
        view.data += 2 * view.channel_stride;
        view.channel_stride = -view.channel_stride;
    }
    if (turned) {
        std::swap(view.width, view.height);
        std::swap(view.column_stride, view.row_stride);
    }
    return view;
}

template <class T>
struct Output {
    std::vector<T> values;
    BatchView<T> view;

    Output(std::ptrdiff_t count, std::ptrdiff_t height, std::ptrdiff_t width, Color color)
        : Output(count, height, width, static_cast<std::ptrdiff_t>(color == Color::gray ? 1 : 3)) {}

    T at(std::ptrdiff_t index, std::ptrdiff_t row, std::ptrdiff_t column,
         std::ptrdiff_t channel = 0) const {
        const PixelsView<T> picture = view[index];
        return picture.data[row * picture.row_stride + column * picture.column_stride +
                            channel * picture.channel_stride];
    }

  private:
    Output(std::ptrdiff_t count, std::ptrdiff_t height, std::ptrdiff_t width,
           std::ptrdiff_t channels)
        : values(static_cast<std::size_t>(count * height * width * channels)),
          view{{values.data(), height, width, width * channels, channels, 1},
               count,
               height * width * channels} {}
};

}  // namespace ferlite::tests
