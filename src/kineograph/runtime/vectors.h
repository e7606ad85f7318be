// Vectors of float32 as wide as the processor's (LANES, which `cpp.py` defines), read from and written
// to float32 or bfloat16.

#include <cmath>
#include <cstdint>
#include <cstring>
typedef float Vector __attribute__((vector_size(4 * LANES), may_alias));
typedef uint32_t Bits __attribute__((vector_size(4 * LANES), may_alias));
typedef uint16_t Half __attribute__((vector_size(2 * LANES), may_alias));
typedef uint16_t bf16;
#define IN static inline __attribute__((always_inline))
IN Vector all(float x) { return x - (Vector){}; }
IN Vector read(const float *p) { Vector v; std::memcpy(&v, p, sizeof v); return v; }
IN void write(float *p, Vector v) { std::memcpy(p, &v, sizeof v); }
IN Vector read(const bf16 *p) {
  Half h;
  std::memcpy(&h, p, sizeof h);
  return (Vector)(__builtin_convertvector(h, Bits) << 16);
}
IN void write(bf16 *p, Vector v) {  // rounded to the nearest, ties to even
  Bits b = (Bits)v;
  b = (b + 0x7fff + ((b >> 16) & 1)) >> 16;
  const Half h = __builtin_convertvector(b, Half);
  std::memcpy(p, &h, sizeof h);
}
template <typename T> IN void add(T *p, Vector v) { write(p, read(p) + v); }
IN float sum(Vector v) {
  float s = 0;
  for (int i = 0; i < LANES; i++) s += v[i];
  return s;
}
IN float largest(Vector v) {
  float m = v[0];
  for (int i = 1; i < LANES; i++) m = v[i] > m ? v[i] : m;
  return m;
}
IN Vector exp(Vector x) {  // to a few units of the last place of float32, from -87 to 87
  x = x < -87.f ? all(-87.f) : x > 87.f ? all(87.f) : x;
  const Vector t = x * 1.44269504f, n = t + 12582912.f, f = t - (n - 12582912.f);
  const Vector p = 1 + f * (0.693147181f + f * (0.240226507f + f * (0.0555041087f +
                   f * (0.00961812911f + f * (0.00133335581f + f * 0.000154035304f)))));
  return (Vector)((Bits)p + ((Bits)n << 23));
}
