#include "prepared.h"

#include <cmath>
#include <optional>
#include <vector>

#include "xent.h"

namespace nb = nanobind;
using namespace nb::literals;
using xent::i64;

namespace {

constexpr i64 fine = -1, bad_weight = -2;  // what a run returns, besides the row of a bad label

template <class T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

using Strides = std::vector<i64>;  // of outer, class and inner axis, in elements

xent::Array layout(xent::Dtype dtype, const Strides& strides) { return {nullptr, dtype, strides[0], strides[1], strides[2]}; }

// What weights must be: 0, or of a size that products of three keep in float's range.
struct Bounds {
  double low = 0, high = 0;
};

// Contiguous floats or doubles.
struct Numbers {
  bool wide = false;
  i64 count = 0;

  double at(uintptr_t address, i64 i) const { return wide ? pointer<double>(address)[i] : double(pointer<float>(address)[i]); }

  void put(uintptr_t address, i64 i, double value) const {
    if (wide)
      pointer<double>(address)[i] = value;
    else
      pointer<float>(address)[i] = float(value);
  }

  bool are_weights(uintptr_t address, Bounds bounds) const {
    for (i64 i = 0; i < count; ++i) {
      const double w = at(address, i);
      if (!(w == 0 || (w >= bounds.low && w <= bounds.high))) return false;
    }
    return true;
  }
};

struct PreparedSoftmax {
  xent::Softmax problem;
  double b = 0, c = 0, zeta = 0;
  xent::Array gradient;
  Numbers results, weights;
  Bounds bounds;
  bool dense = false, mean = false, per_row = false, has_ignore = false, validate = true;
  double scale = 1, nothing = 0;
  i64 ignore = 0;

  i64 run(uintptr_t logits, uintptr_t labels, uintptr_t class_weight, uintptr_t gradient_out, uintptr_t loss_out,
          double upstream, uintptr_t upstream_rows) const {
    xent::Softmax p = problem;
    const i64 rows = p.rows();
    std::optional<nb::gil_scoped_release> released;  // for what takes long enough that other threads could do something
    if (rows * p.classes >= 65536) released.emplace();
    const size_t n = size_t(rows);
    p.logits.data = pointer<char>(logits);
    if (class_weight && !weights.are_weights(class_weight, bounds)) return bad_weight;
    std::vector<double> v(class_weight ? size_t(p.classes) : 0), label_weight;
    for (size_t k = 0; k < v.size(); ++k) v[k] = weights.at(class_weight, i64(k));
    if (!v.empty()) p.class_weight = v.data();
    double kept = double(rows);
    std::vector<i64> resolved;
    if (dense) {
      p.dense.data = pointer<char>(labels);
    } else {
      p.index = pointer<i64>(labels);
      const xent::Labels found = xent::resolve_labels(p.index, rows, p.classes, has_ignore, ignore, nullptr);
      if (found.first_bad >= 0 && validate) return found.first_bad;
      if (found.first_bad >= 0 || found.kept != rows) {
        resolved.resize(n);
        xent::resolve_labels(p.index, rows, p.classes, has_ignore, ignore, resolved.data());
        p.index = resolved.data();
      }
      kept = double(found.kept);
      if (!v.empty()) {
        label_weight.resize(n);
        std::vector<double> mass(n);
        for (size_t r = 0; r < n; ++r) {
          label_weight[r] = v[size_t(p.index[r] < 0 ? 0 : p.index[r])];
          mass[r] = p.index[r] == xent::skip_row ? 0 : label_weight[r];
        }
        kept = xent::ordered_sum(mass.data(), rows);
      }
    }
    const double over = mean ? (kept != 0 ? 1 / kept : 0) : scale;
    xent::Coefficients k{{b, nullptr}, {c, nullptr}, {0, nullptr}, {zeta, nullptr}, {0, nullptr}, over * upstream};
    std::vector<double> of_b, of_c, of_zeta;
    if (!label_weight.empty()) {
      of_b.resize(n);
      for (size_t r = 0; r < n; ++r) of_b[r] = b * label_weight[r];
      k.b.rows = of_b.data();
    }
    if (upstream_rows) {
      of_b.resize(n), of_c.resize(n), of_zeta.resize(n);
      for (size_t r = 0; r < n; ++r) {
        const double g = results.at(upstream_rows, i64(r)) * over;
        of_b[r] = (label_weight.empty() ? b : of_b[r]) * g;
        of_c[r] = c * g;
        of_zeta[r] = zeta * g;
      }
      k = {{0, of_b.data()}, {0, of_c.data()}, {0, nullptr}, {0, of_zeta.data()}, {0, nullptr}, 1};
    }
    xent::Array out = gradient;
    out.data = pointer<char>(gradient_out);
    xent::Statistics s;
    std::vector<double> each(per_row && loss_out ? n : 0);
    if (!each.empty()) s.loss = each.data();
    const double total = xent::kernels().softmax(p, k, s, out) * k.scale;
    for (size_t r = 0; r < each.size(); ++r) results.put(loss_out, i64(r), each[r]);
    if (!per_row && loss_out) results.put(loss_out, 0, mean && kept == 0 ? nothing : total);
    return fine;
  }
};

struct PreparedActivation {
  xent::Softmax problem;
  xent::Array out;
  Numbers results;

