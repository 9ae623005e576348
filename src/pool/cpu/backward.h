/* Backward over a stretch: moments, maxima and so on are made again; x and grad_y are read once and grad_x is written once,
 * or, where windows overlap, added to staged rows. */
#ifndef GP_POOL_CPU_BACKWARD_H
#define GP_POOL_CPU_BACKWARD_H

#include "pool/cpu/forward.h"

/* One window's lanes. */
struct backward_at {
  const gp_stretch *stretch;
  const gp_window *window;
  const gp_element *x;
  const float *weight;
  float *grad_weight; /* NULL: not wanted */
  void *grad_x;   /* the lanes of the window's first element: gp_element where direct, or floats; NULL: not wanted */
  vf *grad_parts; /* where grad_x goes instead if the window's elements are in registers; or NULL */
  vf grad_y, add; /* add: what each element gets besides, where direct */
  int lane, count;
  bool stream, usual; /* constants, as size; usual: every gradient is wanted, and grad_average_y not given */
  int size;
};

GP_INLINE void put(const struct backward_at *at, bool direct, int64_t i, int64_t j, vf value) {
  if (at->grad_parts != NULL) {
    at->grad_parts[i * at->window->columns + j] = value;
    return;
  }
  const gp_stretch *stretch = at->stretch;
  ptrdiff_t offset = i * stretch->grad_x_row + j * stretch->grad_x_pixel;
  if (!direct) {
    float *to = (float *)at->grad_x + offset;
    vf_store(to, vf_load(to, GP_LANES) + value, GP_LANES);
  } else if (at->count == GP_LANES && at->stream) {
    vf_stream_element((gp_element *)at->grad_x + offset, value);
  } else {
    vf_store_element((gp_element *)at->grad_x + offset, value, at->count);
  }
}

GP_INLINE void add_grad_weight(const struct backward_at *at, vf grad_weight) {
  if (!at->usual && at->grad_weight == NULL) return;
  vf_store(at->grad_weight, vf_load(at->grad_weight, GP_LANES) + grad_weight, GP_LANES);
}

GP_INLINE vf element_of(const struct backward_at *at, int64_t i, int64_t j) {
  return gp_element_at(at->x, at->window, i, j, at->count);
}

/* dx_i = gy·(1 + W·(x_i - m)/s·[v ≥ eps])/R, dW = gy·s */
GP_INLINE void backward_gaussian_any(const struct backward_at *at, bool direct) {
  gp_moments moments = gp_window_moments(at->x, at->window, at->stretch->eps, at->count);
  add_grad_weight(at, at->grad_y * moments.deviation);
  if (at->grad_x == NULL) return;
  vf level = at->grad_y * at->window->inverse;
  vf tilt = level * vf_load(at->weight, at->count) / moments.deviation;
  tilt = (vf)(moments.free & (vi)tilt);
  if (direct) level += at->add;
  GP_EACH_ELEMENT(at->window)
  put(at, direct, i, j, level + tilt * gp_difference(at->x, at->window, &moments, i, j, at->count));
}

/* The straight-line sizes written out, so that the differences x_i - m stay in registers: read again between the stores,
 * each would wait for stores whose address ends alike, as those of two large arrays do. The same operations in the same
 * order as above. */
#define EACH_OF_2X2(DO) DO(0, 0, 0) DO(1, 0, 1) DO(2, 1, 0) DO(3, 1, 1)
#define EACH_OF_3X3(DO) \
  DO(0, 0, 0) DO(1, 0, 1) DO(2, 0, 2) DO(3, 1, 0) DO(4, 1, 1) DO(5, 1, 2) DO(6, 2, 0) DO(7, 2, 1) DO(8, 2, 2)
#define SUM_OF_2X2(TERM) ((TERM(0) + TERM(1)) + (TERM(2) + TERM(3)))
#define SUM_OF_3X3(TERM) \
  ((((TERM(0) + TERM(1)) + TERM(2)) + ((TERM(3) + TERM(4)) + TERM(5))) + ((TERM(6) + TERM(7)) + TERM(8)))

