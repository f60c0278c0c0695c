// The page: one state, and one way to change it. `change` notes what is new, asks the worker for an
// answer, and draws it; an answer that a newer question has overtaken is dropped.
"use strict";
const $ = (id) => document.getElementById(id);
const data = JSON.parse($("data").textContent);
const { config, mean: meanColour } = data.model,
  { classes: names, colours } = data;
const engine = startEngine($("engine").textContent, $("worker").textContent);
// The longer side at which the model sees a picture, unless someone asks.
const USUAL = Math.max(data.fit, data.smallest);
let ratios; // for each stage, those that its weights have a reduction for, its own first

const state = {
  picture: null,
  mark: { row: 0, column: 0 }, // the pixel that is asked, in the picture's own pixels
  asked: false, // whether the reader chose it
  tool: "look",
  source: null, // of the stamp: where the piece that it copies stands
  show: "labels",
  switches: untouched(),
  size: USUAL,
  nearby: [],
  leads: [],
  dice: null, // what the tasks ask about
};
let answer = null; // of the model, to the state as it is
let before = null; // its answer to the untouched picture with every switch as trained
const fastest = new Map(); // the fewest milliseconds of a run, of each setting

function untouched() {
  return { ratios: [...config.reduction_ratios], off: new Set(), padding: "zeros" };
}

// Whether every switch, and the size, is as the page opens with it.
function asTrained() {
  const { ratios, off, padding } = state.switches;
  const own = ratios.every((ratio, i) => ratio === config.reduction_ratios[i]);
  return own && !off.size && padding === "zeros" && state.size === USUAL;
}

// What the time of a run hangs on: the switches, the size, and the shape of the picture.
function settingOf({ ratios, off, padding }, longer) {
  const { height, width } = state.picture;
  return JSON.stringify([ratios, [...off].sort(), padding, longer, height / width]);
}

function say(text) {
  $("message").textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => ($("message").textContent = ""), 8000);
}

// Ask the model about a picture, and add what the page wants to know about its answer. `keep` is for
// the answer that the panels ask about further.
async function run(picture, switches, topic = "page", keep = false, longer = state.size) {
  const scale = longer / Math.max(picture.height, picture.width);
  const size = [picture.height, picture.width].map((side) =>
    Math.max(data.smallest, Math.round(side * scale)),
  );
  const found = await engine.run(topic, {
    keep,
    size,
    switches: toEngine(switches),
    image: { height: picture.height, width: picture.width, data: picture.pixels },
  });
  if (!found) return null; // a newer question was answered
  if (picture === state.picture) {
    const setting = settingOf(switches, longer);
    fastest.set(setting, Math.min(fastest.get(setting) ?? Infinity, found.milliseconds.total));
  }
  return { ...found, score: scoreOf(found, picture) };
}

// How good an answer is where the truth is known and nothing was painted.
function scoreOf({ labels }, { truth, touched }) {
  return truth && iou(labels, truth, touched, names.length);
}

// The switches as segformer.js wants them.
function toEngine({ ratios, off, padding }) {
  const branches = config.depths.map((depth, stage) =>
    Array.from({ length: depth }, (_, block) =>
      Object.fromEntries(
        Object.keys(KINDS).map((kind) => [kind, +!off.has(`${stage}.${block}.${kind}`)]),
      ),
    ),
  );
  return { ratios, branches, circular: padding === "circular" };
}

async function change() {
  const { picture } = state;
  drawPicture();
  if (!before) return; // `choose` comes back to it
  busy(true);
  let found;
  try {
    found = await run(picture, state.switches, "page", true);
  } catch (error) {
    busy(false); // what is shown still answers the question before
    return say(error.message);
  }
  if (!found || picture !== state.picture) return; // the newer question draws its own
  answer = found;
  before.score = scoreOf(before, picture); // on the pixels that count in both
  drawAnswer();
  drawFigures();
  tellSwitches();
  tellTouched();
  forgetCover();
  await askPixel();
  if (found !== answer) return;
  checkTasks();
  busy(false);
}

const busy = (is) => $("answer").setAttribute("aria-busy", String(is));

