#include <stdexcept>

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
    return nms(boxes_span(boxes), vector_span(scores, "scores"), iou,
               {to, static_cast<std::size_t>(kept.size())});
}

std::ptrdiff_t decode_into(const Array<float>& scores, const Array<float>& distances,
                           const Array<float>& landmarks, double stride, float threshold,
                           const Array<float>& out_boxes, const Array<float>& out_scores,
                           const Array<float>& out_landmarks) {
    if (scores.ndim() != 3) throw std::invalid_argument("scores must be [rows, columns, 1]");
    const std::ptrdiff_t rows = scores.shape(0);
    const std::ptrdiff_t columns = scores.shape(1);
    const std::ptrdiff_t cells = rows * columns;
    const Level level{rows,
                      columns,
                      stride,
                      map_view(scores, rows, columns, 1, "scores"),
                      map_view(distances, rows, columns, 4, "distances"),
                      map_view(landmarks, rows, columns, -1, "landmarks")};
    return decode(level, threshold,
                  {reinterpret_cast<Box*>(room(out_boxes, 4 * cells, "out_boxes")),
                   room(out_scores, cells, "out_scores"),
                   room(out_landmarks, level.landmarks.channels * cells, "out_landmarks")});
}

}  // namespace

// The GIL is released for the whole of each call: see arrays.hpp.
void register_detections(py::module_& module) {
    module.def("nms", &nms_into, py::arg("boxes").noconvert(), py::arg("scores").noconvert(),
               py::arg("iou"), py::arg("kept").noconvert(),
               py::call_guard<py::gil_scoped_release>());
    module.def("decode", &decode_into, py::arg("scores").noconvert(),
               py::arg("distances").noconvert(), py::arg("landmarks").noconvert(),
               py::arg("stride"), py::arg("threshold"), py::arg("out_boxes").noconvert(),
               py::arg("out_scores").noconvert(), py::arg("out_landmarks").noconvert(),
               py::call_guard<py::gil_scoped_release>());
}

}  // namespace ferlite::bindings
