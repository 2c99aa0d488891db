#pragma once

#include <span>

#include "ferlite/crop.hpp"
#include "resample.hpp"

namespace ferlite {

// One box of crop_faces; the view must come from with_forward_channels.
template <class T>
void crop_one(const ImageView& image, const Box& box, double angle, const Format& format,
              const PixelsView<T>& out, Scratch& scratch);

// Throws std::invalid_argument unless there are none, or one for each box, all finite.
void require_angles(std::span<const Box> boxes, std::span<const double> angles);

// How many bytes of the frame are read, for useful_threads.
double bytes_read(const ImageView& image, std::span<const Box> boxes,
                  std::span<const double> angles);

}  // namespace ferlite
