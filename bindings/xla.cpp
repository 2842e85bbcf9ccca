// The kernels as custom calls of XLA, for JAX under jit on CPU. Buffers are dense and row-major; one without elements stands
// for an argument that is absent. Under vmap every buffer has leading axes, and the call is made for each item.
#include "xla.h"

#include <nanobind/nanobind.h>

#include <cmath>
#include <exception>
#include <vector>

#include "xent.h"
#include "xla/ffi/api/ffi.h"

namespace ffi = xla::ffi;
namespace nb = nanobind;
using xent::i64;

namespace {

xent::Dtype dtype_of(const ffi::AnyBuffer& buffer) {
  switch (buffer.element_type()) {
    case ffi::F32: return xent::Dtype::f32;
    case ffi::F64: return xent::Dtype::f64;
    case ffi::BF16: return xent::Dtype::bf16;
    case ffi::F16: return xent::Dtype::f16;
    case ffi::S8: return xent::Dtype::i8;
    case ffi::S16: return xent::Dtype::i16;
    case ffi::U16: return xent::Dtype::u16;
    case ffi::S32: return xent::Dtype::i32;
    case ffi::U32: return xent::Dtype::u32;
    case ffi::S64: return xent::Dtype::i64;
    case ffi::U64: return xent::Dtype::u64;
    default: return xent::Dtype::u8;  // and booleans, which are bytes of 0 or 1
  }
}

// A buffer under vmap: as many items as the call is made for.
struct Items {
  char* data = nullptr;
  xent::Dtype dtype = xent::Dtype::f32;
  i64 count = 0;  // elements of one item
  i64 bytes = 0;  // of one item

  Items(const ffi::AnyBuffer& buffer, i64 items) : dtype(dtype_of(buffer)) {
    count = i64(buffer.element_count()) / items;
    bytes = i64(buffer.size_bytes()) / items;
    if (count) data = static_cast<char*>(buffer.untyped_data());
  }
  Items(ffi::Result<ffi::AnyBuffer>& buffer, i64 items) : Items(*buffer, items) {}

  explicit operator bool() const { return count != 0; }
  char* at(i64 item) const { return data ? data + item * bytes : nullptr; }

  xent::Array array(i64 item, i64 outer, i64 cls, i64 inner) const { return {at(item), dtype, outer, cls, inner}; }
};

template <class To, class From>
void convert(const char* data, i64 n, std::vector<To>& out) {
  const From* from = reinterpret_cast<const From*>(data);
  out.assign(from, from + n);
}

// Integers of any width; unsigned ones beyond int64 stay out of every range as negative numbers.
void integers(const Items& items, i64 item, std::vector<i64>& out) {
  const char* data = items.at(item);
  switch (items.dtype) {
    case xent::Dtype::i8: return convert<i64, int8_t>(data, items.count, out);
    case xent::Dtype::u8: return convert<i64, uint8_t>(data, items.count, out);
    case xent::Dtype::i16: return convert<i64, int16_t>(data, items.count, out);
    case xent::Dtype::u16: return convert<i64, uint16_t>(data, items.count, out);
    case xent::Dtype::i32: return convert<i64, int32_t>(data, items.count, out);
    case xent::Dtype::u32: return convert<i64, uint32_t>(data, items.count, out);
    default: return convert<i64, i64>(data, items.count, out);
  }
}

// float32 or float64.
void numbers(const Items& items, i64 item, std::vector<double>& out) {
  if (items.dtype == xent::Dtype::f64)
    convert<double, double>(items.at(item), items.count, out);
  else
    convert<double, float>(items.at(item), items.count, out);
}

void put(const Items& out, i64 item, i64 at, double value) {
  if (out.dtype == xent::Dtype::f64)
    reinterpret_cast<double*>(out.at(item))[at] = value;
  else
    reinterpret_cast<float*>(out.at(item))[at] = float(value);
}

struct Coefficient {
  Items items;
  std::vector<double> values;

  Coefficient(const ffi::AnyBuffer& buffer, i64 n) : items(buffer, n) {}

