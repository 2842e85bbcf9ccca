#define XENT_ISA portable
#define XENT_VECTOR_BYTES 16
#include "kernels.h"
