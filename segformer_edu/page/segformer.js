"use strict";
/* SegFormer (arXiv 2105.15203) as segformer_edu has it, in evaluation mode, for one picture.

   const model = load(config, weights);            // load.js; config: as SegFormerConfig has it
   const run = SegFormer(model, image, switches);  // image: a normalised map of in_channels
   labelsFromLogits(run.logits, height, width);    // {labels, confidence}, both (height · width)
   attentionRows(run, stage, block, pixel);        // each head's weights, one row for each head
   contributions(run, pixel);                      // (stages + 1) × K: centred shares of the logits

   What it computes with, and what a map is, stands in arrays.js.
   Switches, all optional: ratios, one for each stage; circular: true; and branches[stage][block] =
   {attention, mix_ffn}, what each branch is multiplied by: 0 leaves it out, and 1 is the default.
   A run keeps maps, blocks (q and k of each), parts (of each stage, in front of the ReLU), the
   milliseconds of each stage and of the decoder, and multiplyAdds, counted as in analysis/cost.py.
   Names and order are those of Python. */

const EPSILON = 1e-5; // of every norm but those of blocks and stages

// patch_embedding.py (section 3.1): a strided convolution, wider than its stride, then LayerNorm
function OverlapPatchEmbedding(x, { projection, norm }, stride, circular) {
  const border = Math.floor(projection.weight.shape[1] / 2);
  return LayerNorm(convolution(x, projection, stride, border, circular), norm, EPSILON);
}

// attention.py (eq. 2): r × r tokens become one
function SpatialReduction(x, { projection, norm }, ratio) {
  return LayerNorm(convolution(x, projection, ratio, 0, false), norm, EPSILON);
}

// softmax(q kᵀ / √d) for some queries of one head, (queries, keys)
function attentionWeights(q, k, d) {
  const scores = product(q, k, d), keys = k.length / d, scale = 1 / Math.sqrt(d);
  for (let start = 0; start < scores.length; start += keys) {
    let most = -Infinity, sum = 0;
    for (let i = start; i < start + keys; i++) most = Math.max(most, scores[i]);
    for (let i = start; i < start + keys; i++)
      sum += scores[i] = Math.exp((scores[i] - most) * scale);
    for (let i = start; i < start + keys; i++) scores[i] /= sum;
  }
  return scores;
}

// attention.py (eq. 1): softmax(q kᵀ / √d) v, head by head, and 64 queries at a time
function SpatialReductionAttention(x, part, heads, ratio, kept) {
  const C = x.channels, d = C / heads, mixed = newMap(x.height, x.width, C);
  const reduced = ratio > 1 ? SpatialReduction(x, part.reduce[ratio], ratio) : x;
  const q = Linear(x, part.query), k = Linear(reduced, part.key), v = Linear(reduced, part.value);
  Object.assign(kept, { q, k, heads });
  for (let head = 0; head < heads; head++) {
    const ofHead = (y) => sliced(y.data, C, head * d, d), values = transposed(ofHead(v), d);
    const queries = ofHead(q), keys = ofHead(k);
    for (let top = 0; top < q.height * q.width; top += 64) {
      const weights = attentionWeights(queries.subarray(top * d, (top + 64) * d), keys, d);
      const y = product(weights, values, keys.length / d); // (queries, d)
      for (let i = 0; i < y.length; i++)
        mixed.data[(top + Math.floor(i / d)) * C + head * d + (i % d)] = y[i];
    }
  }
  return Linear(mixed, part.output);
}

// mix_ffn.py (eq. 3): MLP(GELU(Conv3×3(MLP(x)))), the convolution of each channel alone
function MixFFN(x, { expand, depthwise, contract }, circular) {
  const hidden = Linear(x, expand), padded = pad(hidden, 1, circular).data, C = hidden.channels;
  const w = depthwise.weight.data, bias = depthwise.bias.data; // w (9, C)
  let to = 0;
  for (let row = 0; row < x.height; row++)
    for (let column = 0; column < x.width; column++)
      for (let c = 0; c < C; c++) {
        let i = (row * (x.width + 2) + column) * C + c, sum = bias[c];
        for (let k = c; k < 9 * C; k += 3 * C, i += (x.width + 2) * C)
          sum += padded[i] * w[k] + padded[i + C] * w[k + C] + padded[i + 2 * C] * w[k + 2 * C];
        hidden.data[to++] = gelu(sum);
      }
  multiplyAdds += hidden.data.length * 9;
  return Linear(hidden, contract);
}

// stochastic_depth.py: the drop rate of each block
function dropRates(rate, depth) {
  return Array.from({ length: depth }, (_, block) => (rate * block) / Math.max(depth - 1, 1));
}

// analysis/branches.py: the branches that DropPath leaves in for one sample, at 1, and out, at 0
function drawnBranches(depths, rate, random = Math.random) {
  const rates = dropRates(rate, depths.reduce((sum, depth) => sum + depth, 0));
  const draw = (p) => ({ attention: +(random() >= p), mix_ffn: +(random() >= p) });
  return depths.map((depth) => rates.splice(0, depth).map(draw));
}