  xent::PerRow at(i64 item) {
    if (!items) return {};
    numbers(items, item, values);
    return values.size() == 1 ? xent::PerRow{values[0], nullptr} : xent::PerRow{0, values.data()};
  }
};

// 1 over the sum of what each row or element adds to the denominator of the mean; 1 where there is no mean. `factor`, if it
// is not empty, has one number a row to multiply with.
double mean_scale(const Items& mass, i64 item, double repeats, const std::vector<double>& factor = {}) {
  if (!mass) return 1;
  std::vector<double> values;
  numbers(mass, item, values);
  if (values.size() == 1 && !factor.empty()) values.resize(factor.size(), values[0]);
  double sum = 0, lost = 0;  // compensated, by Neumaier
  for (size_t i = 0; i < values.size(); ++i) {
    const double m = factor.empty() ? values[i] : values[i] * factor[i], next = sum + m;
    lost += std::fabs(sum) >= std::fabs(m) ? (sum - next) + m : (m - next) + sum;
    sum = next;
  }
  sum = (sum + lost) * repeats;
  return sum == 0 ? 0 : 1 / sum;
}

// Top-k targets that have no meaning (a class out of range, or twice in a row) make the row NaN.
void check_topk(std::vector<i64>& index, std::vector<double>& value, i64 k, i64 classes) {
  for (size_t row = 0; row < index.size(); row += size_t(k)) {
    bool bad = false;
    for (i64 j = 0; j < k; ++j) {
      i64& own = index[row + size_t(j)];
      bad |= own < 0 || own >= classes;
      for (i64 other = 0; other < j; ++other) bad |= index[row + size_t(other)] == own;
    }
    for (i64 j = 0; bad && j < k; ++j) {
      index[row + size_t(j)] = 0;
      value[row + size_t(j)] = NAN;
    }
  }
}

ffi::Error guarded(void (*body)(void*), void* context) {
  try {
    body(context);
    return ffi::Error::Success();
  } catch (const std::exception& error) {
    return ffi::Error::Internal(error.what());
  }
}

template <class F>
ffi::Error guarded(F f) {
  return guarded([](void* context) { (*static_cast<F*>(context))(); }, &f);
}

ffi::Error softmax(ffi::AnyBuffer logits, ffi::AnyBuffer labels, ffi::AnyBuffer dense, ffi::AnyBuffer topk_index,
                   ffi::AnyBuffer topk_value, ffi::AnyBuffer class_weight, ffi::AnyBuffer b, ffi::AnyBuffer c,
                   ffi::AnyBuffer l, ffi::AnyBuffer zeta, ffi::AnyBuffer h, ffi::AnyBuffer mass,
                   ffi::Result<ffi::AnyBuffer> loss, ffi::Result<ffi::AnyBuffer> lse, ffi::Result<ffi::AnyBuffer> entropy,
                   ffi::Result<ffi::AnyBuffer> argmax, ffi::Result<ffi::AnyBuffer> gradient, i64 outer, i64 classes,
                   i64 inner, double temperature, double softcap, bool measure, double alpha, double beta,
                   bool has_ignore, i64 ignore, bool of_dense, bool per_row) {
  return guarded([&] {
    const i64 rows = outer * inner, results = i64(loss->element_count());
    const i64 items = per_row ? (rows ? results / rows : 0) : results;
    if (items == 0) return;
    const Items at_logits(logits, items), at_labels(labels, items), at_dense(dense, items), at_index(topk_index, items),
        at_value(topk_value, items), at_weight(class_weight, items), at_mass(mass, items), at_loss(loss, items),
        at_lse(lse, items), at_entropy(entropy, items), at_argmax(argmax, items), at_gradient(gradient, items);
    Coefficient of_b(b, items), of_c(c, items), of_l(l, items), of_zeta(zeta, items), of_h(h, items);
    std::vector<i64> index, top_index, best(at_argmax ? size_t(rows) : 0);
    std::vector<double> top_value, weight, target;
    const size_t n = size_t(rows);
    const bool statistics = bool(at_lse);
    std::vector<double> each(per_row ? n : 0), max(statistics ? n : 0), log_sum(statistics ? n : 0),
        entropies(statistics ? n : 0);
    for (i64 item = 0; item < items; ++item) {
      xent::Softmax p;
      p.outer = outer;
      p.classes = classes;
      p.inner = inner;
      p.logits = at_logits.array(item, classes * inner, inner, 1);
      p.temperature = temperature;
      p.softcap = softcap;
      p.measure = measure;
      p.alpha = alpha;
      p.beta = beta;
      if (at_labels) {
        integers(at_labels, item, index);
        xent::resolve_labels(index.data(), rows, classes, has_ignore, ignore, index.data());
        p.index = index.data();
      }
      if (at_dense) p.dense = at_dense.array(item, classes * inner, inner, 1);
      if (at_index && rows) {
        integers(at_index, item, top_index);
        numbers(at_value, item, top_value);
        p.topk = at_index.count / rows;
        check_topk(top_index, top_value, p.topk, classes);
        p.topk_index = top_index.data();
        p.topk_value = top_value.data();
      }
      if (at_weight) {
        numbers(at_weight, item, weight);
        p.class_weight = weight.data();
      }
      if (of_dense) {
        target.resize(n);
        xent::kernels().softmax_mass(p, target.data());
      }
      const xent::Coefficients k{of_b.at(item), of_c.at(item),    of_l.at(item),
                                 of_zeta.at(item), of_h.at(item), mean_scale(at_mass, item, 1.0, target)};
      xent::Statistics s;
      if (per_row) s.loss = each.data();
      if (statistics) {
        s.max = max.data();
        s.log_sum = log_sum.data();
        s.entropy = entropies.data();
        s.argmax = best.data();
      }
      const xent::Array into = at_gradient.array(item, classes * inner, inner, 1);
      const double total = xent::kernels().softmax(p, k, s, into);
      if (!per_row) put(at_loss, item, 0, total * k.scale);
      for (i64 r = 0; per_row && r < rows; ++r) put(at_loss, item, r, each[size_t(r)]);
      for (i64 r = 0; statistics && r < rows; ++r) {
        put(at_lse, item, r, max[size_t(r)] + log_sum[size_t(r)]);
        put(at_entropy, item, r, entropies[size_t(r)]);
        reinterpret_cast<int32_t*>(at_argmax.at(item))[r] = int32_t(best[size_t(r)]);
      }
    }
  });
}

// Strides in elements of outer, class and inner axis, for each operand after the other.
ffi::Error elementwise(ffi::AnyBuffer logits, ffi::AnyBuffer labels, ffi::AnyBuffer pos_weight, ffi::AnyBuffer class_weight,
                       ffi::AnyBuffer sample_weight, ffi::AnyBuffer mass, ffi::Result<ffi::AnyBuffer> loss,
                       ffi::Result<ffi::AnyBuffer> gradient, ffi::Span<const i64> sizes, ffi::Span<const i64> strides,
                       i64 kind, ffi::Span<const double> meaning, ffi::Span<const double> factors, double repeats, bool ends_only,
                       bool has_ignore, double ignore, bool per_element, bool validate) {
  return guarded([&] {
    const i64 elements = sizes[0] * sizes[1] * sizes[2], results = i64(loss->element_count());
    const i64 items = per_element ? (elements ? results / elements : 0) : results;
    if (items == 0) return;
    const Items at[] = {{logits, items}, {labels, items}, {pos_weight, items}, {class_weight, items}, {sample_weight, items}};
    const Items at_mass(mass, items), at_loss(loss, items), at_gradient(gradient, items);
    for (i64 item = 0; item < items; ++item) {
      const auto operand = [&](const Items& o, size_t place) {
        const size_t first = 3 * place;
        return o.array(item, strides[first], strides[first + 1], strides[first + 2]);
      };
      xent::Elementwise e;
      e.outer = sizes[0];
      e.classes = sizes[1];
      e.inner = sizes[2];
      e.loss = static_cast<xent::Elementwise::Loss>(kind);
      e.logits = operand(at[0], 0);
      e.labels = operand(at[1], 1);
      e.pos_weight = operand(at[2], 2);
      e.weight[0] = operand(at[3], 3);
      e.weight[1] = operand(at[4], 4);
      e.alpha = meaning[0];
      e.beta = meaning[1];
      e.rest = meaning[2];
      e.low = meaning[3];
      e.high = meaning[4];
      e.ends_only = ends_only;
      e.has_ignore = has_ignore;
      e.ignore = ignore;
      e.positive = factors[0];
      e.negative = factors[1];
      e.gamma_pos = factors[2];
      e.gamma_neg = factors[3];
      e.clip = factors[4];
      const double scale = mean_scale(at_mass, item, repeats);
      const xent::Array each = per_element ? operand(at_loss, 5) : xent::Array{};
      const xent::Array into = at_gradient ? operand(at_gradient, 5) : xent::Array{};
      e.bad_is_nan = validate;  // nothing can be raised here
      const double sum = xent::kernels().elementwise(e, each, into, scale).sum;
      if (!per_element) put(at_loss, item, 0, sum * scale);
    }
  });
}

XLA_FFI_DEFINE_HANDLER(softmax_handler, softmax,
                       ffi::Ffi::Bind()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Attr<i64>("outer")
                           .Attr<i64>("classes")
                           .Attr<i64>("inner")
                           .Attr<double>("temperature")
                           .Attr<double>("softcap")
                           .Attr<bool>("measure")
                           .Attr<double>("alpha")
                           .Attr<double>("beta")
                           .Attr<bool>("has_ignore")
                           .Attr<i64>("ignore")
                           .Attr<bool>("of_dense")
                           .Attr<bool>("per_row"));

XLA_FFI_DEFINE_HANDLER(elementwise_handler, elementwise,
                       ffi::Ffi::Bind()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Arg<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Ret<ffi::AnyBuffer>()
                           .Attr<ffi::Span<const i64>>("sizes")
                           .Attr<ffi::Span<const i64>>("strides")
                           .Attr<i64>("kind")
                           .Attr<ffi::Span<const double>>("meaning")
                           .Attr<ffi::Span<const double>>("factors")
                           .Attr<double>("repeats")
                           .Attr<bool>("ends_only")
                           .Attr<bool>("has_ignore")
                           .Attr<double>("ignore")
                           .Attr<bool>("per_element")
                           .Attr<bool>("validate"));

}  // namespace

nb::dict xla_calls() {
  nb::dict calls;
  calls["xent_softmax"] = nb::capsule(reinterpret_cast<void*>(softmax_handler));
  calls["xent_elementwise"] = nb::capsule(reinterpret_cast<void*>(elementwise_handler));
  return calls;
}
