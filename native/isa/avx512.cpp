#define XENT_ISA avx512
#define XENT_VECTOR_BYTES 64
#include "kernels.h"