#define LOAD_DIFFERENCE(k, i, j) vf d##k = gp_element_at(at->x, at->window, i, j, at->count) - shift;
#define DIFFERENCE(k)            d##k
#define SQUARE(k)                d##k *d##k
#define SUBTRACT_OFFSET(k, i, j) d##k -= offset;
#define PUT_DIFFERENCE(k, i, j)  put(at, direct, i, j, level + tilt * d##k);

#define BACKWARD_GAUSSIAN_STRAIGHT(name, EACH, SUM)                           \
  GP_INLINE void name(const struct backward_at *at, bool direct) {            \
    vf inverse = vf_set(at->window->inverse), eps = vf_set(at->stretch->eps); \
    vf shift = gp_element_at(at->x, at->window, 0, 0, at->count);             \
    EACH(LOAD_DIFFERENCE)                                                     \
    vf offset = SUM(DIFFERENCE) * inverse;                                    \
    EACH(SUBTRACT_OFFSET)                                                     \
    vf variance = SUM(SQUARE) * inverse;                                      \
    if (__builtin_expect(vi_any(~(variance <= FLT_MAX)), false)) {            \
      backward_gaussian_any(at, direct);                                      \
      return;                                                                 \
    }                                                                         \
    vf deviation = vf_sqrt(vf_larger(eps, variance));                         \
    add_grad_weight(at, at->grad_y *deviation);                               \
    if (!at->usual && at->grad_x == NULL) return;                             \
    vf level = at->grad_y * inverse;                                          \
    vf tilt = level * vf_load(at->weight, at->count) / deviation;             \
    tilt = (vf)(~(variance < eps) & (vi)tilt);                                \
    if (direct) level += at->add;                                             \
    EACH(PUT_DIFFERENCE)                                                      \
  }

BACKWARD_GAUSSIAN_STRAIGHT(backward_gaussian_2x2, EACH_OF_2X2, SUM_OF_2X2)
BACKWARD_GAUSSIAN_STRAIGHT(backward_gaussian_3x3, EACH_OF_3X3, SUM_OF_3X3)

GP_INLINE void backward_gaussian_window(const struct backward_at *at, bool direct) {
  if (at->size == 2)
    backward_gaussian_2x2(at, direct);
  else if (at->size == 3)
    backward_gaussian_3x3(at, direct);
  else
    backward_gaussian_any(at, direct);
}

GP_INLINE void backward_mean_window(const struct backward_at *at, bool direct) {
  if (at->grad_x == NULL) return;
  vf level = at->grad_y * at->window->inverse;
  if (direct) level += at->add;
  GP_EACH_ELEMENT(at->window) put(at, direct, i, j, level);
}

/* grad_y to the element of each lane's index, and `level` to all. */
GP_INLINE void put_picked(const struct backward_at *at, bool direct, vi index, vf picked, vf level) {
  if (at->grad_x == NULL) return;
  if (direct) level += at->add;
  GP_EACH_ELEMENT(at->window) {
    vi here = index == (int32_t)(i * at->window->columns + j);
    put(at, direct, i, j, (vf)(here & (vi)picked) + level);
  }
}

GP_INLINE void backward_max_window(const struct backward_at *at, bool direct) {
  vi index;
  gp_window_max(at->x, at->window, at->count, &index);
  put_picked(at, direct, index, at->grad_y, (vf){0});
}

