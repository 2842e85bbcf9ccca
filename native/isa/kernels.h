// Defines the table of kernels of the instruction set that includes this.
#include "../candidates.h"
#include "../elementwise.h"
#include "../log_uniform.h"
#include "../softmax.h"

#define XENT_NAME_(x) #x
#define XENT_NAME(x) XENT_NAME_(x)

namespace xent {
namespace XENT_ISA {
extern const Kernels table;
const Kernels table = {XENT_NAME(XENT_ISA), softmax,      softmax_collect, softmax_conclude,
                       softmax_apply,       log_softmax,  softmax_mass,    elementwise,
                       log_uniform_ids,     log_uniform_probabilities,
                       candidate_logits,    candidate_gradients};
}  // namespace XENT_ISA
}  // namespace xent