  void softmax(uintptr_t logits, uintptr_t into) const {
    const xent::Coefficients k{{0, nullptr}, {0, nullptr}, {1, nullptr}, {0, nullptr}, {0, nullptr}, 1};
    xent::kernels().softmax(at(logits), k, xent::Statistics{}, placed(into));
  }

  void log_softmax(uintptr_t logits, uintptr_t into) const { xent::kernels().log_softmax(at(logits), placed(into)); }

  // Of a row with +inf the kernels' statistics are NaN; its sum is known. Returns whether there is one.
  bool logsumexp(uintptr_t logits, uintptr_t into) const {
    const size_t n = size_t(problem.rows());
    std::vector<double> max(n), log_sum(n);
    xent::Statistics s;
    s.max = max.data();
    s.log_sum = log_sum.data();
    xent::kernels().softmax(at(logits), xent::Coefficients{}, s, xent::Array{});
    bool infinite = false;
    for (size_t r = 0; r < n; ++r) {
      results.put(into, i64(r), max[r] == INFINITY ? max[r] : max[r] + log_sum[r]);
      infinite |= max[r] == INFINITY;
    }
    return infinite;
  }

 private:
  xent::Softmax at(uintptr_t logits) const {
    xent::Softmax p = problem;
    p.logits.data = pointer<char>(logits);
    return p;
  }
  xent::Array placed(uintptr_t into) const {
    xent::Array g = out;
    g.data = pointer<char>(into);
    return g;
  }
};

struct PreparedElementwise {
  xent::Elementwise problem;
  xent::Array gradient, elements;  // elements: each loss, or upstream gradient
  Numbers results, weights[3];
  Bounds bounds;
  bool per_element = false, validate = true;
  double scale = 1, repeats = 1;
  int mass = 0;  // the weight whose sum, `repeats` times, is the mean's denominator; 0: none

  i64 run(uintptr_t logits, uintptr_t labels, uintptr_t of_positives, uintptr_t first, uintptr_t second,
          uintptr_t gradient_out, uintptr_t loss_out, double upstream, uintptr_t upstream_elements) const {
    xent::Elementwise e = problem;
    e.logits.data = pointer<char>(logits);
    e.labels.data = pointer<char>(labels);
    e.pos_weight.data = pointer<char>(of_positives);
    e.weight[0].data = pointer<char>(first);
    e.weight[1].data = pointer<char>(second);
    const uintptr_t given[3] = {of_positives, first, second};
    for (int i = 0; i < 3; ++i)
      if (given[i] && !weights[i].are_weights(given[i], bounds)) return bad_weight;
    double over = scale;
    if (mass) {
      std::vector<double> each(size_t(weights[mass].count));
      for (size_t i = 0; i < each.size(); ++i) each[i] = weights[mass].at(given[mass], i64(i));
      const double sum = xent::ordered_sum(each.data(), i64(each.size())) * repeats;
      over = sum != 0 ? 1 / sum : 0;
    }
    over *= upstream;
    if (upstream_elements) {
      e.weight[2] = elements;
      e.weight[2].data = pointer<char>(upstream_elements);
    }
    xent::Array out = gradient, loss = elements;
    out.data = pointer<char>(gradient_out);
    loss.data = per_element ? pointer<char>(loss_out) : nullptr;
    const xent::Total total = xent::kernels().elementwise(e, loss, out, over);
    if (!per_element && loss_out) results.put(loss_out, 0, total.sum * over);
    return total.bad_label && validate ? 0 : fine;
  }
};

}  // namespace

