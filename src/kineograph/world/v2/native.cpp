// The renderer around the loops that `emit.py` writes: tiles, culling, and which loop for which
// rays. All that is computed for a ray comes from there. A tile's rays stay in the first cache.

#include <immintrin.h>
#include <cmath>
#include <cstdint>
#include <cstring>
typedef float Vector __attribute__((vector_size(4 * LANES), may_alias));
typedef int Mask __attribute__((vector_size(4 * LANES), may_alias));
#define IN static inline __attribute__((always_inline))
IN Vector all(float x) { return x - (Vector){}; }
IN Vector read(const float *p) { Vector v; std::memcpy(&v, p, sizeof v); return v; }
IN void write(float *p, Vector v) { std::memcpy(p, &v, sizeof v); }
IN Vector least(Vector a, Vector b) { return b < a ? b : a; }
IN Vector most(Vector a, Vector b) { return b > a ? b : a; }
IN Vector abs(Vector a) { return (Vector)((Mask)a & 0x7fffffff); }
IN Vector sign(Vector a) { return a > 0 ? all(1) : (a < 0 ? all(-1) : all(0)); }
#if LANES == 16
extern "C" __m512 Sleef_sinf16_u10(__m512), Sleef_cosf16_u10(__m512), Sleef_expf16_u10(__m512),
    Sleef_atan2f16_u10(__m512, __m512);
#define SLEEF(name) Sleef_##name##f16_u10
IN Vector sqrt(Vector a) { return _mm512_sqrt_ps(a); }
IN Vector floor(Vector a) { return _mm512_floor_ps(a); }
#else
extern "C" __m256 Sleef_sinf8_u10(__m256), Sleef_cosf8_u10(__m256), Sleef_expf8_u10(__m256),
    Sleef_atan2f8_u10(__m256, __m256);
#define SLEEF(name) Sleef_##name##f8_u10
IN Vector sqrt(Vector a) { return _mm256_sqrt_ps(a); }
IN Vector floor(Vector a) { return _mm256_floor_ps(a); }
#endif
IN Vector rsqrt(Vector a) { return all(1) / sqrt(a); }
IN Vector sin(Vector a) { return SLEEF(sin)(a); }
IN Vector cos(Vector a) { return SLEEF(cos)(a); }
IN Vector exp(Vector a) { return SLEEF(exp)(a); }
IN Vector atan2(Vector a, Vector b) { return SLEEF(atan2)(a, b); }

// Loops stand here.

struct Block {  // rays of a tile, or of pixels that need more samples, and what they met
  float u[RAYS], v[RAYS], sun_x[RAYS], sun_z[RAYS];
  float d0[RAYS], d1[RAYS], d2[RAYS], t[RAYS], n0[RAYS], n1[RAYS], n2[RAYS], which[RAYS];
  float p0[RAYS], p1[RAYS], p2[RAYS], owner[RAYS], lit[RAYS], open[RAYS];
  float l0[RAYS], l1[RAYS], l2[RAYS], r0[RAYS], r1[RAYS], r2[RAYS];  // light, and mirrored light
};

struct Frame {
  const float *parts, *bound, *soft, *camera, *light;
  const int64_t *kind;
  int count, floor;  // of primitives; which floor
};

struct Extent {
  float low, high;
};

static inline Extent extent(const float *a, int n) {
  Extent e = {a[0], a[0]};
  for (int i = 1; i < n; i++) {
    e.low = a[i] < e.low ? a[i] : e.low;
    e.high = a[i] > e.high ? a[i] : e.high;
  }
  return e;
}

// Whether the rays between two tangents may meet a ball that is this far aside and ahead.
static bool aside(float side, float ahead, float bound, float focal, Extent rays) {
  if (ahead <= bound + 0.05f) return true;  // around the camera, or nearly
  const float below = ahead * ahead - bound * bound;
  const float root = bound * std::sqrt(side * side + below);
  return (side * ahead - root) / below * focal <= rays.high &&
         (side * ahead + root) / below * focal >= rays.low;
}

