// Streams through the layers and back, for a block of points: Network.propagate and Network.backpropagate in one pass each.
//
// Points go in small groups, all layers at once, so that everything between two layers stays in the nearest caches; what
// the way back needs of the way there is written once to `record` and read once. Weights are copied to rows of whole
// vectors (`ld` numbers apart), which lets every product run without its edges. The
// functions `activate` and `cotangents` are generated from the Python that defines them, with T, STREAMS and KEEP_Z.
//
// All matrices are row by row. S streams, n points of a group: stream s of point p stands in row s * n + p.
#include <ATen/cpu/vec/vec.h>
#include <omp.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

using T = REAL;
using Vec = at::vec::Vectorized<T>;

// tanh x = e / (e + 2) with e = exp(2|x|) - 1 = 2^k (expm1(r) + 1) - 1, 2|x| = k ln 2 + r, |r| <= ln(2) / 2, by the series
// of expm1; without the cancellations of 1 - 2 / (exp(2x) + 1), and the sign put back. A NaN stays one.
static inline Vec hyperbolic_tangent(Vec x) {
  constexpr bool fine = sizeof(T) == 8;
  Vec y = at::vec::minimum(x.abs(), Vec(T(fine ? 20 : 10))) * Vec(T(2));
  Vec k = (y * Vec(T(1.4426950408889634074))).round();
  Vec r = at::vec::fmadd(k, Vec(T(fine ? -6.93147180369123816490e-01 : -0.693359375)), y);
  r = at::vec::fmadd(k, Vec(T(fine ? -1.90821492927058770002e-10 : 2.12194440e-4)), r);
  constexpr int TERMS = fine ? 12 : 6;  // 1/2!, 1/3!, ...
  constexpr double factor[] = {1.0 / 2,       1.0 / 6,        1.0 / 24,        1.0 / 120,        1.0 / 720,         1.0 / 5040,
                               1.0 / 40320,   1.0 / 362880,   1.0 / 3628800,   1.0 / 39916800,   1.0 / 479001600,
                               1.0 / 6227020800};
  Vec square = r * r, even{T(factor[TERMS - 2])}, odd{T(factor[TERMS - 1])};
#pragma GCC unroll 8
  for (int i = TERMS - 4; i >= 0; i -= 2) {
    even = at::vec::fmadd(even, square, Vec(T(factor[i])));
    odd = at::vec::fmadd(odd, square, Vec(T(factor[i + 1])));
  }
  Vec p = at::vec::fmadd(square, at::vec::fmadd(odd, r, even), r);
  auto exponent = at::vec::convert_to_int_of_same_size(k);
  using Bits = decltype(exponent);
  using Int = typename Bits::value_type;
  Vec power = at::vec::cast<T>((exponent + Bits(Int(fine ? 1023 : 127))) << Bits(Int(fine ? 52 : 23)));
  Vec e = at::vec::fmadd(power, p, power - Vec(T(1)));
  return (e / (e + Vec(T(2)))).copysign(x);
}

//GENERATED

namespace {

constexpr int VL = Vec::size();
constexpr int64_t LINE = 64 / sizeof(T);

#if defined(CPU_CAPABILITY_AVX512)
constexpr int WIDEST = 4;  // vectors of columns in one tile; rows as many as 32 registers hold
constexpr int ROWS[] = {0, 12, 12, 8, 6};
#else
constexpr int WIDEST = 3;
constexpr int ROWS[] = {0, 8, 6, 4};
#endif

int64_t vectors(int64_t m) { return (m + VL - 1) / VL; }

// Numbers from one row to the next: whole cache lines, no multiple of eight, or a column would fall on few sets of a cache.
int64_t leading(int64_t m) {
  int64_t lines = (vectors(m) * VL + LINE - 1) / LINE;
  return (lines % 8 ? lines : lines + 1) * LINE;
}

// C (+)= A B for MR rows and NV vectors of columns; A(i, k) = A[i * ar + k * ac].
template <int MR, int NV, bool ADD>
inline void tile(int64_t K, const T* A, int64_t ar, int64_t ac, const T* B, int64_t bs, T* C, int64_t cs) {
  Vec c[MR][NV];
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) c[i][j] = ADD ? Vec::loadu(C + i * cs + j * VL) : Vec(T(0));
  }
  for (int64_t k = 0; k < K; ++k) {
    Vec b[NV];
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) b[j] = Vec::loadu(B + k * bs + j * VL);
#pragma GCC unroll 16
    for (int i = 0; i < MR; ++i) {
      Vec a(A[i * ar + k * ac]);
#pragma GCC unroll 4
      for (int j = 0; j < NV; ++j) c[i][j] = at::vec::fmadd(a, b[j], c[i][j]);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < MR; ++i) {
#pragma GCC unroll 4
    for (int j = 0; j < NV; ++j) c[i][j].store(C + i * cs + j * VL);
  }
}