void add_prepared(nb::module_& m) {
  m.def(
      "ordered_sum", [](uintptr_t numbers, i64 n) { return xent::ordered_sum(pointer<double>(numbers), n); }, "numbers"_a,
      "n"_a, "The sum of doubles in a fixed order, in pairs.");

  nb::class_<PreparedSoftmax>(m, "PreparedSoftmax", "One loss: its problem, with addresses of 0, and the numbers of its options.")
      .def(
          "__init__",
          [](PreparedSoftmax* self, const xent::Softmax& problem, const Strides& gradient) {
            new (self) PreparedSoftmax{problem};
            self->gradient = layout(problem.logits.dtype, gradient);
            self->results.wide = problem.logits.dtype == xent::Dtype::f64;
            self->weights.count = problem.classes;
          },
          "problem"_a, "gradient"_a)
      .def_rw("b", &PreparedSoftmax::b)
      .def_rw("c", &PreparedSoftmax::c)
      .def_rw("zeta", &PreparedSoftmax::zeta)
      .def_rw("dense", &PreparedSoftmax::dense)
      .def_rw("mean", &PreparedSoftmax::mean, "The mean over the rows kept; else `scale` times the sum.")
      .def_rw("scale", &PreparedSoftmax::scale)
      .def_rw("nothing", &PreparedSoftmax::nothing, "The mean over no rows, or none with a weight. Its gradient is 0.")
      .def_rw("per_row", &PreparedSoftmax::per_row)
      .def_rw("validate", &PreparedSoftmax::validate)
      .def_prop_rw(
          "ignore", [](const PreparedSoftmax& p) { return p.ignore; },
          [](PreparedSoftmax& p, i64 label) { p.ignore = label, p.has_ignore = true; })
      .def_prop_rw(
          "wide_weights", [](const PreparedSoftmax& p) { return p.weights.wide; },
          [](PreparedSoftmax& p, bool wide) { p.weights.wide = wide; }, "Class weights are doubles, not floats.")
      .def("bound_weights", [](PreparedSoftmax& p, double low, double high) { p.bounds = {low, high}; }, "low"_a, "high"_a)
      .def("run", &PreparedSoftmax::run, "logits"_a, "labels"_a, "class_weight"_a, "gradient"_a, "loss"_a,
           "upstream"_a = 1.0, "upstream_rows"_a = 0,
           "Writes the loss and the gradient to the addresses that are not 0, times `upstream`, or the gradient times a number "
           "a row. Returns -1; or the first row whose label is out of range; or -2 where weights are none.");

  nb::class_<PreparedActivation>(m, "PreparedActivation")
      .def(
          "__init__",
          [](PreparedActivation* self, const xent::Softmax& problem, const Strides& out) {
            new (self) PreparedActivation{problem};
            self->out = layout(problem.logits.dtype, out);
            self->results.wide = problem.logits.dtype == xent::Dtype::f64;
          },
          "problem"_a, "out"_a)
      .def("softmax", &PreparedActivation::softmax, "logits"_a, "out"_a)
      .def("log_softmax", &PreparedActivation::log_softmax, "logits"_a, "out"_a)
      .def("logsumexp", &PreparedActivation::logsumexp, "logits"_a, "out"_a,
           "Writes floats, or doubles for double logits. Returns whether one is infinite.");

  nb::class_<PreparedElementwise>(m, "PreparedElementwise", "One loss: its problem, with addresses of 0, and its reduction.")
      .def(
          "__init__",
          [](PreparedElementwise* self, const xent::Elementwise& problem, const Strides& out) {
            new (self) PreparedElementwise{problem};
            const bool wide = problem.logits.dtype == xent::Dtype::f64;
            self->gradient = layout(problem.logits.dtype, out);
            self->elements = layout(wide ? xent::Dtype::f64 : xent::Dtype::f32, out);
            self->results.wide = wide;
          },
          "problem"_a, "out"_a)
      .def_rw("per_element", &PreparedElementwise::per_element)
      .def_rw("validate", &PreparedElementwise::validate)
      .def_rw("scale", &PreparedElementwise::scale)
      .def(
          "weigh", [](PreparedElementwise& p, int slot, i64 count, bool wide) { p.weights[slot] = {wide, count}; }, "slot"_a,
          "count"_a, "wide"_a, "How many numbers a weight has (0: of positives; 1 and 2: of elements), and if doubles.")
      .def(
          "mean_over", [](PreparedElementwise& p, int slot, double repeats) { p.mass = slot, p.repeats = repeats; }, "slot"_a,
          "repeats"_a, "The mean is over the sum of a weight, each of whose numbers counts so often; not over 1 / scale.")
      .def("bound_weights", [](PreparedElementwise& p, double low, double high) { p.bounds = {low, high}; }, "low"_a, "high"_a)
      .def("run", &PreparedElementwise::run, "logits"_a, "labels"_a, "pos_weight"_a, "first_weight"_a, "second_weight"_a,
           "gradient"_a, "loss"_a, "upstream"_a = 1.0, "upstream_elements"_a = 0,
           "As PreparedSoftmax.run; 0 where a label is not what it must be.");
}