/* dx_i = gy·p_i·(1 + λ·(x_i - y)), dλ = gy·Σ p_i·(x_i - y)² */
GP_INLINE void backward_softmax_window(const struct backward_at *at, bool direct) {
  vf lambda = vf_load(at->weight, at->count);
  gp_softmax softmax = gp_window_softmax(at->x, at->window, lambda, at->count);
  vf squares = {0};
  GP_EACH_ELEMENT(at->window) {
    vf half = gp_softmax_half(element_of(at, i, j), softmax.peak);
    vf share = gp_softmax_term(half, lambda) / softmax.total;
    vf difference = 2.0f * (half - softmax.half);
    squares += share * difference * difference;
    vf value = at->grad_y * share * (1.0f + lambda * difference);
    if (at->grad_x != NULL) put(at, direct, i, j, direct ? value + at->add : value);
  }
  add_grad_weight(at, at->grad_y * squares);
}

/* dx_i = gy·[x_i > 0]·(2·x_i - y)/Σ max(x_j, 0), or all equal where none is positive */
GP_INLINE void backward_expected_window(const struct backward_at *at, bool direct) {
  if (at->grad_x == NULL) return;
  gp_chances chances = gp_window_chances(at->x, at->window, at->count);
  vf squares = {0};
  GP_EACH_ELEMENT(at->window) {
    vf chance = gp_chance(element_of(at, i, j), &chances);
    squares += chance * chance;
  }
  vf ratio = squares / chances.total; /* y/peak */
  GP_EACH_ELEMENT(at->window) {
    vf x = element_of(at, i, j);
    vf slope = vf_select(x <= 0.0f, (vf){0}, 2.0f * gp_chance(x, &chances) - ratio);
    slope = vf_select(chances.none & (x == x), vf_set(1.0f), slope);
    vf value = at->grad_y * (slope / chances.total);
    put(at, direct, i, j, direct ? value + at->add : value);
  }
}

GP_INLINE void backward_picked_window(const struct backward_at *at, bool direct) {
  vi index;
  gp_chances chances = gp_window_chances(at->x, at->window, at->count);
  gp_window_pick(at->x, at->window, &chances, vf_load(at->weight, at->count), at->count, &index);
  put_picked(at, direct, index, at->grad_y, (vf){0});
}

/* dx_i = gy·(W·[i is the maximum] + (1 - W)/R), dW = gy·(max - m) */
GP_INLINE void backward_mixed_window(const struct backward_at *at, bool direct) {
  vi index;
  vf weight = vf_load(at->weight, at->count);
  vf largest = gp_window_max(at->x, at->window, at->count, &index);
  if (at->grad_weight != NULL) {
    vf mean = gp_window_mean(at->x, at->window, at->count);
    add_grad_weight(at, at->grad_y * (largest - mean));
  }
  put_picked(at, direct, index, at->grad_y * weight, at->grad_y * (1.0f - weight) * at->window->inverse);
}

/* As mixed with g = sigmoid(z), z = Σ ω_i·x_i: dz = gy·(max - m)·g·(1 - g) adds dz·ω_i to dx_i; dω_i = dz·x_i */
GP_INLINE void backward_gated_window(const struct backward_at *at, bool direct) {
  const gp_stretch *stretch = at->stretch;
  vi index;
  vf gate = gp_window_gate(at->x, at->window, stretch, at->lane, at->count);
  vf largest = gp_window_max(at->x, at->window, at->count, &index);
  vf mean = gp_window_mean(at->x, at->window, at->count);
  vf grad_z = at->grad_y * ((largest - mean) * (gate * (1.0f - gate)));
  vf picked = at->grad_y * gate, level = at->grad_y * (1.0f - gate) * at->window->inverse;
  if (direct) level += at->add;
  GP_EACH_ELEMENT(at->window) {
    ptrdiff_t offset = i * stretch->mask_row + j * stretch->mask_pixel + at->lane;
    if (stretch->grad_mask != NULL) {
      float *sum = stretch->grad_mask + offset;
      vf_store(sum, vf_load(sum, GP_LANES) + grad_z * element_of(at, i, j), GP_LANES);
    }
    if (at->grad_x == NULL) continue;
    vi here = index == (int32_t)(i * at->window->columns + j);
    put(at, direct, i, j, (vf)(here & (vi)picked) + level + grad_z * vf_load(stretch->mask + offset, GP_LANES));
  }
}

