"use strict";
/* What PyTorch brings to the model: matrix products, convolutions, norms, GELU, bilinear resizing.

   A map is {height, width, channels, data}: pixel after pixel, the channels of one side by side. */

let multiplyAdds = 0; // so far, counted as analysis/cost.py counts them

const newMap = (height, width, channels, data) =>
  ({ height, width, channels, data: data ?? new Float32Array(height * width * channels) });

// x wᵀ + b for x (rows, inner) and w (columns, inner), four rows by four columns at a time. At the
// edge the last row stands in for those that are not there, and is written more than once.
function product(x, w, inner, bias) {
  const rows = x.length / inner, columns = w.length / inner;
  const y = new Float32Array(rows * columns);
  for (let i = 0; i < rows; i += 4) {
    const i1 = Math.min(i + 1, rows - 1), i2 = Math.min(i + 2, rows - 1);
    const i3 = Math.min(i + 3, rows - 1);
    for (let j = 0; j < columns; j += 4) {
      const j1 = Math.min(j + 1, columns - 1), j2 = Math.min(j + 2, columns - 1);
      const j3 = Math.min(j + 3, columns - 1);
      let y00 = 0, y01 = 0, y02 = 0, y03 = 0, y10 = 0, y11 = 0, y12 = 0, y13 = 0;
      let y20 = 0, y21 = 0, y22 = 0, y23 = 0, y30 = 0, y31 = 0, y32 = 0, y33 = 0;
      for (let c = 0; c < inner; c++) {
        const w0 = w[j * inner + c], w1 = w[j1 * inner + c];
        const w2 = w[j2 * inner + c], w3 = w[j3 * inner + c];
        let value = x[i * inner + c];
        y00 += value * w0; y01 += value * w1; y02 += value * w2; y03 += value * w3;
        value = x[i1 * inner + c];
        y10 += value * w0; y11 += value * w1; y12 += value * w2; y13 += value * w3;
        value = x[i2 * inner + c];
        y20 += value * w0; y21 += value * w1; y22 += value * w2; y23 += value * w3;
        value = x[i3 * inner + c];
        y30 += value * w0; y31 += value * w1; y32 += value * w2; y33 += value * w3;
      }
      const b0 = bias ? bias[j] : 0, b1 = bias ? bias[j1] : 0;
      const b2 = bias ? bias[j2] : 0, b3 = bias ? bias[j3] : 0;
      y[i * columns + j] = y00 + b0; y[i * columns + j1] = y01 + b1;
      y[i * columns + j2] = y02 + b2; y[i * columns + j3] = y03 + b3;
      y[i1 * columns + j] = y10 + b0; y[i1 * columns + j1] = y11 + b1;
      y[i1 * columns + j2] = y12 + b2; y[i1 * columns + j3] = y13 + b3;
      y[i2 * columns + j] = y20 + b0; y[i2 * columns + j1] = y21 + b1;
      y[i2 * columns + j2] = y22 + b2; y[i2 * columns + j3] = y23 + b3;
      y[i3 * columns + j] = y30 + b0; y[i3 * columns + j1] = y31 + b1;
      y[i3 * columns + j2] = y32 + b2; y[i3 * columns + j3] = y33 + b3;
    }
  }
  multiplyAdds += rows * columns * inner;
  return y;
}

// (rows, columns) → (columns, rows)
function transposed(x, columns) {
  const rows = x.length / columns, y = new Float32Array(x.length);
  for (let i = 0; i < x.length; i++) y[(i % columns) * rows + Math.floor(i / columns)] = x[i];
  return y;
}

// Some of the columns of x (rows, columns), side by side.
function sliced(x, columns, first, count) {
  const y = new Float32Array((x.length / columns) * count);
  for (let to = 0, from = first; from < x.length; from += columns)
    for (let c = 0; c < count; c++) y[to++] = x[from + c];
  return y;
}

// x Wᵀ + b of every pixel, W (C_out, C_in)
function Linear(x, { weight, bias }) {
  const y = product(x.data, weight.data, x.channels, bias?.data);
  return newMap(x.height, x.width, weight.shape[0], y);
}

