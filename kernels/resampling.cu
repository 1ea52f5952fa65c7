// Passes over the samples of a resampling, in f64 with the order of sums of the processor, so that they have its bits: a thread adds up one number.
// Tables lie in memory twice, by rows and by columns, so that a warp reads numbers side by side in both passes.
#include "common.cuh"

// out[j·rows + b] = Σ_k w[j·width + k] x_bk, by increasing k, of the table by columns.
// Grid: (samples by threads; vectors). Traffic: 8 rows width bytes for each vector, of which all but the first come from L2 where the table fits.
// Floor: 8 rows width bytes; a chain of `width` additions.
KERNEL(row_products)
(const double* __restrict__ by_column, const double* __restrict__ w, u32 rows, u32 width, double* __restrict__ out) {
  u32 b = blockIdx.x * blockDim.x + threadIdx.x;
  if (b >= rows) return;
  const double* of = w + (u64)blockIdx.y * width;
  double sum = 0.0;
#pragma unroll 16
  for (u32 k = 0; k < width; ++k) sum += of[k] * by_column[(u64)k * rows + b];
  out[(u64)blockIdx.y * rows + b] = sum;
}
REGISTER(row_products)

// out[j·width + k] = Σ_b f[j·rows + b] x_bk, by increasing b, of the table by rows; rows whose factor is 0 are not read.
// Grid: (columns by threads; lists of factors). Traffic: 8 width bytes for each factor that is not 0, and 8 rows bytes from L2. Floor: the same; a
// chain of additions, one a row.
KERNEL(row_sums)
(const double* __restrict__ by_row, const double* __restrict__ f, u32 rows, u32 width, double* __restrict__ out) {
  u32 k = blockIdx.x * blockDim.x + threadIdx.x;
  if (k >= width) return;
  const double* of = f + (u64)blockIdx.y * rows;
  double sum = 0.0;
  for (u32 b = 0; b < rows; ++b) {
    double factor = of[b];
    if (factor != 0.0) sum += factor * by_row[(u64)b * width + k];
  }
  out[(u64)blockIdx.y * width + k] = sum;
}
REGISTER(row_sums)

// Writes rows of a table into both of its orders; row r goes to sample which[r].
// Grid: one block a row. Traffic: 16 width bytes read and written, 32 where the table by columns writes whole sectors. Floor: 24 width bytes.
KERNEL(put_rows)
(const u32* __restrict__ which, const double* __restrict__ given, u32 rows, u32 width, double* __restrict__ by_row,
 double* __restrict__ by_column) {
  u32 b = which[blockIdx.x];
  for (u32 k = threadIdx.x; k < width; k += blockDim.x) {
    double x = given[(u64)blockIdx.x * width + k];
    by_row[(u64)b * width + k] = x;
    by_column[(u64)k * rows + b] = x;
  }
}
REGISTER(put_rows)