/* dx_i = gy·K/R·sign(x_i)·(|x_i|/y)^(norm - 1) */
GP_INLINE void backward_lp_window(const struct backward_at *at, bool direct) {
  if (at->grad_x == NULL) return;
  const gp_stretch *stretch = at->stretch;
  float norm = stretch->norm, scale = stretch->inverse * stretch->kernel;
  gp_norm whole = gp_window_norm(at->x, at->window, norm, stretch->lp_factor, at->count);
  GP_EACH_ELEMENT(at->window) {
    vf x = element_of(at, i, j);
    vf part = gp_norm_part(x, whole.peak) / whole.ratio;
    vf slope = norm == 2.0f ? part : vf_power_of_fraction(vf_select(part > 1.0f, vf_set(1.0f), part), norm - 1.0f);
    slope = (vf)((vi)slope | ((vi)x & INT32_MIN));
    slope += whole.peak - whole.peak; /* NaN for an infinity */
    slope = vf_select(x == 0.0f, (vf){0}, slope);
    vf value = at->grad_y * (scale * slope);
    put(at, direct, i, j, direct ? value + at->add : value);
  }
}

GP_INLINE void backward_window(const struct backward_at *at, gp_form form, bool direct) {
  switch (form) {
    case GP_FORM_GAUSSIAN: backward_gaussian_window(at, direct); break;
    case GP_FORM_MEAN: backward_mean_window(at, direct); break;
    case GP_FORM_MAX: backward_max_window(at, direct); break;
    case GP_FORM_SOFTMAX: backward_softmax_window(at, direct); break;
    case GP_FORM_EXPECTED: backward_expected_window(at, direct); break;
    case GP_FORM_PICKED: backward_picked_window(at, direct); break;
    case GP_FORM_MIXED: backward_mixed_window(at, direct); break;
    case GP_FORM_GATED: backward_gated_window(at, direct); break;
    case GP_FORM_LP: backward_lp_window(at, direct); break;
    case GP_FORM_COUNT: break;
  }
}

GP_INLINE void backward_lanes(const gp_stretch *stretch, gp_form form, bool direct, bool stream, bool usual, int size,
                              const gp_window *window, int64_t line, int64_t column, int lane, int count) {
  struct backward_at at = {.stretch = stretch, .window = window, .lane = lane, .count = count};
  at.stream = stream;
  at.usual = usual;
  at.size = size;
  at.x = (const gp_element *)stretch->x + line * stretch->x_line + column * stretch->x_step + lane;
  const gp_element *grad_y =
      (const gp_element *)stretch->grad_y + line * stretch->grad_y_line + column * stretch->grad_y_step;
  at.grad_y = vf_load_element(grad_y + lane, count);
  if (!usual && stretch->grad_average_y != NULL) at.grad_y += vf_load(stretch->grad_average_y + lane, GP_LANES);
  if (usual || stretch->weight != NULL) {
    at.weight = stretch->weight + line * stretch->weight_line + column * stretch->weight_step + lane;
  }
  if (usual || stretch->grad_weight != NULL)
    at.grad_weight =
        stretch->grad_weight + line * stretch->grad_weight_line + column * stretch->grad_weight_step + lane;
  if (usual || stretch->grad_x != NULL) {
    ptrdiff_t offset = line * stretch->grad_x_line + column * stretch->grad_x_step + lane;
    at.grad_x = direct ? (void *)((gp_element *)stretch->grad_x + offset) : (void *)((float *)stretch->grad_x + offset);
    if (direct) at.add = vf_load(stretch->add_x + lane, GP_LANES);
  }
  backward_window(&at, form, direct);
}

