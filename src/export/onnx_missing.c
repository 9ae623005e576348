/* In the place of the ONNX writer where its libraries were not found. */
#include "base/status.h"
#include "export/onnx.h"

gp_status onnx_available(void) {
  return gp_fail(GP_ERROR_UNSUPPORTED,
                 "this gausspool was built without ONNX: install %s (names of Debian's packages) and build it again",
                 GP_ONNX_MISSING);
}

gp_status onnx_write(const char *path, const nn_net *net, const model_info *info, onnx_summary *summary) {
  (void)path;
  (void)net;
  (void)info;
  (void)summary;
  return onnx_available();
}
