#include <pybind11/stl.h>

#include <array>
#include <stdexcept>
#include <vector>

#include "arrays.hpp"
#include "ferlite/decode.hpp"
#include "ferlite/nms.hpp"
#include "register.hpp"

namespace ferlite::bindings {

namespace py = pybind11;

namespace {

std::size_t nms_into(const Array<float>& boxes, const Array<float>& scores, double iou,
                     const Array<std::int64_t>& kept) {
    std::int64_t* to = room(kept, 0, "kept");
    return nms(boxes_of(boxes), values_of(scores, "scores"), iou,
               {to, static_cast<std::size_t>(kept.size())});
}

template <class T>
Array<T> copied(const T* data, std::vector<py::ssize_t> shape) {
    return Array<T>(std::move(shape), data);
}

py::tuple decode_maps(const std::vector<Array<float>>& maps, const std::vector<double>& cells,
                      double threshold, const std::array<double, 3>& zoom) {
    Candidates found;
    {
        const py::gil_scoped_release release;
        if (cells.size() != maps.size()) throw std::invalid_argument("one stride a map is needed");
        for (std::size_t i = 0; i < maps.size(); ++i) {
            const MapView map = map_view(maps[i], cells[i]);
            if (map.channels != maps[0].shape(0)) {
                throw std::invalid_argument("the maps differ in their channels");
            }
            decode(map, threshold, {zoom[0], zoom[1], zoom[2]}, found);
        }
    }
    const auto n = static_cast<py::ssize_t>(found.boxes.size());
    const py::ssize_t points = maps.empty() ? 0 : (maps[0].shape(0) - 5) / 2;
    return py::make_tuple(copied(reinterpret_cast<const float*>(found.boxes.data()), {n, 4}),
                          copied(found.scores.data(), {n}),
                          copied(found.landmarks.data(), {n, points, 2}));
}

}  // namespace

// The GIL is released for the whole of each call (see arrays.hpp), but for making decode's arrays.
void register_detections(py::module_& module) {
    module.def("nms", &nms_into, py::arg("boxes").noconvert(), py::arg("scores").noconvert(),
               py::arg("iou"), py::arg("kept").noconvert(),
               py::call_guard<py::gil_scoped_release>());
    module.def("decode", &decode_maps, py::arg("maps").noconvert(), py::arg("strides"),
               py::arg("threshold"), py::arg("zoom"));
}

}  // namespace ferlite::bindings