template <int MR, int NV, bool ADD>
void rest(int64_t M, int64_t K, const T* A, int64_t ar, int64_t ac, const T* B, int64_t bs, T* C, int64_t cs) {
  if constexpr (MR > 0) {
    if (M == MR)
      tile<MR, NV, ADD>(K, A, ar, ac, B, bs, C, cs);
    else
      rest<MR - 1, NV, ADD>(M, K, A, ar, ac, B, bs, C, cs);
  }
}

template <int NV, bool ADD>
void columns(int64_t M, int64_t K, const T* A, int64_t ar, int64_t ac, const T* B, int64_t bs, T* C, int64_t cs) {
  constexpr int MR = ROWS[NV];
  int64_t i = 0;
  for (; i + MR <= M; i += MR) tile<MR, NV, ADD>(K, A + i * ar, ar, ac, B, bs, C + i * cs, cs);
  rest<MR - 1, NV, ADD>(M - i, K, A + i * ar, ar, ac, B, bs, C + i * cs, cs);
}

// C (+)= A B: (M, K) by (K, N), N rounded up to whole vectors.
template <bool ADD>
void product(int64_t M, int64_t N, int64_t K, const T* A, int64_t ar, int64_t ac, const T* B, int64_t bs, T* C,
             int64_t cs) {
  int64_t left = vectors(N), j = 0;
  while (left > 0) {
    // No tile of a single vector beside one of the widest: 4 = 2 + 2 rather than 3 + 1.
    int64_t now = left == WIDEST + 1 ? (left + 1) / 2 : std::min<int64_t>(left, WIDEST);
    const T* b = B + j * VL;
    T* c = C + j * VL;
    if (now == 1) columns<1, ADD>(M, K, A, ar, ac, b, bs, c, cs);
    if (now == 2) columns<2, ADD>(M, K, A, ar, ac, b, bs, c, cs);
    if (now == 3) columns<3, ADD>(M, K, A, ar, ac, b, bs, c, cs);
#if defined(CPU_CAPABILITY_AVX512)
    if (now == 4) columns<4, ADD>(M, K, A, ar, ac, b, bs, c, cs);
#endif
    j += now;
    left -= now;
  }
}

T total(Vec v) {
  T parts[VL];
  v.store(parts);
  T sum = 0;
  for (int i = 0; i < VL; ++i) sum += parts[i];
  return sum;
}

T dot(const T* a, const T* b, int64_t nv) {
  Vec sum(T(0));
  for (int64_t j = 0; j < nv; ++j) sum = at::vec::fmadd(Vec::loadu(a + j * VL), Vec::loadu(b + j * VL), sum);
  return total(sum);
}

// sum over s, s' of (d_s . d_s') (h_s . h_s'), and d_0 . d_0 for the bias, of one point.
template <typename D, typename H>
T square(D d, H h, T scale) {
  T sum = 0;
  for (int s = 0; s < STREAMS; ++s)
    for (int r = 0; r <= s; ++r) sum += (r == s ? 1 : 2) * d(s, r) * h(s, r);
  return scale * scale * sum + d(0, 0);
}

struct Shape {
  int64_t points, layers, group;  // layers: of weights; group: points that go together
  const int64_t* sizes;           // layers + 1
  int64_t hidden() const { return layers - 1; }
  int64_t groups() const { return (points + group - 1) / group; }
  int64_t rows() const { return STREAMS * group; }
  int64_t kept() const {  // of one group's record: every hidden layer's h, and z
    int64_t sum = 0;
    for (int64_t l = 1; l <= hidden(); ++l) sum += 2 * rows() * leading(sizes[l]);
    return sum;
  }
  int64_t widest() const {
    int64_t most = 0;
    for (int64_t l = 1; l <= hidden(); ++l) most = std::max(most, leading(sizes[l]));
    return most;
  }
  int64_t gradient() const {  // padded: weights transposed, then biases
    int64_t sum = 0;
    for (int64_t l = 0; l < hidden(); ++l) sum += (sizes[l] + 1) * leading(sizes[l + 1]);
    return sum + sizes[layers] * (leading(sizes[layers - 1]) + 1);
  }
};

// Weights (out, in) times their scale, in rows of whole vectors: transposed (in, out) or as they are.
std::vector<T> padded(const T* W, int64_t out, int64_t in, T scale, bool transposed) {
  int64_t rows = transposed ? in : out, columns = transposed ? out : in, ld = leading(columns);
  std::vector<T> found(rows * ld, T(0));
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < columns; ++j) found[i * ld + j] = scale * (transposed ? W[j * in + i] : W[i * in + j]);
  return found;
}

}  // namespace