/* As forward_stretch(). */
GP_INLINE void backward_stretch(const gp_stretch *shared, gp_form form, bool direct, bool stream, bool usual,
                                int size) {
  const gp_stretch stretch = *shared;
  const gp_window window = gp_stretch_window(&stretch, size);
  for (int64_t line = 0; line < stretch.lines; ++line)
    for (int64_t column = 0; column < stretch.count; ++column) {
      if (form != GP_FORM_MEAN) gp_fetch_ahead(&stretch, line, column);
      int lane = 0;
      for (; lane + GP_LANES <= stretch.lanes; lane += GP_LANES)
        backward_lanes(&stretch, form, direct, stream, usual, size, &window, line, column, lane, GP_LANES);
      if (lane < stretch.lanes)
        backward_lanes(&stretch, form, direct, stream, usual, size, &window, line, column, lane, stretch.lanes - lane);
    }
}

#define BACKWARD(name, form, direct, size)                               \
  static void name(const gp_stretch *stretch) {                          \
    if ((direct) && stretch->stream)                                     \
      backward_stretch(stretch, (form), (direct), true, false, (size));  \
    else                                                                 \
      backward_stretch(stretch, (form), (direct), false, false, (size)); \
  }

/* The case that matters most, without its questions. */
#define BACKWARD_USUAL(name, form, direct, size)                                              \
  BACKWARD(name##_rare, form, direct, size)                                                   \
  static void name(const gp_stretch *stretch) {                                               \
    if (stretch->weight == NULL || stretch->grad_weight == NULL || stretch->grad_x == NULL || \
        stretch->grad_average_y != NULL)                                                      \
      name##_rare(stretch);                                                                   \
    else if ((direct) && stretch->stream)                                                     \
      backward_stretch(stretch, (form), (direct), true, true, (size));                        \
    else                                                                                      \
      backward_stretch(stretch, (form), (direct), false, true, (size));                       \
  }

BACKWARD_USUAL(direct_gaussian_2x2, GP_FORM_GAUSSIAN, true, 2)
BACKWARD(direct_gaussian, GP_FORM_GAUSSIAN, true, 0)
BACKWARD(direct_mean, GP_FORM_MEAN, true, 0)
BACKWARD(direct_mean_2x2, GP_FORM_MEAN, true, 2)
BACKWARD(direct_max_2x2, GP_FORM_MAX, true, 2)
BACKWARD(direct_max, GP_FORM_MAX, true, 0)
BACKWARD(direct_softmax, GP_FORM_SOFTMAX, true, 0)
BACKWARD(direct_expected, GP_FORM_EXPECTED, true, 0)
BACKWARD(direct_picked, GP_FORM_PICKED, true, 0)
BACKWARD(direct_mixed, GP_FORM_MIXED, true, 0)
BACKWARD(direct_gated, GP_FORM_GATED, true, 0)
BACKWARD(direct_lp, GP_FORM_LP, true, 0)
BACKWARD_USUAL(add_gaussian_2x2, GP_FORM_GAUSSIAN, false, 2)
BACKWARD_USUAL(add_gaussian_3x3, GP_FORM_GAUSSIAN, false, 3)
BACKWARD(add_gaussian, GP_FORM_GAUSSIAN, false, 0)
BACKWARD(add_mean, GP_FORM_MEAN, false, 0)
BACKWARD(add_mean_3x3, GP_FORM_MEAN, false, 3)
BACKWARD(add_max_3x3, GP_FORM_MAX, false, 3)
BACKWARD(add_max, GP_FORM_MAX, false, 0)
BACKWARD(add_softmax, GP_FORM_SOFTMAX, false, 0)
BACKWARD(add_expected, GP_FORM_EXPECTED, false, 0)
BACKWARD(add_picked, GP_FORM_PICKED, false, 0)
BACKWARD(add_mixed, GP_FORM_MIXED, false, 0)
BACKWARD(add_gated, GP_FORM_GATED, false, 0)
BACKWARD(add_lp, GP_FORM_LP, false, 0)

#endif
