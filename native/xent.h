// The interface of the kernels: plain structs over addresses, no Python and no framework.
#pragma once

#include <math.h>
#include <stdint.h>

namespace xent {

using i64 = int64_t;

// Logits are of the first four; labels of elementwise losses may be integers.
enum class Dtype : int { f32, f64, bf16, f16, i8, u8, i16, u16, i32, u32, i64, u64 };

// Element (o, k, i) of an outer × classes × inner array. Strides in elements, of any sign; zero where broadcast.
struct Array {
  char* data = nullptr;
  Dtype dtype = Dtype::f32;
  i64 outer = 0, cls = 0, inner = 0;

  explicit operator bool() const { return data != nullptr; }
};

// A number for each row, or one for all of them.
struct PerRow {
  double value = 0;
  const double* rows = nullptr;

  double operator[](i64 row) const { return rows ? rows[row] : value; }
};

// Entries of `index` that are not classes.
constexpr i64 skip_row = -1;     // never read; zero everywhere
constexpr i64 invalid_row = -2;  // a label out of range: NaN everywhere
constexpr i64 elsewhere = -3;    // the label is not among the classes at hand, which are a part of the row's

// Softmax rows and their target. Row o·inner + i has logits x(o, ·, i); z = softcap·tanh(x / softcap) / temperature, or
// x / temperature where softcap is 0. The target is one class (`index`), a measure w_k = v_k·(alpha·t_k + beta), or both.
struct Softmax {
  i64 outer = 0, classes = 0, inner = 0;
  Array logits;
  double temperature = 1, softcap = 0;
  const i64* index = nullptr;  // [rows]: class, skip_row, invalid_row or elsewhere
  bool measure = false;
  Array dense;                         // t as an array
  const i64* topk_index = nullptr;     // t as k classes a row, [rows, k]; negative where they are not at hand
  const double* topk_value = nullptr;  // and their mass
  i64 topk = 0;
  const double* class_weight = nullptr;  // v, [classes]; null for ones
  double alpha = 0, beta = 0;

  i64 rows() const { return outer * inner; }
};

// loss_i = b·nll + c·u + l·lse + zeta·lse² + h·entropy, all of it times `scale` in the gradient.
struct Coefficients {
  PerRow b, c, l, zeta, h;
  double scale = 1;
};

// Per-row results, each [rows] or null. lse = max + log_sum; mass = Σ_k w_k.
struct Statistics {
  double *max = nullptr, *log_sum = nullptr, *entropy = nullptr, *loss = nullptr, *mass = nullptr;
  i64* argmax = nullptr;
};

// What the classes of a row that were seen so far amount to, for rows whose classes are never all there at once.
struct Partial {
  double max = -INFINITY, rest = -1;  // of z; Σ e^(z-max) - 1
  double z_label = 0;                 // once the label was seen
  double u = 0, mass = 0;             // Σ w_k·(max - z_k), Σ w_k
  double spread = 0;                  // Σ e^(z-max)·(max - z), where it is asked for
  i64 argmax = -1;
};

// A loss of single numbers x(o, k, i), each with a label y; alpha·y + beta of the label is positive.
struct Elementwise {
  enum Loss : int { logistic, modulated, pinball };

