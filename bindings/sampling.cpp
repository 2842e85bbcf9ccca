#include "sampling.h"

#include <nanobind/nanobind.h>

#include "sampling_bindings.h"

namespace nb = nanobind;
using namespace nb::literals;
using xent::i64;
using xent::u64;

namespace {

template <class T>
T* pointer(uintptr_t address) {
  return reinterpret_cast<T*>(address);
}

template <class Real>
int draw(xent::Sampler& sampler, uintptr_t ids, uintptr_t expected, uintptr_t trues, i64 n_trues, uintptr_t trues_expected) {
  const xent::Draw<Real> out{pointer<i64>(ids), pointer<Real>(expected), pointer<const i64>(trues), n_trues,
                             pointer<Real>(trues_expected)};
  const auto interrupted = [] {
    const nb::gil_scoped_acquire locked;
    return PyErr_CheckSignals() != 0;
  };
  xent::Outcome outcome;
  {
    const nb::gil_scoped_release released;
    outcome = sampler.draw(out, interrupted);
  }
  if (outcome == xent::Outcome::stopped) throw nb::python_error();
  return outcome == xent::Outcome::drawn;
}

}  // namespace

void add_samplers(nb::module_& m) {
  nb::class_<xent::Sampler>(m, "Sampler")
      .def(
          "draw",
          [](xent::Sampler& s, bool wide, uintptr_t ids, uintptr_t expected, uintptr_t trues, i64 n_trues,
             uintptr_t trues_expected) {
            return (wide ? draw<double> : draw<float>)(s, ids, expected, trues, n_trues, trues_expected) != 0;
          },
          "wide"_a, "ids"_a, "expected"_a, "trues"_a, "n_trues"_a, "trues_expected"_a,
          "False if too many tries found too few distinct classes. True classes must be in range.")
      .def_prop_ro("calls", &xent::Sampler::calls)
      .def(
          "place", [](xent::Sampler& s, u64 key, u64 stream, u64 calls) { s.place({key, stream}, calls); }, "key"_a,
          "stream"_a, "calls"_a);

  nb::class_<xent::LearnedUnigram, xent::Sampler>(m, "LearnedUnigramSampler")
      .def(
          "__init__",
          [](xent::LearnedUnigram* self, i64 range, i64 size, bool unique, u64 key, u64 stream) {
            new (self) xent::LearnedUnigram(range, size, unique, {key, stream});
          },
          "range"_a, "size"_a, "unique"_a, "key"_a, "stream"_a)
      .def(
          "save",
          [](const xent::LearnedUnigram& s, uintptr_t weights) {
            const nb::gil_scoped_release released;
            return s.save(pointer<int32_t>(weights));
          },
          "weights"_a, "Writes the weights, returns the calls.")
      .def(
          "restore",
          [](xent::LearnedUnigram& s, u64 key, u64 stream, u64 calls, uintptr_t weights) {
            const nb::gil_scoped_release released;
            s.restore({key, stream}, calls, pointer<const int32_t>(weights));
          },
          "key"_a, "stream"_a, "calls"_a, "weights"_a);

  m.def(
      "uniform_sampler",
      [](i64 range, i64 size, bool unique, u64 key, u64 stream) {
        return xent::uniform_sampler(range, size, unique, {key, stream}).release();
      },
      "range"_a, "size"_a, "unique"_a, "key"_a, "stream"_a, nb::rv_policy::take_ownership);
  m.def(
      "log_uniform_sampler",
      [](i64 range, i64 size, bool unique, u64 key, u64 stream) {
        return xent::log_uniform_sampler(range, size, unique, {key, stream}).release();
      },
      "range"_a, "size"_a, "unique"_a, "key"_a, "stream"_a, nb::rv_policy::take_ownership);
  m.def(
      "unigram_sampler",
      [](uintptr_t weights, i64 range, i64 size, bool unique, u64 key, u64 stream) {
        const nb::gil_scoped_release released;
        return xent::unigram_sampler(pointer<const float>(weights), range, size, unique, {key, stream}).release();
      },
      "weights"_a, "range"_a, "size"_a, "unique"_a, "key"_a, "stream"_a, nb::rv_policy::take_ownership);
  m.def(
      "accidental_hits",
      [](uintptr_t trues, i64 rows, i64 per_row, uintptr_t sampled, i64 size) {
        xent::Hits hits;
        {
          const nb::gil_scoped_release released;
          hits = xent::accidental_hits(pointer<const i64>(trues), rows, per_row, pointer<const i64>(sampled), size);
        }
        const auto bytes = [](const std::vector<i64>& v) { return nb::bytes(v.data(), v.size() * sizeof(i64)); };
        return nb::make_tuple(bytes(hits.rows), bytes(hits.columns));
      },
      "trues"_a, "rows"_a, "per_row"_a, "sampled"_a, "size"_a, "Rows and columns, each the bytes of int64.");
  m.def(
      "log_counts",
      [](uintptr_t counts, bool wide, i64 n, uintptr_t out) {
        return wide ? xent::log_counts(pointer<const double>(counts), n, pointer<double>(out))
                    : xent::log_counts(pointer<const float>(counts), n, pointer<double>(out));
      },
      "counts"_a, "wide"_a, "n"_a, "out"_a, "The first count that is not positive and finite, or -1.");
  m.def(
      "gather_lines",
      [](uintptr_t from, i64 stride, i64 bytes, uintptr_t ids, i64 n, uintptr_t to) {
        const nb::gil_scoped_release released;
        xent::gather_lines(pointer<char>(from), stride, bytes, pointer<i64>(ids), n, pointer<char>(to));
      },
      "source"_a, "stride"_a, "bytes"_a, "ids"_a, "n"_a, "to"_a, "Lines with these numbers, side by side.");
  nb::class_<xent::Candidates>(m, "Candidates")
      .def(
          "__init__",
          [](xent::Candidates* self, i64 rows, i64 trues, i64 sampled, i64 width, int dtype, uintptr_t inputs, uintptr_t lines) {
            new (self) xent::Candidates{rows, trues, sampled, width, static_cast<xent::Dtype>(dtype), pointer<char>(inputs),
                                        pointer<char>(lines)};
          },
          "rows"_a, "trues"_a, "sampled"_a, "width"_a, "dtype"_a, "inputs"_a, "lines"_a)
      .def(
          "logits",
          [](const xent::Candidates& c, uintptr_t bias, double temperature, uintptr_t true_shift, uintptr_t sampled_shift,
             uintptr_t hit_rows, uintptr_t hit_columns, i64 hits, uintptr_t logits) {
            const nb::gil_scoped_release released;
            const xent::CandidateShifts shifts{pointer<char>(bias),        temperature,
                                               pointer<double>(true_shift), pointer<double>(sampled_shift),
                                               pointer<i64>(hit_rows),      pointer<i64>(hit_columns), hits};
            xent::kernels().candidate_logits(c, shifts, pointer<char>(logits));
          },
          "bias"_a, "temperature"_a, "true_shift"_a, "sampled_shift"_a, "hit_rows"_a, "hit_columns"_a, "hits"_a, "logits"_a,
          "Completes logits that hold the products of the sampled classes.")
      .def(
          "gradients",
          [](const xent::Candidates& c, uintptr_t upstream, double scale, uintptr_t of_inputs, uintptr_t of_lines,
             uintptr_t of_bias) {
            const nb::gil_scoped_release released;
            xent::kernels().candidate_gradients(c, pointer<char>(upstream), scale, pointer<char>(of_inputs),
                                                pointer<char>(of_lines), pointer<char>(of_bias));
          },
          "upstream"_a, "scale"_a, "of_inputs"_a, "of_lines"_a, "of_bias"_a,
          "Gradients into the addresses that are not 0, but for products over the sampled classes.");

  m.def(
      "distort",
      [](uintptr_t weights, i64 n, float distortion, uintptr_t out) {
        xent::distort(pointer<const float>(weights), n, distortion, pointer<float>(out));
      },
      "weights"_a, "n"_a, "distortion"_a, "out"_a, "weights^distortion, in float.");
}
