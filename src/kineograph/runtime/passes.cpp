// What lies between the convolutions of a VAE, as one pass over memory.

#include "vectors.h"

extern "C" {

// y = silu(x / max(root mean square, least) * gamma) over rows of c channels.
void norm_silu(const bf16 *x, const float *gamma, long first, long last, long c, float least,
               bf16 *y) {
  for (long r = first; r < last; r++) {
    const bf16 *a = x + r * c;
    Vector squares = all(0);
    for (long i = 0; i < c; i += LANES) squares += read(a + i) * read(a + i);
    const float size = std::sqrt(sum(squares) / c), inverse = 1 / (size > least ? size : least);
    for (long i = 0; i < c; i += LANES) {
      const Vector v = read(a + i) * inverse * read(gamma + i);
      write(y + r * c + i, v / (1 + exp(-v)));
    }
  }
}
}
