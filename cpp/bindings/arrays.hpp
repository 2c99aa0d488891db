#pragma once

#include <pybind11/numpy.h>
#include <pybind11/pybind11.h>

#include <string>
#include <vector>

#include "ferlite/crop.hpp"
#include "ferlite/decode.hpp"
#include "ferlite/image_view.hpp"

// NumPy arrays as the views of the core. All of this runs without the GIL, so it only reads the
// fields of the array structs and makes no Python object; whoever calls holds the arrays by const
// reference. ferlite/crops.py has checked what needs no look at the elements, with better messages;
// checked again here is what would otherwise read or write out of bounds. The core checks elements.
namespace ferlite::bindings {

// No implicit conversion anywhere: with noconvert() an array of another dtype is a TypeError.
template <class T>
using Array = pybind11::array_t<T, 0>;

Color color_named(const std::string& name);

ImageView image_view(const Array<std::uint8_t>& image, const std::string& color);

// [n, height, width, channels] of any strides.
template <class T>
BatchView<T> batch_view(const Array<T>& out, std::ptrdiff_t count, Color color);

// C-contiguous [n, 4]. A copy, so that what was checked stays so while another thread writes to the
// array; it need not be aligned.
std::vector<Box> boxes_of(const Array<float>& boxes);

// A copy of a C-contiguous [n] vector.
template <class T>
std::vector<T> values_of(const Array<T>& array, const char* name);

// [5 + 2 k, rows, columns] of any strides.
MapView map_view(const Array<float>& map, double cell);

// The data of a writable, C-contiguous array of at least `size` elements.
template <class T>
T* room(const Array<T>& array, std::ptrdiff_t size, const char* name);

}  // namespace ferlite::bindings
