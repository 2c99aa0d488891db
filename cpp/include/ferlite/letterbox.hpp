#pragma once

#include "ferlite/image_view.hpp"
#include "ferlite/planes.hpp"

namespace ferlite {

// Where the frame lies on the canvas: canvas = frame * scale + (x, y), exactly, in pixels.
struct Placement {
    double scale;
    std::ptrdiff_t x;
    std::ptrdiff_t y;
    std::ptrdiff_t width;
    std::ptrdiff_t height;
};

// The largest centred rectangle with the aspect of the frame, rounded to whole pixels; not larger
// than the frame unless `enlarge`.
Placement place(std::ptrdiff_t frame_width, std::ptrdiff_t frame_height,
                std::ptrdiff_t canvas_width, std::ptrdiff_t canvas_height, bool enlarge);

// Fits the whole frame onto the canvas, resampled as an upright crop is, and fills the rest with
// the level `padding` (0..255, before scale and offset). Throws std::invalid_argument for an empty
// frame.
template <class T>
Placement letterbox(const ImageView& image, const Format& format, float padding, bool enlarge,
                    const PixelsView<T>& canvas, int threads);

extern template Placement letterbox<float>(const ImageView&, const Format&, float, bool,
                                           const PixelsView<float>&, int);
extern template Placement letterbox<std::uint8_t>(const ImageView&, const Format&, float, bool,
                                                  const PixelsView<std::uint8_t>&, int);

// The same of a picture in planes.
template <class T>
Placement letterbox(const Planes& image, const Format& format, float padding, bool enlarge,
                    const PixelsView<T>& canvas, int threads);

extern template Placement letterbox<float>(const Planes&, const Format&, float, bool,
                                           const PixelsView<float>&, int);
extern template Placement letterbox<std::uint8_t>(const Planes&, const Format&, float, bool,
                                                  const PixelsView<std::uint8_t>&, int);

}  // namespace ferlite
