#include "arrays.hpp"

#include <cstring>
#include <stdexcept>
#include <type_traits>

namespace ferlite::bindings {

namespace {

[[noreturn]] void invalid(const std::string& message) { throw std::invalid_argument(message); }

std::string shape_of(const pybind11::array& array) {
    std::string text = "[";
    for (pybind11::ssize_t i = 0; i < array.ndim(); ++i) {
        if (i > 0) text += ", ";
        text += std::to_string(array.shape(i));
    }
    return text + "]";
}

bool contiguous(const pybind11::array& array) {
    return (array.flags() & pybind11::array::c_style) != 0;
}

// The pointer and the strides must be whole multiples of the element.
template <class T>
void require_aligned(const Array<T>& array, const char* name) {
    bool aligned = reinterpret_cast<std::uintptr_t>(array.data()) % alignof(T) == 0;
    for (pybind11::ssize_t i = 0; i < array.ndim(); ++i) {
        aligned = aligned && (array.shape(i) < 2 ||
                              array.strides(i) % static_cast<pybind11::ssize_t>(sizeof(T)) == 0);
    }
    if (!aligned) invalid(std::string(name) + " is not aligned to its elements");
}

}  // namespace

Color color_named(const std::string& name) {
    if (name == "bgr") return Color::bgr;
    if (name == "rgb") return Color::rgb;
    if (name == "gray") return Color::gray;
    invalid("color is '" + name + "'; it must be 'bgr', 'rgb' or 'gray'");
}

ImageView image_view(const Array<std::uint8_t>& image, const std::string& color) {
    const bool colored = image.ndim() == 3;
    if (image.ndim() != 2 && !(colored && image.shape(2) == 3)) {
        invalid("image has shape " + shape_of(image) +
                "; it must be [height, width] or [height, width, 3]");
    }
    const Color named = color_named(color);
    if (colored != (named != Color::gray)) {
        invalid("image has shape " + shape_of(image) + " but its color is '" + color + "'");
    }
    return {image.data(),
            image.shape(0),
            image.shape(1),
            colored ? 3 : 1,
            image.strides(0),
            image.strides(1),
            colored ? image.strides(2) : 0,
            named};
}

template <class T>
BatchView<T> batch_view(const Array<T>& out, std::ptrdiff_t count, Color color) {
    const std::ptrdiff_t channels = color == Color::gray ? 1 : 3;
    if (out.ndim() != 4 || out.shape(0) != count || out.shape(3) != channels) {
        invalid("out has shape " + shape_of(out) + "; it must be [" + std::to_string(count) +
                ", height, width, " + std::to_string(channels) + "]");
    }
    const std::ptrdiff_t height = out.shape(1);
    const std::ptrdiff_t width = out.shape(2);
    if (height < 1 || width < 1 || height > largest_side || width > largest_side) {
        invalid("out has shape " + shape_of(out) + "; its sides must be 1 to " +
                std::to_string(largest_side));
    }
    if (!out.writeable()) invalid("out is read-only");
    require_aligned(out, "out");
    const auto stride = [&out](int axis) {
        return out.strides(axis) / static_cast<std::ptrdiff_t>(sizeof(T));
    };
    T* data = const_cast<T*>(out.data());
    return {{data, height, width, stride(1), stride(2), stride(3)}, count, stride(0)};
}

std::vector<Box> boxes_of(const Array<float>& boxes) {
    static_assert(sizeof(Box) == 4 * sizeof(float) && std::is_trivially_copyable_v<Box>);
    if (boxes.ndim() != 2 || boxes.shape(1) != 4 || !contiguous(boxes)) {
        invalid("boxes has shape " + shape_of(boxes) + "; it must be C-contiguous [n, 4]");
    }
    std::vector<Box> copy(static_cast<std::size_t>(boxes.shape(0)));
    if (!copy.empty()) std::memcpy(copy.data(), boxes.data(), copy.size() * sizeof(Box));
    return copy;
}

template <class T>
std::vector<T> values_of(const Array<T>& array, const char* name) {
    if (array.ndim() != 1 || !contiguous(array)) {
        invalid(std::string(name) + " has shape " + shape_of(array) +
                "; it must be C-contiguous [n]");
    }
    std::vector<T> copy(static_cast<std::size_t>(array.shape(0)));
    if (!copy.empty()) std::memcpy(copy.data(), array.data(), copy.size() * sizeof(T));
    return copy;
}

MapView map_view(const Array<float>& map, double cell) {
    if (map.ndim() != 3 || map.shape(0) < 5 || map.shape(0) % 2 == 0) {
        invalid("a map has shape " + shape_of(map) + "; it must be [5 + 2 k, rows, columns]");
    }
    require_aligned(map, "a map");
    constexpr std::ptrdiff_t size = sizeof(float);
    return {map.data(),
            map.shape(0),
            map.shape(1),
            map.shape(2),
            map.strides(0) / size,
            map.strides(1) / size,
            map.strides(2) / size,
            cell};
}

template <class T>
T* room(const Array<T>& array, std::ptrdiff_t size, const char* name) {
    if (array.size() < size || !contiguous(array) || !array.writeable()) {
        invalid(std::string(name) + " has shape " + shape_of(array) +
                "; it must be writable, C-contiguous and hold " + std::to_string(size) +
                " elements");
    }
    require_aligned(array, name);
    return const_cast<T*>(array.data());
}

template BatchView<float> batch_view(const Array<float>&, std::ptrdiff_t, Color);
template BatchView<std::uint8_t> batch_view(const Array<std::uint8_t>&, std::ptrdiff_t, Color);
template std::vector<float> values_of(const Array<float>&, const char*);
template std::vector<double> values_of(const Array<double>&, const char*);
template std::int64_t* room(const Array<std::int64_t>&, std::ptrdiff_t, const char*);

}  // namespace ferlite::bindings
