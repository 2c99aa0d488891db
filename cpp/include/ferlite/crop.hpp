#pragma once

#include <span>

#include "ferlite/image_view.hpp"

namespace ferlite {

// Pixels of the frame; a pixel is a unit square, so the frame spans [0, width] x [0, height].
struct Box {
    float x;
    float y;
    float width;
    float height;
};

// Output sides up to this keep the scratch memory of one thread to a few megabytes, but for planes,
// whose crops are held whole, 12 bytes a pixel.
inline constexpr std::ptrdiff_t largest_side = 16384;

// A turned crop takes at most this many samples an axis for one output pixel, which bounds the
// work for boxes far larger than any frame. Neighbouring samples are one pixel apart or closer up
// to a shrink of 32, and their supports still touch up to 64.
inline constexpr std::ptrdiff_t most_samples = 32;

// Cuts each box out of the frame and resamples it to the size of `out`.
//
// An upright output pixel is the mean of the frame over a rectangle around the pixel's centre,
// `max(1, box side / output side)` frame pixels wide and high: the exact area average when the box
// shrinks, and bilinear interpolation with half-pixel centres when it grows. A turned one (angle
// other than 0; radians, clockwise as seen, about the centre of the box) is the mean of n x m
// bilinear samples spread evenly over the output pixel, n and m being the shrink rounded up. Edge
// pixels are repeated outside the frame.
//
// `angles` is empty when no box is turned. Crops are shared out over up to `threads` threads; the
// result does not depend on how many. Throws std::invalid_argument for an empty frame, a box that
// is not finite or has no area, or an angle that is not finite.
template <class T>
void crop_faces(const ImageView& image, std::span<const Box> boxes, std::span<const double> angles,
                const Format& format, const BatchView<T>& out, int threads);

extern template void crop_faces<float>(const ImageView&, std::span<const Box>,
                                       std::span<const double>, const Format&,
                                       const BatchView<float>&, int);
extern template void crop_faces<std::uint8_t>(const ImageView&, std::span<const Box>,
                                              std::span<const double>, const Format&,
                                              const BatchView<std::uint8_t>&, int);

}  // namespace ferlite
