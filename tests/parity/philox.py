"""The draws, stated a second time: Philox4x32-10 and Box-Muller in NumPy, float64.

Counter of a block = (index, row, column // 4, call offset) with index = (first sample + n) * channels + c; key = seed. Where the
index needs more than 32 bits, the bytes of its high half, reversed, are xored to the row. The four words of a block make
the draws of four neighbouring columns. A draw per sample and channel is the one at row 0, column 0.
"""
import numpy as np

_MASK = np.uint64(0xFFFFFFFF)
_SHIFT = np.uint64(32)


def philox(key, c0, c1, c2, c3):
    """Ten rounds of Philox4x32 (Salmon et al., SC 2011) over arrays of counters: four uint64 arrays holding 32-bit words."""
    c0, c1, c2, c3 = np.broadcast_arrays(*(np.asarray(c, dtype=np.uint64) & _MASK for c in (c0, c1, c2, c3)))
    k0, k1 = key & 0xFFFFFFFF, (key >> 32) & 0xFFFFFFFF
    for _ in range(10):
        product0 = np.uint64(0xD2511F53) * c0
        product1 = np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = ((product1 >> _SHIFT) ^ c1 ^ np.uint64(k0), product1 & _MASK,
                          (product0 >> _SHIFT) ^ c3 ^ np.uint64(k1), product0 & _MASK)
        k0, k1 = (k0 + 0x9E3779B9) & 0xFFFFFFFF, (k1 + 0xBB67AE85) & 0xFFFFFFFF
    return c0, c1, c2, c3


def mix_seed(seed, stream):
    """A key for each (seed, stream): the finaliser of SplitMix64."""
    mask = (1 << 64) - 1
    z = (seed + 0x9E3779B97F4A7C15 * (stream + 1)) & mask
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & mask
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & mask
    return z ^ (z >> 31)


def normals(words):
    """Four standard normals from the four words of a block, by Box-Muller: the pairs (0, 1) and (2, 3).

    The uniform number is a float32 by definition, from 31 bits: close to 1 its rounding shows in the radius.
    """
    pairs = []
    for first, second in ((words[0], words[1]), (words[2], words[3])):
        uniform = ((first >> np.uint64(1)).astype(np.float32) + np.float32(0.5)) * np.float32(2.0**-31)
        radius = np.sqrt(-2 * np.log(uniform.astype(np.float64)))
        angle = 2 * np.pi * (second.astype(np.float64) * 2.0**-32)
        pairs += [radius * np.cos(angle), radius * np.sin(angle)]
    return pairs


def _planes(first_sample, batch, channels):
    """Low half of each plane's index, and its high half with the bytes reversed."""
    index = np.arange(batch * channels, dtype=np.uint64) + np.uint64(first_sample * channels)
    return index & _MASK, (index >> _SHIFT).astype(np.uint32).byteswap().astype(np.uint64)


def draws_cn(seed, call_offset, first_sample, batch, channels):
    """[n][c]"""
    low, high = _planes(first_sample, batch, channels)
    return normals(philox(seed, low, high, 0, call_offset))[0].reshape(batch, channels)


def draws_hwcn(seed, call_offset, first_sample, batch, channels, height, width):
    """[n][c][h][w]"""
    low, high = (half[:, None, None] for half in _planes(first_sample, batch, channels))
    row = np.arange(height, dtype=np.uint64)[None, :, None]
    block = np.arange((width + 3) // 4, dtype=np.uint64)[None, None, :]
    four = np.stack(normals(philox(seed, low, high ^ row, block, call_offset)), axis=-1)
    return four.reshape(batch, channels, height, -1)[..., :width]
