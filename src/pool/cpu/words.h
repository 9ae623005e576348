/* Philox4x32-10 (base/philox.h) for a vector of planes at a time. */
#ifndef GP_POOL_CPU_WORDS_H
#define GP_POOL_CPU_WORDS_H

#include "pool/cpu/simd.h"

/* The keys of the rounds, as vectors in memory: there they are operands that cost no instruction. */
typedef struct gp_philox_keys {
  vu64 word[10][2];
} gp_philox_keys;

static void gp_philox_keys_make(gp_philox_keys *keys, uint64_t seed) {
  vu k0 = (uint32_t)seed - (vu){0}, k1 = (uint32_t)(seed >> 32) - (vu){0};
  for (int round = 0; round < 10; ++round) {
    keys->word[round][0] = (vu64)k0;
    keys->word[round][1] = (vu64)k1;
    k0 += 0x9E3779B9u; /* as base/philox.h */
    k1 += 0xBB67AE85u;
  }
}

/* Half of a vector's lanes of the four words of a state, in the low halves of 64-bit lanes; the high halves are not meant. A
 * product of two words then is one instruction and needs no rearranging. */
typedef struct gp_philox_half {
  vu64 c0, c1, c2, c3;
} gp_philox_half;

GP_INLINE vu64 gp_philox_product0(vu64 c0) { return vu_multiply_even((vu)c0, 0xD2511F53u); }
GP_INLINE vu64 gp_philox_product1(vu64 c2) { return vu_multiply_even((vu)c2, 0xCD9E8D57u); }

GP_INLINE gp_philox_half gp_philox_round(gp_philox_half in, const vu64 key[2]) {
  vu64 product0 = gp_philox_product0(in.c0), product1 = gp_philox_product1(in.c2);
  return (gp_philox_half){(product1 >> 32) ^ (in.c1 ^ key[0]), product1, (product0 >> 32) ^ (in.c3 ^ key[1]), product0};
}

/* A counter is (plane, row and plane, group of columns, offset), and the first rounds mix its words but slowly. What of
 * them does not depend on the group is made once for a row: */
typedef struct gp_philox_start {
  vu64 c0_round2; /* to be mixed with the group's high product */
  vu64 c0_round3; /* with its low product */
  vu64 c2_round3; /* with the high product of c0 in round 2 */
  vu64 c0_round4; /* with the high product of c2 in round 3 */
} gp_philox_start;

GP_INLINE gp_philox_start gp_philox_begin(const gp_philox_keys *keys, vu64 c0, vu64 c1, uint32_t offset) {
  vu64 product0 = gp_philox_product0(c0);
  vu64 product1 = gp_philox_product1((product0 >> 32) ^ (offset ^ keys->word[0][1]));
  return (gp_philox_start){
      .c0_round2 = c1 ^ keys->word[0][0],
      .c0_round3 = (product1 >> 32) ^ keys->word[1][0],
      .c2_round3 = product0 ^ keys->word[1][1],
      .c0_round4 = product1 ^ keys->word[2][0],
  };
}

/* The state after three rounds; `product` is gp_philox_product1() of the group. */
GP_INLINE gp_philox_half gp_philox_third(const gp_philox_keys *keys, const gp_philox_start *start, vu64 product) {
  vu64 second = gp_philox_product0(start->c0_round2 ^ (product >> 32));
  vu64 product0 = gp_philox_product0(start->c0_round3 ^ product);
  vu64 product1 = gp_philox_product1(start->c2_round3 ^ (second >> 32));
  return (gp_philox_half){(product1 >> 32) ^ start->c0_round4, product1, (product0 >> 32) ^ (second ^ keys->word[2][1]),
                          product0};
}

/* A vector of planes in one row. */
typedef struct gp_philox_planes {
  gp_philox_start lower, upper;
} gp_philox_planes;

GP_INLINE gp_philox_planes gp_philox_planes_at(const gp_philox_keys *keys, vu c0, vu c1, uint32_t offset) {
  return (gp_philox_planes){gp_philox_begin(keys, vu_lower(c0), vu_lower(c1), offset),
                            gp_philox_begin(keys, vu_upper(c0), vu_upper(c1), offset)};
}

/* The rounds after the third, and the words, four of each state, of one or two states, a constant number. */
GP_INLINE void gp_philox_last(int states, const gp_philox_keys *keys, gp_philox_half lower[], gp_philox_half upper[],
                              vu words[]) {
#pragma GCC unroll 7
  for (int round = 3; round < 10; ++round) {
    for (int i = 0; i < states; ++i) {
      lower[i] = gp_philox_round(lower[i], keys->word[round]);
      upper[i] = gp_philox_round(upper[i], keys->word[round]);
    }
  }
  for (int i = 0; i < states; ++i) {
    words[4 * i] = vu_join(lower[i].c0, upper[i].c0);
    words[4 * i + 1] = vu_join(lower[i].c1, upper[i].c1);
    words[4 * i + 2] = vu_join(lower[i].c2, upper[i].c2);
    words[4 * i + 3] = vu_join(lower[i].c3, upper[i].c3);
  }
}

/* Words of `groups` neighbouring groups of columns, a constant 1 or 2: the rounds of one alone leave much of the processor
 * idle, and those of more take up too much of the instruction cache. */
GP_INLINE void gp_philox_words(int groups, const gp_philox_keys *keys, const gp_philox_planes *planes, uint32_t group,
                               vu words[]) {
  gp_philox_half lower[2], upper[2];
  for (int i = 0; i < groups; ++i) {
    vu64 product = gp_philox_product1((vu64)(group + (uint32_t)i - (vu){0}));
    lower[i] = gp_philox_third(keys, &planes->lower, product);
    upper[i] = gp_philox_third(keys, &planes->upper, product);
  }
  gp_philox_last(groups, keys, lower, upper, words);
}

#endif
