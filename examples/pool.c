/* Gaussian pooling of a 2-channel 4×4 picture, forward and backward, with a weight drawn for each channel. */
#include <stdio.h>
#include <stdlib.h>

#include <gausspool/gausspool.h>

/* Ends the program with the library's message unless the call went well. */
static void check(gp_status status) {
  if (status == GP_OK) return;
  fprintf(stderr, "pool: %s: %s\n", gp_status_name(status), gp_last_error());
  exit(EXIT_FAILURE);
}

static void print(const char *name, const float *values, int count) {
  for (int i = 0; i < count; ++i) {
    if (i % 8 == 0) printf("%s%-10s", i == 0 ? "" : "\n", i == 0 ? name : "");
    printf(" %8.5f", (double)values[i]);
  }
  printf("\n");
}

int main(void) {
  gp_pool_desc pool = {.kind = GP_POOL_ISP_GAUSSIAN, .stochasticity = GP_STOCHASTIC_CN, .seed = 1};
  pool.batch = 1, pool.channels = 2, pool.height = 4, pool.width = 4; /* NCHW, float32, dense: what zero stands for */
  pool.kernel[0] = 2, pool.kernel[1] = 2;

  float x[32], mu[2] = {0.0f, 0.5f}, sigma[2] = {1.0f, 0.5f}, draws[2], y[8];
  for (int i = 0; i < 32; ++i) x[i] = (float)(i * 7 % 11);
  check(gp_pool_forward(&pool, &(gp_pool_forward_args){.x = x, .mu = mu, .sigma = sigma, .y = y}));
  check(gp_pool_draws(&pool, draws)); /* only to show them: both directions make their own */

  float grad_y[8] = {1, 1, 1, 1, 1, 1, 1, 1}, grad_x[32], grad_mu[2], grad_sigma[2];
  gp_pool_backward_args backward = {.x = x, .mu = mu, .sigma = sigma, .grad_y = grad_y, .grad_x = grad_x};
  backward.grad_mu = grad_mu, backward.grad_sigma = grad_sigma;

  size_t bytes;
  check(gp_pool_backward_workspace(&pool, &bytes));
  backward.workspace = aligned_alloc(64, (bytes / 64 + 1) * 64);
  if (backward.workspace == NULL) {
    fprintf(stderr, "pool: no memory for a workspace of %zu bytes\n", bytes);
    return EXIT_FAILURE;
  }
  gp_status status = gp_pool_backward(&pool, &backward);
  free(backward.workspace);
  check(status);

  print("x", x, 32);
  print("draws", draws, 2);
  print("y", y, 8);
  print("grad_x", grad_x, 32);
  print("grad_mu", grad_mu, 2);
  print("grad_sigma", grad_sigma, 2);
  return EXIT_SUCCESS;
}
