#define XENT_ISA avx2
#define XENT_VECTOR_BYTES 32
#include "kernels.h"