async function choose(picture, radio = null) {
  wanted++;
  for (const each of document.querySelectorAll('input[name="scene"]'))
    each.checked = each === radio;
  answer = before = null;
  busy(true);
  for (const canvas of [$("picture"), $("answer")])
    // a narrow one is not to be metres long
    canvas.style.maxWidth = `${(80 * picture.width) / picture.height}vh`;
  Object.assign(state, { picture, source: null, dice: null, asked: false });
  state.mark = { row: picture.height >> 1, column: picture.width >> 1 };
  for (const each of document.querySelectorAll(".needs-truth")) each.hidden = !picture.truth;
  if (!picture.truth && ["truth", "errors"].includes(state.show)) pick("show", "labels");
  $("word").textContent = picture.truth
    ? "The truth of this picture is known, so mIoU can be counted."
    : data.note;
  $("dice").replaceChildren();
  $("dice-says").textContent = "";
  drawPicture();
  const found = await run(picture, untouched(), "before", false, USUAL);
  if (!found || picture !== state.picture) return;
  before = found;
  await change();
}

function pick(name, value) {
  document.querySelector(`input[name="${name}"][value="${value}"]`).checked = true;
  state[name] = value;
}

function drawPicture() {
  const { picture, mark, source } = state,
    canvas = $("picture");
  canvas.dataset.tool = state.tool;
  drawPixels(canvas, picture.height, picture.width, (i) =>
    picture.pixels.subarray(4 * i, 4 * i + 3),
  );
  if (source && state.tool === "stamp") {
    const context = canvas.getContext("2d");
    [context.strokeStyle, context.lineWidth] = ["#E69F00", canvas.width / 120];
    context.beginPath();
    context.arc(source.column + 0.5, source.row + 0.5, brush(), 0, 2 * Math.PI);
    context.stroke();
  }
  drawMark(canvas, mark.row, mark.column);
}

function drawAnswer() {
  const { picture, mark, show } = state,
    canvas = $("answer");
  const paints = {
    labels: (i) => colours[answer.labels[i]],
    confidence: (i) => magma(answer.confidence[i]),
    changes: (i) =>
      answer.labels[i] === before.labels[i] ? [235, 235, 235] : colours[answer.labels[i]],
    truth: (i) => colours[picture.truth[i]] || [255, 255, 255],
    errors: (i) => {
      const truth = picture.trueClass(i);
      if (truth === null) return [128, 128, 128];
      return answer.labels[i] === truth ? [245, 245, 245] : colours[answer.labels[i]];
    },
  };
  drawPixels(canvas, picture.height, picture.width, paints[show]);
  drawMark(canvas, mark.row, mark.column);
  const counts = new Float64Array(names.length);
  for (const label of answer.labels) counts[label]++;
  const order = names
    .map((_, i) => i)
    .filter((i) => counts[i])
    .sort((a, b) => counts[b] - counts[a]);
  $("legend").replaceChildren(
    ...order.map((i) => {
      const chip = element("span", { className: "chip", "aria-hidden": "true" });
      chip.style.background = `rgb(${colours[i]})`;
      return element(
        "li",
        {},
        chip,
        `${names[i]} ${percent(counts[i] / answer.labels.length)}${iouOf(i)}`,
      );
    }),
  );
  $("legend").hidden = show === "confidence"; // whose colours are others
  tell($("shown-says"), WORDS[show]);
  const most = order
    .slice(0, 3)
    .map((i) => `${names[i]} ${percent(counts[i] / answer.labels.length)}`);
  canvas.setAttribute("aria-label", `${WORDS[show]} The model sees ${most.join(", ")}.`);
}

const WORDS = {
  labels: "The class of every pixel.",
  confidence: "How sure the model is of its class: dark is little, bright is much.",
  changes:
    "Pixels whose class is another than for the untouched picture and model, in the new one.",
  truth: "The true class of every pixel.",
  errors: "Wrong pixels, in the class that they were given. Grey ones do not count.",
};

// The IoU of a class, if the truth is known, and what it was before, if that was another.
function iouOf(label) {
  if (!answer.score || Number.isNaN(answer.score.each[label])) return "";
  const [now, was] = [answer, before].map(({ score }) => score.each[label].toFixed(2));
  return `, IoU ${now}${was === now || was === "NaN" ? "" : ` (was ${was})`}`;
}

// The part of the picture that is painted over, and the part that changed its class elsewhere.
function paintedAndChanged() {
  const { touched } = state.picture,
    painted = touched.reduce((a, b) => a + b, 0);
  const changed = answer.labels.filter(
    (label, i) => !touched[i] && label !== before.labels[i],
  ).length;
  return [painted / touched.length, changed / touched.length];
}

function tellTouched() {
  const [painted, changed] = paintedAndChanged();
  const said = `Painted over: ${percent(painted)} of the picture. Outside of it, ${percent(changed)} changed its class.`;
  tell($("touched-says"), painted ? said : "");
}

