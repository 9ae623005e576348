#include "pool/cuda/launch.h"

GP_CUDA_LAUNCHERS_OF(float32, float)
