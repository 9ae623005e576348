#include "pool/cuda/launch.h"

GP_CUDA_LAUNCHERS_OF(float16, gausspool::float16)