static void in_view(const Block &b, int n, const Frame &f, const float *c, bool *touch) {
  const Extent u = extent(b.u, n), v = extent(b.v, n);
  for (int k = 0; k < f.count; k++) {
    const float *p = f.parts + k * PART + CENTRE;
    const float x = p[0] - c[0], y = p[1] - c[1], z = p[2] - c[2], r = f.bound[k];
    const float right = x * c[3] + y * c[4] + z * c[5], up = x * c[6] + y * c[7] + z * c[8];
    const float ahead = x * c[9] + y * c[10] + z * c[11];
    touch[k] = f.kind[k] >= 0 && ahead > -r && aside(right, ahead, r, c[12], u) &&
               aside(up, ahead, r, c[12], v);
  }
}

// Which primitives may darken the points of a block, and which may hide the sun from them.
static void may_shade(const Block &b, int n, const Frame &f, bool *dim, bool *hide) {
  const float *s = f.light + SUN;
  const float slope_x = s[0] / s[1], slope_z = s[2] / s[1];
  float low[5] = {FAR, FAR, FAR, FAR, FAR}, high[5] = {-FAR, -FAR, -FAR, -FAR, -FAR};
  bool any = false;
  for (int i = 0; i < n; i++) {
    if (b.t[i] >= SHADOW_REACH) continue;
    any = true;
    const float v[5] = {b.p0[i], b.p1[i], b.p2[i], b.p0[i] - b.p1[i] * slope_x,
                        b.p2[i] - b.p1[i] * slope_z};
    for (int j = 0; j < 5; j++) {
      low[j] = v[j] < low[j] ? v[j] : low[j];
      high[j] = v[j] > high[j] ? v[j] : high[j];
    }
  }
  float middle[3], radius = 0;
  for (int j = 0; j < 3; j++) {
    const float size = (high[j] - low[j]) / 2;
    middle[j] = (low[j] + high[j]) / 2;
    radius += size * size;
  }
  radius = std::sqrt(radius);
  const float wide_x = std::sqrt(1 + slope_x * slope_x), wide_z = std::sqrt(1 + slope_z * slope_z);
  for (int k = 0; k < f.count; k++) {
    dim[k] = hide[k] = false;
    if (!any || f.kind[k] < 0) continue;
    const float *c = f.parts + k * PART + CENTRE, bound = f.bound[k];
    const float x = c[0] - middle[0], y = c[1] - middle[1], z = c[2] - middle[2];
    const float along = x * s[0] + y * s[1] + z * s[2], squared = x * x + y * y + z * z;
    const float across = std::sqrt(std::fmax(squared - along * along, 0.0f)), room = radius + bound;
    const bool shade = along > -room && across < room + 0.06f * std::fmax(along, 0.0f);
    dim[k] = shade || std::sqrt(squared) < radius + 5 * f.soft[k];
    const float rise = c[1] + bound - low[1];
    if (!dim[k] || rise <= -0.1f) continue;
    const float more = SUN_REACH / s[1] * std::fmax(rise, 0.0f) + 0.05f;
    const float there_x = c[0] - c[1] * slope_x, reach_x = bound * wide_x + more;
    const float there_z = c[2] - c[1] * slope_z, reach_z = bound * wide_z + more;
    hide[k] = there_x + reach_x > low[3] && there_x - reach_x < high[3] &&
              there_z + reach_z > low[4] && there_z - reach_z < high[4];
  }
}

static void trace(Block &b, int n, const Frame &f, const float *camera, const bool *touch) {
  begin(n, b.u, b.v, b.d0, b.d1, b.d2, b.t, b.n0, b.n1, b.n2, b.which, b.p0, b.p1, b.p2, b.owner,
        camera);
  bool any = false;
  for (int k = 0; k < f.count; k++) {
    if (!touch[k]) continue;
    any = true;
    const auto meet = NEAREST[FAMILY[f.kind[k]]];
    const float *p = f.parts + k * PART;
    meet(n, b.d0, b.d1, b.d2, b.t, b.n0, b.n1, b.n2, b.which, camera, p, PROFILE[f.kind[k]], k);
  }
  if (any)
    surface(n, b.d0, b.d1, b.d2, b.t, b.n0, b.n1, b.n2, b.which, b.p0, b.p1, b.p2, b.owner, camera);
}

