// The one place where Python meets the kernels. Arrays come as addresses with strides: the Python side keeps them alive for
// the call, so that no framework's array type is known here.
#include <nanobind/nanobind.h>
#include <nanobind/ndarray.h>
#include <nanobind/stl/pair.h>
#include <nanobind/stl/string.h>

#include <algorithm>

#include "prepared.h"
#include "sampling_bindings.h"
#include "xent.h"
#ifdef XENT_XLA
#include "xla.h"
#endif

namespace nb = nanobind;
using xent::Softmax;
using namespace nb::literals;
using xent::i64;

namespace {

template <class T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

xent::PerRow per_row(double value, uintptr_t rows) { return {value, pointer<double>(rows)}; }

xent::Array array(uintptr_t address, int dtype, i64 outer, i64 cls, i64 inner) {
  return {pointer<char>(address), static_cast<xent::Dtype>(dtype), outer, cls, inner};
}

}  // namespace

NB_MODULE(_native, m) {
  nb::set_leak_warnings(false);  // at exit, objects that an exception keeps alive are no leak
  m.doc() = "Native kernels. Internal: addresses are not checked.";

  m.def(
      "address",
      [](nb::handle array) -> uintptr_t {
        if (array.is_none()) return 0;
        Py_buffer view;
        if (PyObject_GetBuffer(array.ptr(), &view, PyBUF_STRIDES) == 0) {
          PyBuffer_Release(&view);
          return reinterpret_cast<uintptr_t>(view.buf);
        }
        PyErr_Clear();  // dtypes that buffers do not know
        return nb::cast<uintptr_t>(array.attr("__array_interface__")["data"][0]);
      },
      "array"_a.none(), "Where the data of an array of NumPy lies; 0 of None.");

  nb::class_<Softmax>(m, "Softmax")
      .def(
          "__init__",
          [](Softmax* self, i64 outer, i64 classes, i64 inner, uintptr_t logits, int dtype, i64 so, i64 sc, i64 si,
             double temperature, double softcap, uintptr_t index) {
            new (self) Softmax();
            self->outer = outer;
            self->classes = classes;
            self->inner = inner;
            self->logits = array(logits, dtype, so, sc, si);
            self->temperature = temperature;
            self->softcap = softcap;
            self->index = pointer<i64>(index);
          },
          "outer"_a, "classes"_a, "inner"_a, "logits"_a, "dtype"_a, "outer_stride"_a, "class_stride"_a, "inner_stride"_a,
          "temperature"_a, "softcap"_a, "index"_a)
      .def(
          "measure",
          [](Softmax& s, uintptr_t class_weight, double alpha, double beta) {
            s.measure = true;
            s.class_weight = pointer<double>(class_weight);
            s.alpha = alpha;
            s.beta = beta;
          },
          "class_weight"_a, "alpha"_a, "beta"_a)
      .def(
          "dense",
          [](Softmax& s, uintptr_t target, int dtype, i64 so, i64 sc, i64 si) { s.dense = array(target, dtype, so, sc, si); },
          "target"_a, "dtype"_a, "outer_stride"_a, "class_stride"_a, "inner_stride"_a)
      .def(
          "topk",
          [](Softmax& s, uintptr_t indices, uintptr_t values, i64 k) {
            s.topk_index = pointer<i64>(indices);
            s.topk_value = pointer<double>(values);
            s.topk = k;
          },
          "indices"_a, "values"_a, "k"_a)
      .def(
          "run",
          [](const Softmax& s, double b, uintptr_t b_rows, double c, uintptr_t c_rows, double l, uintptr_t l_rows,
             double zeta, uintptr_t zeta_rows, double h, uintptr_t h_rows, double scale, uintptr_t loss,
             uintptr_t gradient, int dtype, i64 so, i64 sc, i64 si, uintptr_t max, uintptr_t log_sum, uintptr_t entropy,
             uintptr_t argmax, uintptr_t mass) {
            nb::gil_scoped_release release;
            const xent::Coefficients k{per_row(b, b_rows), per_row(c, c_rows),       per_row(l, l_rows),
                                       per_row(zeta, zeta_rows), per_row(h, h_rows), scale};
            const xent::Statistics out{pointer<double>(max), pointer<double>(log_sum), pointer<double>(entropy),
                                       pointer<double>(loss), pointer<double>(mass), pointer<i64>(argmax)};
            return xent::kernels().softmax(s, k, out, array(gradient, dtype, so, sc, si));
          },
          "b"_a, "b_rows"_a, "c"_a, "c_rows"_a, "l"_a, "l_rows"_a, "zeta"_a, "zeta_rows"_a, "h"_a, "h_rows"_a, "scale"_a,
          "loss"_a, "gradient"_a, "dtype"_a, "outer_stride"_a, "class_stride"_a, "inner_stride"_a, "max"_a, "log_sum"_a,
          "entropy"_a, "argmax"_a, "mass"_a,
          "The sum of the losses; per-row results and the gradient into the addresses that are not 0. Each coefficient is a "
          "number, or one a row where its address is not 0.")
      .def(
          "collect",
          [](const Softmax& s, i64 first, bool entropy, uintptr_t rows) {
            nb::gil_scoped_release release;
            xent::kernels().softmax_collect(s, first, entropy, pointer<xent::Partial>(rows));
          },
          "first"_a, "entropy"_a, "rows"_a, "Adds these classes, from number `first` on, to what was seen of the rows.")
      .def(
          "apply",
          [](const Softmax& s, i64 first, uintptr_t rows, double b, uintptr_t b_rows, double c, uintptr_t c_rows,
             double l, uintptr_t l_rows, double zeta, uintptr_t zeta_rows, double h, uintptr_t h_rows, double scale,
             uintptr_t gradient, int dtype, i64 so, i64 sc, i64 si) {
            nb::gil_scoped_release release;
            const xent::Coefficients k{per_row(b, b_rows), per_row(c, c_rows),       per_row(l, l_rows),
                                       per_row(zeta, zeta_rows), per_row(h, h_rows), scale};
            xent::kernels().softmax_apply(s, k, first, pointer<xent::Partial>(rows), array(gradient, dtype, so, sc, si));
          },
          "first"_a, "rows"_a, "b"_a, "b_rows"_a, "c"_a, "c_rows"_a, "l"_a, "l_rows"_a, "zeta"_a, "zeta_rows"_a, "h"_a,
          "h_rows"_a, "scale"_a, "gradient"_a, "dtype"_a, "outer_stride"_a, "class_stride"_a, "inner_stride"_a,
          "The gradient to these classes, from number `first` on, of rows all of whose classes were seen.")
      .def(
          "log_softmax",
          [](const Softmax& s, uintptr_t out, int dtype, i64 so, i64 sc, i64 si) {
            nb::gil_scoped_release release;
            xent::kernels().log_softmax(s, array(out, dtype, so, sc, si));
          },
          "out"_a, "dtype"_a, "outer_stride"_a, "class_stride"_a, "inner_stride"_a)
      .def(
          "mass",
          [](const Softmax& s, uintptr_t out) {
            nb::gil_scoped_release release;
            xent::kernels().softmax_mass(s, pointer<double>(out));
          },
          "out"_a);

  nb::class_<xent::Elementwise>(m, "Elementwise")
      .def(
          "__init__",
          [](xent::Elementwise* self, i64 outer, i64 classes, i64 inner, int loss, uintptr_t logits, int dtype, i64 so,
             i64 sc, i64 si, double positive, double negative, double gamma_pos, double gamma_neg, double clip) {
            new (self) xent::Elementwise();
            self->outer = outer;
            self->classes = classes;
            self->inner = inner;
            self->loss = static_cast<xent::Elementwise::Loss>(loss);
            self->logits = array(logits, dtype, so, sc, si);
            self->positive = positive;
            self->negative = negative;
            self->gamma_pos = gamma_pos;
            self->gamma_neg = gamma_neg;
            self->clip = clip;
          },
          "outer"_a, "classes"_a, "inner"_a, "loss"_a, "logits"_a, "dtype"_a, "outer_stride"_a, "class_stride"_a,
          "inner_stride"_a, "positive"_a, "negative"_a, "gamma_pos"_a, "gamma_neg"_a, "clip"_a)
      .def(
          "labels",
          [](xent::Elementwise& e, uintptr_t labels, int dtype, i64 so, i64 sc, i64 si) {
            e.labels = array(labels, dtype, so, sc, si);
          },
          "labels"_a, "dtype"_a, "outer_stride"_a, "class_stride"_a, "inner_stride"_a)
      .def(
          "positives",
          [](xent::Elementwise& e, uintptr_t start, uintptr_t classes) {
            e.positive_start = pointer<i64>(start);
            e.positive_class = pointer<i64>(classes);
          },
          "start"_a, "classes"_a)
      .def(
          "meaning",
          [](xent::Elementwise& e, double alpha, double beta, double rest, double low, double high, bool ends_only) {
            e.alpha = alpha;
            e.beta = beta;
            e.rest = rest;
            e.low = low;
            e.high = high;
            e.ends_only = ends_only;
          },
          "alpha"_a, "beta"_a, "rest"_a, "low"_a, "high"_a, "ends_only"_a,
          "What labels mean: alpha·y + beta is positive, alpha·(high - y) + rest negative; they lie in [low, high], or are one of its ends.")
      .def(
          "ignore",
          [](xent::Elementwise& e, double label) {
            e.has_ignore = true;
            e.ignore = label;
          },
          "label"_a)
      .def(
          "pos_weight",
          [](xent::Elementwise& e, uintptr_t weight, int dtype, i64 so, i64 sc, i64 si) {
            e.pos_weight = array(weight, dtype, so, sc, si);
          },
          "weight"_a, "dtype"_a, "outer_stride"_a, "class_stride"_a, "inner_stride"_a)
      .def(
          "weight",
          [](xent::Elementwise& e, int slot, uintptr_t weight, int dtype, i64 so, i64 sc, i64 si) {
            e.weight[slot] = array(weight, dtype, so, sc, si);
          },
          "slot"_a, "weight"_a, "dtype"_a, "outer_stride"_a, "class_stride"_a, "inner_stride"_a)
      .def(
          "run",
          [](const xent::Elementwise& e, double scale, uintptr_t loss, int loss_dtype, i64 lo, i64 lc, i64 li,
             uintptr_t gradient, int dtype, i64 so, i64 sc, i64 si) {
            nb::gil_scoped_release release;
            const xent::Total t = xent::kernels().elementwise(e, array(loss, loss_dtype, lo, lc, li),
                                                              array(gradient, dtype, so, sc, si), scale);
            return std::make_pair(t.sum, t.bad_label);
          },
          "scale"_a, "loss"_a, "loss_dtype"_a, "loss_outer"_a, "loss_class"_a, "loss_inner"_a, "gradient"_a, "dtype"_a,
          "outer_stride"_a, "class_stride"_a, "inner_stride"_a,
          "(sum of the losses, whether a label was bad); each loss and the gradient into the addresses that are not 0.");

  m.attr("PARTIAL_BYTES") = sizeof(xent::Partial);
  m.def(
      "partials",
      [](uintptr_t rows, i64 n) { std::fill_n(pointer<xent::Partial>(rows), n, xent::Partial()); },
      "rows"_a, "n"_a, "Rows of which nothing was seen yet.");
  m.def(
      "conclude",
      [](uintptr_t rows, i64 n, double b, uintptr_t b_rows, double c, uintptr_t c_rows, double l, uintptr_t l_rows,
         double zeta, uintptr_t zeta_rows, double h, uintptr_t h_rows, double scale, uintptr_t loss, uintptr_t max,
         uintptr_t log_sum, uintptr_t entropy, uintptr_t argmax, uintptr_t mass) {
        nb::gil_scoped_release release;
        const xent::Coefficients k{per_row(b, b_rows), per_row(c, c_rows),       per_row(l, l_rows),
                                   per_row(zeta, zeta_rows), per_row(h, h_rows), scale};
        const xent::Statistics out{pointer<double>(max), pointer<double>(log_sum), pointer<double>(entropy),
                                   pointer<double>(loss), pointer<double>(mass), pointer<i64>(argmax)};
        return xent::kernels().softmax_conclude(pointer<xent::Partial>(rows), n, k, out);
      },
      "rows"_a, "n"_a, "b"_a, "b_rows"_a, "c"_a, "c_rows"_a, "l"_a, "l_rows"_a, "zeta"_a, "zeta_rows"_a, "h"_a,
      "h_rows"_a, "scale"_a, "loss"_a, "max"_a, "log_sum"_a, "entropy"_a, "argmax"_a, "mass"_a,
      "As Softmax.run, for rows all of whose classes were seen.");

  add_prepared(m);
  add_samplers(m);

  m.def(
      "resolve_labels",
      [](uintptr_t labels, i64 rows, i64 classes, bool has_ignore, i64 ignore, uintptr_t out) {
        const xent::Labels r =
            xent::resolve_labels(pointer<i64>(labels), rows, classes, has_ignore, ignore, pointer<i64>(out));
        return std::make_pair(r.kept, r.first_bad);
      },
      "labels"_a, "rows"_a, "classes"_a, "has_ignore"_a, "ignore"_a, "out"_a = 0,
      "(rows kept, first bad row or -1); writes class, -1 (skip) or -2 (invalid) where `out` is given.");

  m.def(
      "buffer",
      [](i64 bytes) {
        void* data = xent::acquire_buffer(bytes);
        if (!data) throw std::bad_alloc();
        nb::capsule owner(data, [](void* p) noexcept { xent::release_buffer(p); });
        return nb::ndarray<nb::numpy, uint8_t, nb::ndim<1>>(data, {size_t(bytes)}, owner);
      },
      "bytes"_a, "A NumPy array of bytes from the pool; it goes back when the array dies.");
#ifdef XENT_XLA
  m.def("xla_calls", &xla_calls, "Names and handlers of the custom calls for XLA.");
#else
  m.def("xla_calls", [] { return nb::dict(); }, "Empty: built without the headers of XLA.");
#endif
  m.def("clear_buffers", &xent::clear_buffers);
  m.def("cached_buffer_bytes", &xent::cached_buffer_bytes);
  m.def("buffer_limit", &xent::buffer_limit);
  m.def("set_buffer_limit", &xent::set_buffer_limit, "bytes"_a);
  m.def("share_openmp", &xent::share_openmp);
  m.def("set_threads", &xent::set_threads, "n"_a);
  m.def("get_threads", &xent::get_threads);
  m.def("instruction_set", [] { return std::string(xent::kernels().name); });
  m.def("instruction_sets", [] {
    std::vector<std::string> names;
    for (const char* const* name = xent::instruction_sets(); *name; ++name) names.emplace_back(*name);
    return names;
  });
  m.def("use_instruction_set", [](const std::string& name) { return xent::use_instruction_set(name.c_str()); }, "name"_a);
}
