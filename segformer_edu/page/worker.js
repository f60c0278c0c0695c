"use strict";
/* The model in a Web Worker, in one blob with arrays.js, load.js and segformer.js, because a page
   that is opened from a file cannot load a neighbour. client.js speaks with it.

   to the worker                                         and from it
   {load: {config, tensors, gzip, mean, std}}            {loaded: {ratios: [[1, 2, 4, 8], …]}}
   {run: topic, id, image, size, switches, keep}         {run: topic, id, height, width, logits,
                                                          labels, confidence, maps, milliseconds,
                                                          multiplyAdds}
   {attention: {stage, block, pixel}, id}                {attention: {rows, height, width}, id}
   {shares: {pixel}, id}                                 {shares: [[…], …], id}
   anything that fails                                   {error: a sentence, id}

   image is {height, width, data}, as getImageData gives it; size is [height, width] of what the
   model sees, if it is another. Of the requests of a topic that wait, the newest alone is answered,
   and the newest topic first. attention and shares ask about the last run that had keep: true and
   was answered before they were asked. */

let model, normal, kept;
const waiting = new Map(); // topic → its newest request

self.onmessage = async ({ data: request }) => {
  if (request.run !== undefined) {
    if (!waiting.size) setTimeout(answerNewest); // behind the requests that are here already
    waiting.delete(request.run);
    waiting.set(request.run, request);
    return;
  }
  try {
    postMessage({ ...(await answer(request)), id: request.id });
  } catch (error) {
    postMessage({ error: error.message, id: request.id });
  }
};

function answerNewest() {
  const [topic, request] = [...waiting].at(-1);
  waiting.delete(topic);
  if (waiting.size) setTimeout(answerNewest);
  try {
    postMessage({ run: topic, ...runOn(request), id: request.id });
  } catch (error) {
    postMessage({ run: topic, error: error.message, id: request.id });
  }
}

async function answer({ load: file, attention, shares }) {
  if (file) {
    const stream = new Blob([file.gzip]).stream().pipeThrough(new DecompressionStream("gzip"));
    const bytes = new Uint8Array(await new Response(stream).arrayBuffer());
    model = load(file.config, unpacked(file.tensors, bytes));
    normal = { mean: file.mean, std: file.std };
    return { loaded: { ratios: reductionRatios(model) } };
  }
  if (!kept) throw new Error("There is no run to look into yet.");
  if (shares) return { shares: contributions(kept, shares.pixel) };
  const { stage, block, pixel } = attention, { k } = kept.blocks[stage][block];
  if (!k) throw new Error("This attention was left out, so there is nothing that it looks at.");
  const rows = attentionRows(kept, stage, block, pixel);
  return { attention: { rows, height: k.height, width: k.width } };
}

function runOn({ image, size = [image.height, image.width], switches, keep }) {
  if (!model) throw new Error("There is no model yet: load one first.");
  const started = performance.now(), [height, width] = size;
  const run = SegFormer(model, normalized(image, height, width), switches);
  if (keep) kept = run;
  const { logits, maps, milliseconds, multiplyAdds } = run;
  const answers = labelsFromLogits(logits, image.height, image.width);
  const total = performance.now() - started;
  return { height, width, logits, ...answers, maps, multiplyAdds,
           milliseconds: { total, parts: milliseconds } };
}

// data/photos.py: 0 … 1, less the mean, divided by the spread; what is transparent is white
function normalized(image, height, width) {
  const rgb = newMap(image.height, image.width, 3);
  for (let i = 0; i < rgb.data.length; i++) {
    const c = i % 3, from = ((i - c) / 3) * 4, opaque = image.data[from + 3] / 255;
    const light = (image.data[from + c] / 255) * opaque + 1 - opaque;
    rgb.data[i] = (light - normal.mean[c]) / normal.std[c];
  }
  return shrunk(rgb, height, width);
}

// Bilinear, each pixel the mean of at least those that it covers: Pillow's, and torch's antialias
function shrunk(x, height, width) {
  const across = filtered(x.width, width), down = filtered(x.height, height), C = x.channels;
  const wide = newMap(x.height, width, C), y = newMap(height, width, C);
  for (let row = 0; row < x.height; row++)
    across.forEach(({ first, weights }, i) => weights.forEach((weight, j) => {
      const to = (row * width + i) * C, from = (row * x.width + first + j) * C;
      for (let c = 0; c < C; c++) wide.data[to + c] += weight * x.data[from + c];
    }));
  down.forEach(({ first, weights }, row) => weights.forEach((weight, j) => {
    for (let i = 0; i < width * C; i++)
      y.data[row * width * C + i] += weight * wide.data[(first + j) * width * C + i];
  }));
  return y;
}

function filtered(size, resized) {
  const scale = size / resized, reach = Math.max(scale, 1);
  return Array.from({ length: resized }, (_, i) => {
    const centre = (i + 0.5) * scale, first = Math.max(Math.floor(centre - reach), 0);
    const last = Math.min(Math.ceil(centre + reach), size);
    const triangle = Array.from({ length: last - first }, (_, j) =>
      Math.max(1 - Math.abs(first + j + 0.5 - centre) / reach, 0));
    const sum = triangle.reduce((total, weight) => total + weight, 0);
    return { first, weights: triangle.map((weight) => weight / sum) };
  });
}
