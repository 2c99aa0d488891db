#pragma once

#include <span>

#include "ferlite/crop.hpp"
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

// A picture in three gray planes; u and v as large as y, or half as large, rounded up.
struct Planes {
    ImageView y;
    ImageView u;
    ImageView v;
    YuvMatrix matrix;
};

// crop_faces of such a picture. Channels are held to 0..255 once they are resampled; those of bytes
// in BGR, which detectors want of whole frames, may be off by 2 levels. Throws
// std::invalid_argument as that does, and for planes or a matrix that are out of range.
template <class T>
void crop_faces(const Planes& image, std::span<const Box> boxes, std::span<const double> angles,
                const Format& format, const BatchView<T>& out, int threads);

extern template void crop_faces<float>(const Planes&, std::span<const Box>, std::span<const double>,
                                       const Format&, const BatchView<float>&, int);
extern template void crop_faces<std::uint8_t>(const Planes&, std::span<const Box>,
                                              std::span<const double>, const Format&,
                                              const BatchView<std::uint8_t>&, int);

}  // namespace ferlite
