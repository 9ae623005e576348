#include "pool/cuda/launch.h"

GP_CUDA_LAUNCHERS_OF(bfloat16, gausspool::bfloat16)
