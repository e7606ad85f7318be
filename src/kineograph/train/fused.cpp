// What lies between the matrix products of a transformer's block, forward and backward: each a
// single pass over memory. Numbers are bfloat16 where matrix products read or write them, float32
// on the way that all blocks add to, and float32 in all arithmetic. Calls work on rows [first, last).

#include "vectors.h"
IN Vector swapped(Vector v) {  // neighbours change places
  Bits order;
  for (int i = 0; i < LANES; i++) order[i] = i ^ 1;
  return __builtin_shuffle(v, order);
}

extern "C" {

// y = (x - mean) / deviation * gain + shift; rows of a group share gain and shift.
void modulate(const float *x, const float *gain, const float *shift, long first, long last,
              long per_group, long d, float eps, bf16 *y, float *stats) {
  for (long r = first; r < last; r++) {
    const float *a = x + r * d, *g = gain + r / per_group * d, *s = shift + r / per_group * d;
    Vector total = all(0), squares = all(0);
    for (long i = 0; i < d; i += LANES) total += read(a + i);
    const float mean = sum(total) / d;
    for (long i = 0; i < d; i += LANES) {
      const Vector v = read(a + i) - mean;
      squares += v * v;
    }
    const float inverse = 1 / std::sqrt(sum(squares) / d + eps);
    stats[2 * r] = mean;
    stats[2 * r + 1] = inverse;
    for (long i = 0; i < d; i += LANES)
      write(y + r * d + i, (read(a + i) - mean) * inverse * read(g + i) + read(s + i));
  }
}

// dx = through + what comes back by y; dgain and dshift are added to.
void modulate_back(const float *x, const float *gain, const float *stats, const bf16 *dy,
                   const float *through, long first, long last, long per_group, long d,
                   float *dx, float *dgain, float *dshift) {
  for (long r = first; r < last; r++) {
    const long at = r / per_group * d;
    const float *a = x + r * d, *g = gain + at;
    const float mean = stats[2 * r], inverse = stats[2 * r + 1];
    Vector one = all(0), two = all(0);
    for (long i = 0; i < d; i += LANES) {
      const Vector unit = (read(a + i) - mean) * inverse, back = read(dy + r * d + i);
      add(dgain + at + i, back * unit);
      add(dshift + at + i, back);
      one += back * read(g + i);
      two += back * read(g + i) * unit;
    }
    const float mean_one = sum(one) / d, mean_two = sum(two) / d;
    for (long i = 0; i < d; i += LANES) {
      const Vector unit = (read(a + i) - mean) * inverse;
      const Vector back = read(dy + r * d + i) * read(g + i) - mean_one - unit * mean_two;
      write(dx + r * d + i, read(through + r * d + i) + inverse * back);
    }
  }
}

// y = x + update * gate; without a gate y = x + update.
void gated(const float *x, const bf16 *update, const float *gate, long first, long last,
           long per_group, long d, float *y) {
  for (long r = first; r < last; r++) {
    const float *g = gate ? gate + r / per_group * d : nullptr;
    for (long i = 0; i < d; i += LANES) {
      const Vector u = read(update + r * d + i);
      write(y + r * d + i, read(x + r * d + i) + (g ? u * read(g + i) : u));
    }
  }
}

void gated_back(const bf16 *update, const float *gate, const float *dy, long first, long last,
                long per_group, long d, bf16 *dupdate, float *dgate) {
  for (long r = first; r < last; r++) {
    const long at = r / per_group * d;
    for (long i = 0; i < d; i += LANES) {
      const Vector back = read(dy + r * d + i);
      if (gate) add(dgate + at + i, back * read(update + r * d + i));
      write(dupdate + r * d + i, gate ? back * read(gate + at + i) : back);
    }
  }
}

// Rows of x, `stride` apart, are normalised by their root mean square over all heads, weighed, split
// into heads, and neighbouring channels turned: y = v * cos + swapped(v) * sin. y is `b h n e`.
void norm_rope(const bf16 *x, long stride, const float *weight, const float *cos, const float *sin,
               long first, long last, long n, long heads, long e, float eps, bf16 *y,
               float *inverse) {
  const long d = heads * e;
  for (long r = first; r < last; r++) {
    const bf16 *a = x + r * stride;
    Vector squares = all(0);
    for (long i = 0; i < d; i += LANES) squares += read(a + i) * read(a + i);
    const float k = inverse[r] = 1 / std::sqrt(sum(squares) / d + eps);
    const long b = r / n, token = r % n;
    for (long h = 0; h < heads; h++)
      for (long i = 0; i < e; i += LANES) {
        Vector v = read(a + h * e + i) * k * read(weight + h * e + i);
        if (cos) v = v * read(cos + token * e + i) + swapped(v) * read(sin + token * e + i);
        write(y + ((b * heads + h) * n + token) * e + i, v);
      }
  }
}

void norm_rope_back(const bf16 *x, long stride, const float *weight, const float *cos,
                    const float *sin, const float *inverse, const bf16 *dy, long first, long last,
                    long n, long heads, long e, bf16 *dx, float *dweight) {
  const long d = heads * e;
  float turned[d];
  for (long r = first; r < last; r++) {
    const bf16 *a = x + r * stride;
    const long b = r / n, token = r % n;
    const float k = inverse[r];
    Vector along = all(0);
    for (long h = 0; h < heads; h++)
      for (long i = 0; i < e; i += LANES) {
        Vector v = read(dy + ((b * heads + h) * n + token) * e + i);
        if (cos) v = v * read(cos + token * e + i) - swapped(v) * read(sin + token * e + i);
        v *= k;
        const Vector ax = v * read(a + h * e + i);
        add(dweight + h * e + i, ax);
        v *= read(weight + h * e + i);
        along += v * read(a + h * e + i);
        write(turned + h * e + i, v);
      }
    const float share = sum(along) * k * k / d;
    for (long i = 0; i < d; i += LANES)
      write(dx + r * stride + i, read(turned + i) - read(a + i) * share);
  }
}

// From rows of tokens to `b h n e`, and back.
void split(const bf16 *x, long stride, long first, long last, long n, long heads, long e, bf16 *y) {
  for (long r = first; r < last; r++)
    for (long h = 0; h < heads; h++)
      std::memcpy(y + ((r / n * heads + h) * n + r % n) * e, x + r * stride + h * e, 2 * e);
}

void join(const bf16 *y, long first, long last, long n, long heads, long e, long stride, bf16 *x) {
  for (long r = first; r < last; r++)
    for (long h = 0; h < heads; h++)
      std::memcpy(x + r * stride + h * e, y + ((r / n * heads + h) * n + r % n) * e, 2 * e);
}

// softmax(scores * scale + bias) over rows of m, in place; `rows` of them share a row of bias.
void softmax(bf16 *scores, const float *bias, long first, long last, long rows, long m,
             float scale) {
  const long whole = (m + LANES - 1) / LANES * LANES;
  float v[whole];
  for (long r = first; r < last; r++) {
    bf16 *a = scores + r * m;
    const float *b = bias ? bias + r / rows * m : nullptr;
    Vector most = all(-1e30f), total = all(0);
    for (long i = 0; i < whole; i += LANES) {
      Vector x = all(-1e30f);
      if (i + LANES <= m) {
        x = read(a + i) * scale;
        if (b) x += read(b + i);
      } else {
        for (long j = i; j < m; j++) {
          const uint32_t bits = (uint32_t)a[j] << 16;
          float one;
          std::memcpy(&one, &bits, 4);
          x[j - i] = one * scale + (b ? b[j] : 0);
        }
      }
      most = x > most ? x : most;
      write(v + i, x);
    }
    const float top = largest(most);
    for (long i = 0; i < whole; i += LANES) {
      const Vector p = exp(read(v + i) - top);
      total += p;
      write(v + i, p);
    }
    const float share = 1 / (sum(total) - (whole - m) * exp(all(-87.f))[0]);
    for (long i = 0; i < whole; i += LANES) {
      if (i + LANES <= m) {
        write(a + i, read(v + i) * share);
      } else {
        bf16 rest[LANES];
        write(rest, read(v + i) * share);
        std::memcpy(a + i, rest, 2 * (m - i));
      }
    }
  }
}

// From the weights p and their gradients, in place, to the gradients of scores:
// p * (dp - sum(p * dp)) * scale.
void softmax_back(const bf16 *weights, bf16 *grads, long first, long last, long m, float scale) {
  const long whole = m / LANES * LANES;
  for (long r = first; r < last; r++) {
    const bf16 *p = weights + r * m;
    bf16 *g = grads + r * m;
    bf16 p_rest[LANES] = {}, g_rest[LANES] = {};
    std::memcpy(p_rest, p + whole, 2 * (m - whole));
    std::memcpy(g_rest, g + whole, 2 * (m - whole));
    Vector total = read(p_rest) * read(g_rest);
    for (long i = 0; i < whole; i += LANES) total += read(p + i) * read(g + i);
    const float mean = sum(total);
    for (long i = 0; i < whole; i += LANES)
      write(g + i, read(p + i) * (read(g + i) - mean) * scale);
    write(g_rest, read(p_rest) * (read(g_rest) - mean) * scale);
    std::memcpy(g + whole, g_rest, 2 * (m - whole));
  }
}

// GELU in its tanh form: x * sigmoid(2 z), z = c (x + 0.044715 x^3), c = sqrt(2 / pi).
void gelu(const bf16 *x, long first, long last, bf16 *y) {
  for (long i = first; i < last; i += LANES) {
    const Vector v = read(x + i), z = v * (1.59576912f + 0.0713548163f * v * v);
    write(y + i, v / (1 + exp(-z)));
  }
}

void gelu_back(const bf16 *x, const bf16 *dy, long first, long last, bf16 *dx) {
  for (long i = first; i < last; i += LANES) {
    const Vector v = read(x + i), z = v * (1.59576912f + 0.0713548163f * v * v);
    const Vector s = 1 / (1 + exp(-z));
    const Vector slope = s + v * s * (1 - s) * (1.59576912f + 0.214064449f * v * v);
    write(dx + i, read(dy + i) * slope);
  }
}
}
