#include "xent.h"

namespace xent {

Labels resolve_labels(const i64* labels, i64 rows, i64 classes, bool has_ignore, i64 ignore, i64* out) {
  Labels result;
  for (i64 row = 0; row < rows; ++row) {
    const i64 label = labels[row];
    i64 resolved = label;
    if (has_ignore && label == ignore) {
      resolved = skip_row;
    } else {
      ++result.kept;
      if (label < 0 || label >= classes) {
        resolved = invalid_row;
        if (result.first_bad < 0) result.first_bad = row;
      }
    }
    if (out) out[row] = resolved;
  }
  return result;
}

}  // namespace xent