function drawFigures() {
  const mega = (count) => `${(count / 1e6).toFixed(count < 1e7 ? 1 : 0)} M`;
  const rows = [];
  if (answer.score) {
    rows.push(["mIoU", answer.score.mean.toFixed(3), `untouched ${before.score.mean.toFixed(3)}`]);
  } else {
    const mean = answer.confidence.reduce((a, b) => a + b, 0) / answer.confidence.length;
    rows.push(["mean confidence", percent(mean), "of the class it chose"]);
  }
  rows.push([
    "multiply-adds",
    mega(answer.multiplyAdds),
    `as trained ${mega(before.multiplyAdds)}`,
  ]);
  const [now, trained] = [settingOf(state.switches, state.size), settingOf(untouched(), USUAL)].map(
    (setting) => fastest.get(setting)?.toFixed(0) ?? "…",
  );
  rows.push(["time here, at best", `${now} ms`, `as trained ${trained} ms`]);
  $("figures").replaceChildren(
    ...rows.map(([term, value, note]) =>
      element(
        "div",
        {},
        element("dt", { textContent: term }),
        element("dd", {}, value, element("small", { textContent: note })),
      ),
    ),
  );
}

const brush = () => Number($("brush").value);

// Use the tool at a place.
function useTool(mark) {
  const { picture, tool, source } = state;
  const mean = meanColour.map((value) => 255 * value); // what the model takes for nothing
  const paint = [1, 3, 5].map((i) => parseInt($("colour").value.slice(i, i + 2), 16));
  if (tool === "erase") picture.disc(mark.row, mark.column, brush(), () => mean);
  if (tool === "paint") picture.disc(mark.row, mark.column, brush(), () => paint);
  if (tool === "stamp" && source) {
    const { down, right } = source; // from there to here
    picture.disc(mark.row, mark.column, brush(), (y, x, pixels) =>
      picture.at(y - down, x - right, pixels),
    );
  }
}

const HELP = {
  look: "Click or tap a pixel: the panel “Ask a pixel” answers.",
  erase:
    "Paint with the grey that the model reads as zeros, the mean by which pictures are normalised. Painted pixels do not count in mIoU.",
  paint: "Paint with a colour. Painted pixels do not count in mIoU.",
  stamp:
    "Click or tap the piece to copy, or press Space on it. Painted pixels do not count in mIoU.",
  copy: "The piece is taken: now paint with it.",
};

// Say how the tool is used, and show what belongs to it.
function showTool() {
  const { tool, source } = state;
  tell($("tool-help"), HELP[tool === "stamp" && source ? "copy" : tool]);
  $("colour").parentElement.hidden = tool !== "paint";
  $("take").hidden = tool !== "stamp" || !source;
}

// Use the tool from one place to another, which a fast pointer reaches in one leap.
function stroke(from, to) {
  const length = Math.hypot(to.row - from.row, to.column - from.column),
    steps = Math.max(1, Math.ceil((2 * length) / brush()));
  for (let i = 1; i <= steps; i++) {
    const between = (a, b) => Math.round(a + ((b - a) * i) / steps);
    useTool({ row: between(from.row, to.row), column: between(from.column, to.column) });
  }
}

function moveTo(row, column) {
  const { picture } = state;
  state.asked = true;
  state.mark = {
    row: Math.min(Math.max(Math.round(row), 0), picture.height - 1),
    column: Math.min(Math.max(Math.round(column), 0), picture.width - 1),
  };
}

// Use the tool at the mark, or take the piece that the stamp copies. Whether a stroke has begun.
function press() {
  const { tool, mark, source, picture } = state,
    taking = tool === "stamp" && !source;
  if (taking) state.source = { ...mark, down: 0, right: 0 };
  else if (tool === "stamp")
    Object.assign(source, { down: mark.row - source.row, right: mark.column - source.column });
  const begun = tool !== "look" && !taking;
  if (begun) {
    picture.begin();
    useTool(mark);
  }
  showTool();
  change();
  return begun;
}

function undo() {
  state.picture.undo();
  change();
}

