#pragma once

#include "ferlite/image_view.hpp"

namespace ferlite {

// How video stores colour: brightness y in one plane, and in two others how far blue (u) and red
// (v) are from it, around 128. A channel is y_gain * (y - black) plus its own shares of u and v:
// blue u_blue, green u_green and v_green, red v_red. Shares beyond +-4 are out of range.
struct YuvMatrix {
    float black;
    float y_gain;
    float u_blue;
    float u_green;
    float v_green;
    float v_red;
};

// Three gray planes of equal size as one picture in BGR, each channel rounded and held to 0..255.
// Throws std::invalid_argument where the sizes differ, pixels of a row do not follow one another,
// or the matrix is out of range.
void join_planes(const ImageView& y, const ImageView& u, const ImageView& v,
                 const YuvMatrix& matrix, const PixelsView<std::uint8_t>& out);

}  // namespace ferlite
