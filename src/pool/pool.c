#include <gausspool/gausspool.h>
size_t gp_dtype_size(gp_dtype dtype) { return dtype == GP_FLOAT64 ? 8 : 4; }