  i64 outer = 0, classes = 0, inner = 0;
  Loss loss = logistic;
  Array logits;
  Array labels;                         // absent: 0
  const i64* positive_start = nullptr;  // or lists of positive classes a row: [rows + 1] and their concatenation, sorted
  const i64* positive_class = nullptr;
  double alpha = 1, beta = 0;           // and alpha·(high - y) + rest of it is negative: 1 less the positive share
  double rest = 0;
  double low = 0, high = 1;  // what labels must lie between, or be (`ends_only`)
  bool ends_only = false;
  bool bad_is_nan = false;  // an element whose label is none of these is NaN
  bool has_ignore = false;  // elements with this label count for nothing, whatever they hold
  double ignore = 0;
  Array pos_weight;               // of the positive part; absent: 1
  Array weight[3];                // of the element: their product
  double positive = 1, negative = 1;  // multiply the two parts of the loss; of pinball, the cost over and under
  double gamma_pos = 0, gamma_neg = 0, clip = 0;
};

struct Total {
  double sum;
  bool bad_label;
};

// N rows of inputs, the lines of a weight for the T true classes of each, and those for S classes sampled for all of them.
// Contiguous float32 or float64.
struct Candidates {
  i64 rows = 0, trues = 0, sampled = 0, width = 0;
  Dtype dtype = Dtype::f32;
  const char* inputs = nullptr;  // [rows, width]
  const char* lines = nullptr;   // [rows·trues + sampled, width]
};

// What their logits are beside products: bias / temperature - shift is added; -inf where a sampled class is no false one.
struct CandidateShifts {
  const char* bias = nullptr;                                // [rows·trues + sampled]; null: 0
  double temperature = 1;
  const double *trues = nullptr, *sampled = nullptr;         // [rows·trues], [sampled]; null: 0
  const i64 *hit_rows = nullptr, *hit_columns = nullptr;     // [hits], by rising row
  i64 hits = 0;
};

// What one instruction set provides.
struct Kernels {
  const char* name;
  // Statistics and the sum of the losses over the rows; where `gradient` has data, the gradient in the same pass. With
  // the coefficients times an upstream gradient it is the vector-Jacobian product of any of the statistics.
  double (*softmax)(const Softmax&, const Coefficients&, const Statistics&, const Array& gradient);
  // The same in parts. Adds the classes at hand, from number `first` on, to what was seen of the rows; makes the loss
  // and the statistics of whole rows; and the gradient to the classes at hand, given whole rows.
  void (*softmax_collect)(const Softmax&, i64 first, bool entropy, Partial* rows);
  double (*softmax_conclude)(const Partial* rows, i64 n, const Coefficients&, const Statistics&);
  void (*softmax_apply)(const Softmax&, const Coefficients&, i64 first, const Partial* rows, const Array& gradient);
  // z - lse.
  void (*log_softmax)(const Softmax&, const Array& out);
  // Σ_k w_k per row, without touching the logits.
  void (*softmax_mass)(const Softmax&, double* mass);
  // The sum of the losses; each loss, and the gradient times `scale`, where the arrays have data.
  Total (*elementwise)(const Elementwise&, const Array& loss, const Array& gradient, double scale);
  // Log-uniform classes of n pairs of random words, and probabilities of classes, in the bits of the C library; -1 and NaN
  // where that is to be asked itself.
  void (*log_uniform_ids)(const uint32_t* words, i64 n, double log_range, double top, i64* ids);
  void (*log_uniform_probabilities)(const i64* ids, i64 n, double log_range, float* p);
  // Completes logits [rows, trues + sampled] of candidates, which hold the products of the sampled ones.
  void (*candidate_logits)(const Candidates&, const CandidateShifts&, char* logits);
  // Of an upstream gradient [rows, trues + sampled], times `scale`, into what is not null: the gradients to the inputs
  // [rows, width] and to the first rows·trues lines, without what products over the sampled classes give; to the bias.
  void (*candidate_gradients)(const Candidates&, const char* upstream, double scale, char* of_inputs, char* of_lines,
                              char* of_bias);
};

// The kernels in use: the best instruction set this processor has, or the one forced.
const Kernels& kernels();
// Force an instruction set by name; false if it was not built or the processor lacks it. "" picks the best.
bool use_instruction_set(const char* name);
// Names usable on this processor, best first, null-terminated.
const char* const* instruction_sets();

// labels.cpp
struct Labels {
  i64 kept = 0;        // rows that count
  i64 first_bad = -1;  // first row whose label is neither a class nor ignored
};
// Checks labels and, where `out` is not null, writes class, skip_row or invalid_row.
Labels resolve_labels(const i64* labels, i64 rows, i64 classes, bool has_ignore, i64 ignore, i64* out);

// gather.cpp
// Copies lines of `bytes` each that are `stride` bytes apart: those with the numbers `ids`, side by side.
void gather_lines(const char* from, i64 stride, i64 bytes, const i64* ids, i64 n, char* to);

// sum.cpp
// Sum in a fixed order, whatever thread made which part: in pairs, so that the rounding grows with log n only.
double ordered_sum(const double* parts, i64 n);

// threads.cpp
// Lets the threads of an OpenMP runtime that is loaded already do the work; false if there is none to share.
bool share_openmp();
void set_threads(int n);
int get_threads();
// Runs body(context, begin, end) over pieces of [0, n) of at most `grain`, each starting at a multiple of it.
void parallel_run(i64 n, i64 grain, void (*body)(void*, i64, i64), void* context);
// A buffer of this thread, at least `bytes` long, 64-byte aligned, kept for the next call with the same slot.
void* scratch(int slot, i64 bytes);

// buffers.cpp
void* acquire_buffer(i64 bytes);  // null if memory is short
void release_buffer(void* data);
void clear_buffers();
i64 cached_buffer_bytes();
void set_buffer_limit(i64 bytes);
i64 buffer_limit();

}  // namespace xent
