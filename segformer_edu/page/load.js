"use strict";
/* From a file's named tensors to the parts of a model, in the layouts that segformer.js computes
   with. Tensors are {name: {shape, data}}, their names those of SegFormer's state_dict(). */

// Numbers of half precision, all high bytes first and then all low ones; tensors [[name, shape]]
function unpacked(tensors, bytes) {
  const count = bytes.length / 2, weights = {};
  let at = 0;
  for (const [name, shape] of tensors) {
    const data = new Float32Array(shape.reduce((product, side) => product * side, 1));
    for (let i = 0; i < data.length; i++, at++)
      data[i] = fromHalf((bytes[at] << 8) | bytes[count + at]);
    weights[name] = { shape, data };
  }
  return weights;
}

// IEEE 754's 16 bits: a sign, five of the exponent, ten of the fraction
function fromHalf(bits) {
  const exponent = (bits >> 10) & 31, fraction = (bits & 1023) / 1024, sign = bits >> 15 ? -1 : 1;
  return sign * (exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction);
}

// A tree of parts: encoder.stages[0].blocks[1].attention.query.weight. The reductions of a block
// are found by their ratio, its own among those of reductions.safetensors, if there are any.
function load(config, weights) {
  const tree = {};
  for (const [name, { shape, data }] of Object.entries(weights)) {
    const path = name.split("."), last = path.pop();
    let part = tree;
    for (const step of path) part = part[step] ??= {};
    part[last] = channelsLast(shape, data, path.at(-1) === "depthwise");
  }
  Object.values(tree.encoder.stages).forEach(({ blocks }, stage) => {
    for (const { attention: { reduce } } of Object.values(blocks))
      if (reduce?.projection) reduce[config.reduction_ratios[stage]] = reduce;
  });
  return { config, encoder: tree.encoder, decoder: { ...tree.decoder, ...compose(tree.decoder) } };
}

// A kernel (C_out, C_in, K, K) as (C_out, K, K, C_in), and one of single channels as (K, K, C)
function channelsLast(shape, data, depthwise) {
  const [rows, columns, K] = shape;
  if (shape.length < 4) return { shape, data };
  if (depthwise) return { shape: [K, K, rows], data: transposed(data, K * K) };
  const kernels = new Float32Array(data.length), size = columns * K * K;
  for (let from = 0; from < data.length; from += size)
    kernels.set(transposed(data.subarray(from, from + size), K * K), from);
  return { shape: [rows, K, K, columns], data: kernels };
}

// decoder.py: W_i A_i of each stage (D, C_i), and their joint bias, with the BatchNorm folded in
function compose({ projections, fuse, norm }) {
  const D = norm.bias.data.length, stages = Object.values(projections);
  const scale = norm.weight.data.map((w, d) => w / Math.sqrt(norm.running_var.data[d] + EPSILON));
  const bias = norm.bias.data.map((b, d) => b - norm.running_mean.data[d] * scale[d]);
  const weights = stages.map((a, i) => {
    const ofStage = sliced(fuse.weight.data, stages.length * D, (stages.length - 1 - i) * D, D);
    const w = ofStage.map((value, j) => value * scale[Math.floor(j / D)]); // stage 4 comes first
    product(w, a.bias.data, D).forEach((b, d) => (bias[d] += b));
    const [, C] = a.weight.shape;
    return { shape: [D, C], data: product(w, transposed(a.weight.data, C), D) };
  });
  return { weights, bias };
}

// The ratios that each stage has reductions for; 1 beside others only if it was trained for that
function reductionRatios({ config, encoder }) {
  return Object.values(encoder.stages).map(({ blocks }, stage) => {
    const { reduce = {} } = blocks[0].attention, own = config.reduction_ratios[stage];
    const trained = Object.keys(reduce).map(Number).filter(Boolean); // its parts have names
    const every = new Set(trained.some((ratio) => ratio !== own) ? [1, ...trained, own] : [own]);
    return [...every].sort((a, b) => a - b);
  });
}

// config.py: the smallest side that leaves every stage at least one key
function minImageSize({ patch_sizes, strides }, ratios) {
  return ratios.reduceRight(
    (side, r, i) => Math.max((Math.max(side, r) - 1) * strides[i] + (patch_sizes[i] % 2), 1), 1);
}

// Refuse an image, or ratios, that the model cannot take.
function check(model, { height, width, channels }, ratios) {
  const { in_channels } = model.config, trained = reductionRatios(model);
  ratios.forEach((r, i) => {
    if (!trained[i].includes(r))
      throw new Error(`Stage ${i + 1} has no reduction for r = ${r}, but for ${trained[i]}.`);
  });
  if (channels !== in_channels)
    throw new Error(`The model takes ${in_channels} channels, and this has ${channels}.`);
  const least = minImageSize(model.config, ratios);
  if (Math.min(height, width) < least)
    throw new Error(`${height} × ${width} pixels: the model needs at least ${least} a side.`);
}
