#include "xent.h"

namespace xent {

double ordered_sum(const double* parts, i64 n) {
  if (n > 64) {
    const i64 half = n / 2;
    return ordered_sum(parts, half) + ordered_sum(parts + half, n - half);
  }
  double sum[8] = {};
  for (i64 i = 0; i < n; ++i) sum[i % 8] += parts[i];
  return ((sum[0] + sum[1]) + (sum[2] + sum[3])) + ((sum[4] + sum[5]) + (sum[6] + sum[7]));
}

}  // namespace xent