function LayerNorm(x, { weight, bias }, epsilon) {
  const y = newMap(x.height, x.width, x.channels), C = x.channels;
  for (let start = 0; start < y.data.length; start += C) {
    let mean = 0, variance = 0;
    for (let c = 0; c < C; c++) mean += x.data[start + c] / C;
    for (let c = 0; c < C; c++) variance += (x.data[start + c] - mean) ** 2 / C;
    const scale = 1 / Math.sqrt(variance + epsilon);
    for (let c = 0; c < C; c++)
      y.data[start + c] = (x.data[start + c] - mean) * scale * weight.data[c] + bias.data[c];
  }
  return y;
}

// A border of zeros or, circular, of what lies at the opposite side.
function pad(x, border, circular) {
  const { height, width, channels: C } = x;
  if (circular && border > Math.min(height, width))
    throw new Error(`A map of ${height} × ${width} has no circular border of ${border}.`);
  const y = newMap(height + 2 * border, width + 2 * border, C);
  for (let row = 0; row < y.height; row++) {
    const from = circular ? (row - border + height) % height : row - border;
    if (from < 0 || from >= height) continue;
    const line = x.data.subarray(from * width * C, (from + 1) * width * C);
    const start = row * y.width * C;
    y.data.set(line, start + border * C);
    if (circular) {
      y.data.set(line.subarray((width - border) * C), start);
      y.data.set(line.subarray(0, border * C), start + (border + width) * C);
    }
  }
  return y;
}

// A convolution is a Linear over patches: weight (C_out, K, K, C_in)
function convolution(x, { weight, bias }, stride, border, circular) {
  const [channels, K] = weight.shape, padded = pad(x, border, circular);
  const height = Math.floor((padded.height - K) / stride) + 1;
  const width = Math.floor((padded.width - K) / stride) + 1;
  const line = K * x.channels, patches = new Float32Array(height * width * K * line);
  let to = 0;
  for (let row = 0; row < height; row++)
    for (let column = 0; column < width; column++)
      for (let k = 0; k < K; k++) {
        const from = ((row * stride + k) * padded.width + column * stride) * x.channels;
        for (let i = 0; i < line; i++) patches[to++] = padded.data[from + i];
      }
  return newMap(height, width, channels, product(patches, weight.data, K * line, bias.data));
}

// x Φ(x), with Φ to 1e-7 by 7.1.26 of Abramowitz and Stegun's handbook
function gelu(x) {
  const z = Math.abs(x) * Math.SQRT1_2, t = 1 / (1 + 0.3275911 * z);
  const p = 1.421413741 + t * (-1.453152027 + t * 1.061405429);
  const tail = t * (0.254829592 + t * (-0.284496736 + t * p)) * Math.exp(-z * z);
  return x > 0 ? x - (x * tail) / 2 : (x * tail) / 2;
}

// The mean of all pixels
function meanOf(data, channels) {
  const mean = new Array(channels).fill(0), pixels = data.length / channels;
  for (let i = 0; i < data.length; i++) mean[i % channels] += data[i] / pixels;
  return mean;
}

// Bilinear resizing of a side: pixel i lies at (i + ½) · size / resized − ½ of the source, clamped.
// For each i, the two source pixels around this place, and the weight of the second.
function sourcePairs(size, resized) {
  return Array.from({ length: resized }, (_, i) => {
    const place = Math.min(Math.max(((i + 0.5) * size) / resized - 0.5, 0), size - 1);
    const first = Math.floor(place);
    return [first, Math.min(first + 1, size - 1), place - first];
  });
}

// The mean of a map's four pixels at two pairs, into y from `to` on
function mix(x, [top, bottom, down], [left, right, across], y, to) {
  const { width, channels: C, data } = x;
  const a = (top * width + left) * C, b = (top * width + right) * C;
  const c = (bottom * width + left) * C, d = (bottom * width + right) * C;
  for (let i = 0; i < C; i++) {
    const upper = data[a + i] + (data[b + i] - data[a + i]) * across;
    y[to + i] = upper + (data[c + i] + (data[d + i] - data[c + i]) * across - upper) * down;
  }
}

function resize(x, height, width) {
  if (x.height === height && x.width === width) return x;
  const y = newMap(height, width, x.channels), columns = sourcePairs(x.width, width);
  sourcePairs(x.height, height).forEach((rows, row) =>
    columns.forEach((pair, i) => mix(x, rows, pair, y.data, (row * width + i) * x.channels)));
  return y;
}