function listen() {
  const canvas = $("picture");
  let stroking = false;
  const place = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    moveTo(
      ((event.clientY - box.top) / box.height) * state.picture.height - 0.5,
      ((event.clientX - box.left) / box.width) * state.picture.width - 0.5,
    );
  };
  canvas.addEventListener("pointerdown", (event) => {
    if (event.button) return;
    canvas.setPointerCapture(event.pointerId);
    place(event);
    stroking = press();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!canvas.hasPointerCapture(event.pointerId)) return;
    const from = state.mark;
    place(event);
    if (stroking) stroke(from, state.mark);
    change();
  });
  $("answer").addEventListener("pointerdown", (event) => {
    place(event);
    change();
  });
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const step = steps[event.key],
      far = event.shiftKey ? 8 : 1;
    if (step) moveTo(state.mark.row + far * step[0], state.mark.column + far * step[1]);
    if (step || event.key === " ") event.preventDefault();
    if (step) change();
    if (event.key === " ") press();
  });
  addEventListener("keydown", (event) => {
    if (event.key === "Escape") say("");
    if (event.key === "z" && (event.ctrlKey || event.metaKey)) undo();
  });
  for (const name of ["tool", "show"]) {
    pick(name, state[name]); // a browser may remember what was chosen before it was reloaded
    for (const input of document.querySelectorAll(`input[name="${name}"]`)) {
      input.addEventListener("change", () => {
        state[name] = input.value;
        showTool();
        drawPicture();
        if (answer) drawAnswer();
      });
    }
  }
  showTool();
  $("undo").addEventListener("click", undo);
  $("take").addEventListener("click", () => {
    state.source = null;
    showTool();
    drawPicture();
  });
  const showBrush = () => ($("brush-value").textContent = `${brush()} pixels`);
  $("brush").addEventListener("input", showBrush);
  showBrush();
  listenToPhotos();
}

// The pictures that came with the page: one stop for the Tab key, and arrow keys go on from there.
async function showPictures() {
  const pictures = await Promise.all(data.pictures.map(readPacked));
  if (!pictures.length) pictures.push(emptyPicture());
  pictures.forEach((picture) => {
    const canvas = element("canvas");
    drawPixels(canvas, picture.height, picture.width, (j) =>
      picture.pixels.subarray(4 * j, 4 * j + 3),
    );
    const radio = element("input", {
      type: "radio",
      name: "scene",
      className: "hidden",
      "aria-label": picture.name,
    });
    // not "change", because a click on the chosen one brings it back as it was
    radio.addEventListener("click", () => choose(picture.again(), radio));
    $("scenes").append(element("label", {}, radio, canvas));
  });
  await choose(pictures[0].again(), $("scenes").querySelector("input"));
}

function emptyPicture() {
  const colour = [...meanColour.map((value) => 255 * value), 255];
  return new Picture(
    "An empty canvas",
    USUAL,
    USUAL,
    Array(USUAL * USUAL)
      .fill(colour)
      .flat(),
  );
}

// What a browser is too old for, or hides, so that the page would show nothing, or nonsense.
function hindrance() {
  if (!globalThis.DecompressionStream)
    return "This browser is too old: the page needs Chrome or Edge 102, Firefox 113, Safari 16.4, or newer.";
  const context = element("canvas", { width: 8, height: 8 }).getContext("2d");
  context.fillRect(0, 0, 8, 8); // black
  const read = context.getImageData(0, 0, 8, 8).data;
  return read.some((value, i) => i % 4 < 3 && value > 3) // some change the last bit, which is no harm
    ? "This browser gives a page noise in place of a picture's pixels, so that nobody is recognised " +
        "by them. Allow this page to read its canvas, and load it again; or take another browser."
    : null;
}

async function begin() {
  const why = hindrance();
  if (why) return ($("lede").textContent = why);
  const own = data.model.tensors.filter(([name]) => !/\.reduce\.\d|running_/.test(name));
  const weights = own.reduce((sum, [, shape]) => sum + shape.reduce((a, b) => a * b, 1), 0);
  const { loaded } = await engine.ask({ load: { ...data.model, gzip: bytesOf(data.model.gzip) } });
  ratios = loaded.ratios;
  $("lede").replaceChildren(
    `A transformer of ${(weights / 1e6).toFixed(1)} million weights labels every ` +
      "pixel, in this page, while you paint. Paint over a picture, ask a pixel what its class depends on, take the model apart, or try the ",
    element("a", { href: "#tasks-title", textContent: "discoveries" }),
    ".",
  );
  listen();
  listenToPixel();
  listenToSwitches();
  listenToTasks();
  document.querySelector("main").inert = false;
  await showPictures();
  document.body.dataset.ready = "true";
}

addEventListener("unhandledrejection", (event) => say(event.reason.message));
const ready = begin();