// Shade the rays that met objects: those of one primitive after the other, side by side.
static void things(Block &b, int n, const Frame &f, const bool *touch) {
  static thread_local Block g;
  static thread_local int at[RAYS];
  for (int k = 0; k < f.count; k++) {
    if (!touch[k]) continue;
    int m = 0;
    for (int i = 0; i < n; i++)
      if (b.which[i] == k) at[m++] = i;
    if (!m) continue;
    const int full = (m + LANES - 1) / LANES * LANES;
    for (int j = 0; j < full; j++) {
      const int i = at[j < m ? j : 0];
      g.n0[j] = b.n0[i], g.n1[j] = b.n1[i], g.n2[j] = b.n2[i];
      g.d0[j] = b.d0[i], g.d1[j] = b.d1[i], g.d2[j] = b.d2[i], g.t[j] = b.t[i];
      g.p0[j] = b.p0[i], g.p1[j] = b.p1[i], g.p2[j] = b.p2[i];
      g.lit[j] = b.lit[i], g.open[j] = b.open[i];
    }
    const float *p = f.parts + k * PART;
    thing(full, g.n0, g.n1, g.n2, g.d0, g.d1, g.d2, g.t, g.p0, g.p1, g.p2, g.lit, g.open, g.l0,
          g.l1, g.l2, p, f.light);
    for (int j = 0; j < m; j++) {
      const int i = at[j];
      b.l0[i] = g.l0[j], b.l1[i] = g.l1[j], b.l2[i] = g.l2[j], b.owner[i] = FIRST_OBJECT + p[OWNER];
    }
  }
}

// What the floor mirrors: the scene as a camera below it sees it, bent by ripples.
static void mirror(Block &b, int n, const Frame &f) {
  static thread_local Block m;
  float camera[13];
  std::memcpy(camera, f.camera, sizeof camera);
  for (int j = 1; j < 12; j += 3) camera[j] = -camera[j];
  bend(n, b.u, b.v, b.p0, b.p2, m.u, m.v, f.light, f.floor == WATER ? 1.0f : 0.25f);
  bool touch[PRIMITIVES];
  in_view(m, n, f, camera, touch);
  trace(m, n, f, camera, touch);
  for (int i = 0; i < n; i++) m.lit[i] = m.open[i] = 1;
  sky(n, m.d0, m.d1, m.d2, m.l0, m.l1, m.l2, f.light);
  things(m, n, f, touch);
  std::memcpy(b.r0, m.l0, n * 4), std::memcpy(b.r1, m.l1, n * 4), std::memcpy(b.r2, m.l2, n * 4);
}

static void cast(Block &b, int n, const Frame &f) {
  bool touch[PRIMITIVES], dim[PRIMITIVES], hide[PRIMITIVES];
  in_view(b, n, f, f.camera, touch);
  trace(b, n, f, f.camera, touch);
  for (int i = 0; i < n; i++) b.lit[i] = b.open[i] = 1;
  may_shade(b, n, f, dim, hide);
  for (int k = 0; k < f.count; k++) {
    const float *p = f.parts + k * PART;
    if (dim[k])
      dimmed(n, b.p0, b.p1, b.p2, b.n0, b.n1, b.n2, b.which, b.open, p, f.soft[k], k);
    if (hide[k])
      SHADED[FAMILY[f.kind[k]]](n, b.p0, b.p1, b.p2, b.n0, b.n1, b.n2, b.sun_x, b.sun_z, b.lit,
                                f.light, p, PROFILE[f.kind[k]]);
  }
  if (extent(b.t, n).high > 0.5f * FAR) sky(n, b.d0, b.d1, b.d2, b.l0, b.l1, b.l2, f.light);
  bool ground = false;
  for (int i = 0; i < n; i++) ground |= b.owner[i] == FLOOR;
  if (ground) {
    if (f.floor == WATER || f.light[WET] > 0) mirror(b, n, f);
    GROUND[f.floor](n, b.p0, b.p2, b.d1, b.t, b.lit, b.open, b.r0, b.r1, b.r2, b.owner, b.l0, b.l1,
                    b.l2, f.light);
  }
  things(b, n, f, touch);
  film(n, b.l0, b.l1, b.l2);
}

static bool differ(const float *c, const float *o, int plane, int i, int j) {
  if (o[i] != o[j]) return true;
  for (int k = 0; k < 3; k++)
    if (std::fabs(c[k * plane + j] - c[k * plane + i]) - CONTRAST > 0) return true;
  return false;
}