// x + scale · branch(x); at 0 the branch is not computed
function residual(x, branch, scale = 1) {
  if (scale === 0) return x;
  const y = branch(x);
  for (let i = 0; i < y.data.length; i++) y.data[i] = x.data[i] + scale * y.data[i];
  return y;
}

// encoder.py
function EncoderBlock(x, part, stage, scales, run) {
  const { block_norm_eps, num_heads } = run.model.config, kept = {};
  run.blocks[stage].push(kept);
  const attention = (x) => SpatialReductionAttention(LayerNorm(x, part.norm1, block_norm_eps),
    part.attention, num_heads[stage], run.ratios[stage], kept);
  const mixFFN = (x) =>
    MixFFN(LayerNorm(x, part.norm2, block_norm_eps), part.mix_ffn, run.circular);
  return residual(residual(x, attention, scales.attention), mixFFN, scales.mix_ffn);
}

function EncoderStage(x, part, stage, run) {
  x = OverlapPatchEmbedding(x, part.patch_embedding, run.model.config.strides[stage], run.circular);
  Object.values(part.blocks).forEach((block, i) => {
    x = EncoderBlock(x, block, stage, run.branches[stage]?.[i] ?? {}, run);
  });
  return LayerNorm(x, part.norm, run.model.config.block_norm_eps);
}

function MixTransformer(x, part, run) {
  return Object.values(part.stages).map((stage, i) => {
    const start = performance.now();
    x = EncoderStage(x, stage, i, run);
    run.milliseconds.push(performance.now() - start);
    return x;
  });
}

// decoder.py (eq. 4): classify(ReLU(Σ resize((W_i A_i) x_i) + bias))
function AllMLPDecoder(maps, { weights, bias, classifier }, run) {
  const start = performance.now(), [{ height, width }] = maps;
  run.parts = maps.map((x, i) => resize(Linear(x, { weight: weights[i] }), height, width));
  const fused = newMap(height, width, bias.length);
  for (let i = 0; i < fused.data.length; i++) {
    let sum = bias[i % bias.length];
    for (const part of run.parts) sum += part.data[i];
    fused.data[i] = Math.max(sum, 0);
  }
  const logits = Linear(fused, classifier);
  run.milliseconds.push(performance.now() - start);
  return logits;
}

// segformer.py
function SegFormer(model, image, switches = {}) {
  const { ratios = model.config.reduction_ratios, circular = false, branches = [] } = switches;
  const run = { model, ratios, circular, branches, blocks: ratios.map(() => []), milliseconds: [] };
  check(model, image, ratios);
  multiplyAdds = 0;
  run.maps = MixTransformer(image, model.encoder, run);
  run.logits = AllMLPDecoder(run.maps, model.decoder, run);
  run.multiplyAdds = multiplyAdds;
  return run;
}

// The class of every pixel of the picture, and its probability; one class is that against none.
function labelsFromLogits(logits, height, width) {
  const K = logits.channels, values = new Float32Array(Math.max(K, 2)); // without a second class, 0
  const labels = new Uint8Array(height * width), confidence = new Float32Array(height * width);
  const columns = sourcePairs(logits.width, width);
  sourcePairs(logits.height, height).forEach((rows, row) => columns.forEach((pair, column) => {
    mix(logits, rows, pair, values, 0);
    let best = K === 1 ? 1 : 0, sum = 0;
    for (let k = 0; k < values.length; k++) if (values[k] > values[best]) best = k;
    for (const value of values) sum += Math.exp(value - values[best]);
    labels[row * width + column] = K === 1 ? 1 - best : best;
    confidence[row * width + column] = 1 / sum;
  }));
  return { labels, confidence };
}

// analysis/attention_maps.py, for one query: softmax(q kᵀ / √d), a row of keys for each head
function attentionRows(run, stage, block, pixel) {
  const { q, k, heads } = run.blocks[stage][block], C = q.channels, d = C / heads;
  const query = q.data.subarray(pixel * C, (pixel + 1) * C);
  return Array.from({ length: heads }, (_, head) =>
    attentionWeights(sliced(query, C, head * d, d), sliced(k.data, C, head * d, d), d));
}

// analysis/contributions.py, at one pixel: what each stage adds to each logit, counted from its
// mean, through the channels that the ReLU passes; the last row holds all constants.
function contributions(run, pixel) {
  const { bias, classifier } = run.model.decoder, D = bias.length, K = classifier.bias.data.length;
  run.means ??= run.parts.map(({ data }) => meanOf(data, D));
  const summands = run.parts.map(({ data }, stage) =>
    run.means[stage].map((mean, d) => data[pixel * D + d] - mean));
  summands.push(run.means.reduce((sum, mean) => sum.map((x, d) => x + mean[d]), Array.from(bias)));
  const passed = Array.from(bias, (_, d) => summands.reduce((sum, part) => sum + part[d], 0) > 0);
  return summands.map((part, stage) => Array.from({ length: K }, (_, k) => {
    let sum = stage === run.parts.length ? classifier.bias.data[k] : 0;
    for (let d = 0; d < D; d++) if (passed[d]) sum += classifier.weight.data[k * D + d] * part[d];
    return sum;
  }));
}