extern "C" {

// Numbers in `record`.
int64_t record_size(int64_t points, int64_t layers, int64_t group, const int64_t* sizes) {
  Shape shape{points, layers, group, sizes};
  return shape.groups() * shape.kept();
}

// features (S, N, sizes[0]) -> out (S, N, sizes[layers]).
void forward(int64_t points, int64_t layers, int64_t group, const int64_t* sizes, const T* features, const T** weights,
             const T** biases, const double* scales, T* record, T* out, int64_t threads) {
  Shape shape{points, layers, group, sizes};
  int64_t hidden = shape.hidden(), fields = sizes[layers];
  std::vector<std::vector<T>> W, b;
  for (int64_t l = 0; l < layers; ++l) {
    W.push_back(padded(weights[l], sizes[l + 1], sizes[l], T(scales[l]), l < hidden));
    b.push_back(padded(biases[l], 1, sizes[l + 1], T(1), false));
  }
#pragma omp parallel for schedule(static) num_threads(threads)
  for (int64_t g = 0; g < shape.groups(); ++g) {
    int64_t first = g * group, n = std::min(group, points - first);
    T* here = record + g * shape.kept();
    const T* h = nullptr;
    for (int64_t l = 0; l < hidden; ++l) {
      int64_t in = sizes[l], ld = leading(sizes[l + 1]), nv = vectors(sizes[l + 1]);
      T* H = here;
      T* Z = here + shape.rows() * ld;
      here += 2 * shape.rows() * ld;
      if (l == 0)
        for (int64_t s = 0; s < STREAMS; ++s)
          product<false>(n, sizes[1], in, features + (s * points + first) * in, in, 1, W[0].data(), ld, Z + s * n * ld,
                         ld);
      else
        product<false>(STREAMS * n, sizes[l + 1], in, h, leading(in), 1, W[l].data(), ld, Z, ld);
      for (int64_t p = 0; p < n; ++p)
        for (int64_t j = 0; j < nv; ++j) {
          T* at = Z + p * ld + j * VL;
          T* to = H + p * ld + j * VL;
          Vec z[STREAMS], a[STREAMS];
          for (int s = 0; s < STREAMS; ++s) z[s] = Vec::loadu(at + s * n * ld);
          z[0] = z[0] + Vec::loadu(b[l].data() + j * VL);
          if (KEEP_Z) z[0].store(at);
          activate(z, a);
          for (int s = 0; s < STREAMS; ++s) a[s].store(to + s * n * ld);
        }
      h = H;
    }
    int64_t ld = leading(sizes[hidden]), nv = vectors(sizes[hidden]);
    for (int s = 0; s < STREAMS; ++s)
      for (int64_t p = 0; p < n; ++p)
        for (int64_t f = 0; f < fields; ++f)
          out[(s * points + first + p) * fields + f] =
              dot(h + (s * n + p) * ld, W[hidden].data() + f * ld, nv) + (s == 0 ? b[hidden][f] : T(0));
  }
}

// Cotangents of `out` (S, N, fields) -> gradients of weights (out, in) and biases, sums over the points. With `factors`,
// (N,), every point's part is multiplied by its factor; with `squares`, (N,), those are the squares of the norms of the
// parts without it.
void backward(int64_t points, int64_t layers, int64_t group, const int64_t* sizes, const T* features, const T** weights,
              const double* scales, const T* record, const T* given, const T* factors, T* squares, T** to_weights,
              T** to_biases, int64_t threads) {
  Shape shape{points, layers, group, sizes};
  int64_t hidden = shape.hidden(), fields = sizes[layers], size = shape.gradient();
  std::vector<std::vector<T>> W(1);
  for (int64_t l = 1; l < layers; ++l) W.push_back(padded(weights[l], sizes[l + 1], sizes[l], T(scales[l]), false));
  std::vector<T> gradients(threads * size, T(0));
#pragma omp parallel num_threads(threads)
  {
    // Groups to threads in order, whatever number of threads comes: sums are the same in every run.
    int64_t of = omp_get_num_threads(), me = omp_get_thread_num();
    std::vector<T> space(2 * shape.rows() * shape.widest());
    for (int64_t g = shape.groups() * me / of; g < shape.groups() * (me + 1) / of; ++g) {
      int64_t first = g * group, n = std::min(group, points - first), rows = STREAMS * n;
      const T* here = record + (g + 1) * shape.kept();
      T* G = space.data();
      T* D = G + shape.rows() * shape.widest();
      T* sum = gradients.data() + (me + 1) * size;
      auto cotangent = [&](int64_t s, int64_t p, int64_t f) { return given[(s * points + first + p) * fields + f]; };
      // The last layer, which is linear.
      {
        int64_t m = sizes[hidden], ld = leading(m), nv = vectors(m);
        const T* h = here - 2 * shape.rows() * ld;
        sum -= fields * (ld + 1);
        for (int64_t r = 0; r < rows; ++r) {
          int64_t s = r / n, p = r % n;
          T factor = factors ? factors[first + p] : T(1);
          for (int64_t f = 0; f < fields; ++f) {
            Vec c(cotangent(s, p, f)), scaled(factor * cotangent(s, p, f));
            const T* w = W[hidden].data() + f * ld;
            T* dw = sum + f * ld;
            for (int64_t j = 0; j < nv; ++j) {
              Vec before = f ? Vec::loadu(G + r * ld + j * VL) : Vec(T(0));
              at::vec::fmadd(c, Vec::loadu(w + j * VL), before).store(G + r * ld + j * VL);
              at::vec::fmadd(scaled, Vec::loadu(h + r * ld + j * VL), Vec::loadu(dw + j * VL)).store(dw + j * VL);
            }
            if (s == 0) sum[fields * ld + f] += factor * cotangent(s, p, f);
          }
        }
        if (squares)
          for (int64_t p = 0; p < n; ++p)
            squares[first + p] = square(
                [&](int s, int r) {
                  T found = 0;
                  for (int64_t f = 0; f < fields; ++f) found += cotangent(s, p, f) * cotangent(r, p, f);
                  return found;
                },
                [&](int s, int r) { return dot(h + (s * n + p) * ld, h + (r * n + p) * ld, nv); }, T(scales[hidden]));
      }
      for (int64_t l = hidden - 1; l >= 0; --l) {
        int64_t in = sizes[l], m = sizes[l + 1], ld = leading(m), nv = vectors(m);
        here -= 2 * shape.rows() * ld;
        const T* H = here;
        const T* Z = here + shape.rows() * ld;
        sum -= (in + 1) * ld;
        for (int64_t p = 0; p < n; ++p)
          for (int64_t j = 0; j < nv; ++j) {
            int64_t at = p * ld + j * VL;
            Vec z[STREAMS], x[STREAMS], d[STREAMS];
            for (int s = 0; s < STREAMS; ++s) {
              z[s] = Vec::loadu(Z + s * n * ld + at);
              x[s] = Vec::loadu(G + s * n * ld + at);
            }
            cotangents(z, Vec::loadu(H + at), x, d);
            for (int s = 0; s < STREAMS; ++s) d[s].store(D + s * n * ld + at);
          }
        const T* below = l ? here - 2 * shape.rows() * leading(in) : nullptr;  // h of the layer below
        auto inputs = [&](int64_t s) { return l ? below + s * n * leading(in) : features + (s * points + first) * in; };
        int64_t apart = l ? leading(in) : in;
        if (squares)
          for (int64_t p = 0; p < n; ++p)
            squares[first + p] += square(
                [&](int s, int r) { return dot(D + (s * n + p) * ld, D + (r * n + p) * ld, nv); },
                [&](int s, int r) {
                  const T *a = inputs(s) + p * apart, *b = inputs(r) + p * apart;
                  if (l) return dot(a, b, vectors(in));
                  T found = 0;
                  for (int64_t i = 0; i < in; ++i) found += a[i] * b[i];
                  return found;
                },
                T(scales[l]));
        if (l) product<false>(rows, in, m, D, ld, 1, W[l].data(), leading(in), G, leading(in));
        if (factors)
          for (int64_t r = 0; r < rows; ++r)
            for (int64_t j = 0; j < nv; ++j)
              (Vec(factors[first + r % n]) * Vec::loadu(D + r * ld + j * VL)).store(D + r * ld + j * VL);
        for (int64_t j = 0; j < nv; ++j) {
          Vec bias = Vec::loadu(sum + in * ld + j * VL);
          for (int64_t p = 0; p < n; ++p) bias = bias + Vec::loadu(D + p * ld + j * VL);
          bias.store(sum + in * ld + j * VL);
        }
        if (l)
          product<true>(in, m, rows, below, 1, apart, D, ld, sum, ld);
        else
          for (int64_t s = 0; s < STREAMS; ++s)
            product<true>(in, m, n, inputs(s), 1, apart, D + s * n * ld, ld, sum, ld);
      }
    }
  }
  for (int64_t t = 1; t < threads; ++t)
    for (int64_t i = 0; i < size; ++i) gradients[i] += gradients[t * size + i];
  const T* sum = gradients.data();
  for (int64_t l = 0; l < layers; ++l) {
    int64_t in = sizes[l], m = sizes[l + 1];
    bool last = l == hidden;
    int64_t ld = leading(last ? in : m);
    for (int64_t i = 0; i < m; ++i) {
      for (int64_t k = 0; k < in; ++k) to_weights[l][i * in + k] = T(scales[l]) * sum[last ? i * ld + k : k * ld + i];
      to_biases[l][i] = sum[(last ? m : in) * ld + i];
    }
    sum += last ? m * (ld + 1) : (in + 1) * ld;
  }
}

}  // extern "C"