// Average four samples of the pixels that differ from a neighbour.
static void refine(const Frame &f, int height, int width, float one, float *colour,
                   const float *owner, uint8_t *unclear, int *spots) {
  static thread_local Block b;
  const int plane = height * width;
  std::memset(unclear, 0, plane);
  for (int y = 0; y < height; y++)
    for (int x = 0; x < width; x++) {
      const int i = y * width + x;
      if (x + 1 < width && differ(colour, owner, plane, i, i + 1)) unclear[i] = unclear[i + 1] = 1;
      if (y + 1 < height && differ(colour, owner, plane, i, i + width))
        unclear[i] = unclear[i + width] = 1;
    }
  int count = 0;
  for (int top = 0; top < height; top += TILE)
    for (int left = 0; left < width; left += TILE)
      for (int y = top; y < top + TILE && y < height; y++)
        for (int x = left; x < left + TILE && x < width; x++)
          if (unclear[y * width + x]) spots[count++] = y * width + x;
  for (int first = 0; first < count; first += CROWD) {
    const int m = count - first < CROWD ? count - first : CROWD;
    for (int j = 0; j < CROWD; j++) {
      const int spot = spots[first + (j < m ? j : 0)], x = spot % width, y = spot / width;
      for (int k = 1; k < 4; k++) {
        const int i = (k - 1) * CROWD + j, part = ((x & 1) + 2 * (y & 1) + k) & 3;
        b.u[i] = (x + SAMPLES[k][0] - width / 2.0f) * one;
        b.v[i] = (height / 2.0f - y - SAMPLES[k][1]) * one;
        b.sun_x[i] = SUNS[part][0], b.sun_z[i] = SUNS[part][1];
      }
    }
    cast(b, 3 * CROWD, f);
    const float *light[3] = {b.l0, b.l1, b.l2};
    for (int j = 0; j < m; j++)
      for (int k = 0; k < 3; k++) {
        float *kept = colour + k * plane + spots[first + j];
        *kept = (*kept + (light[k][j] + light[k][CROWD + j] + light[k][2 * CROWD + j])) / 4;
      }
  }
}

// Render frames: colours `f 3 h w`, owners and depths `f h w`, and normals and how they face the
// camera, `f 4 h w`, unless that is null. `scratch` is of 5 bytes a pixel.
extern "C" void render(int frames, int primitives, const float *parts, const int64_t *kind,
                       const float *bound, const float *soft, const float *camera,
                       const float *light, const int64_t *floor, int height, int width, float one,
                       float *colour, float *owner, float *depth, float *normal, void *scratch) {
  static thread_local Block b;
  const int plane = height * width;
  for (int n = 0; n < frames; n++) {
    const Frame f = {parts + n * primitives * PART, bound + n * primitives, soft + n * primitives,
                     camera + n * 13, light + n * LIGHTS, kind + n * primitives, primitives,
                     int(floor[n])};
    float *c = colour + n * 3 * plane, *o = owner + n * plane, *t = depth + n * plane;
    for (int top = 0; top < height; top += TILE)
      for (int left = 0; left < width; left += TILE) {
        for (int i = 0; i < TILE * TILE; i++) {
          int y = top + i / TILE, x = left + i % TILE;
          y = y < height ? y : height - 1, x = x < width ? x : width - 1;
          b.u[i] = (x + SAMPLES[0][0] - width / 2.0f) * one;
          b.v[i] = (height / 2.0f - y - SAMPLES[0][1]) * one;
          const int part = (x & 1) + 2 * (y & 1);
          b.sun_x[i] = SUNS[part][0], b.sun_z[i] = SUNS[part][1];
        }
        cast(b, TILE * TILE, f);
        for (int i = 0; i < TILE * TILE; i++) {
          const int y = top + i / TILE, x = left + i % TILE, at = y * width + x;
          if (y >= height || x >= width) continue;
          c[at] = b.l0[i], c[plane + at] = b.l1[i], c[2 * plane + at] = b.l2[i];
          o[at] = b.owner[i], t[at] = b.t[i];
          if (!normal) continue;
          const bool far = b.t[i] > 0.5f * FAR;
          float *m = normal + n * 4 * plane + at;
          m[0] = far ? 0 : b.n0[i], m[plane] = far ? 0 : b.n1[i], m[2 * plane] = far ? 0 : b.n2[i];
          m[3 * plane] = far ? 1 : -(b.d0[i] * b.n0[i] + b.d1[i] * b.n1[i] + b.d2[i] * b.n2[i]);
        }
      }
    refine(f, height, width, one, c, o, (uint8_t *)scratch + 4 * plane, (int *)scratch);
  }
}
