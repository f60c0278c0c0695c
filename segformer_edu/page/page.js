// The page: one state, and one way to change it. `change` notes what is new, asks the worker for an
// answer, and draws it; an answer that a newer question has overtaken is dropped.
const facts = JSON.parse(document.getElementById("facts").textContent);
const config = facts.model.config, names = facts.class_names, colours = facts.colours;
const $ = (id) => document.getElementById(id);

const state = {
  picture: null,
  mark: { row: 0, column: 0 }, // the pixel that is asked, in the picture's own pixels
  tool: "look",
  source: null, // of the stamp: where the piece that it copies stands
  show: "labels",
  switches: untouched(),
  size: 0, // the longer side at which the model sees the picture; 0: its own
};
let answer = null; // of the model, to the state as it is
let before = null; // its answer to the untouched picture with every switch as trained

function untouched() {
  return { ratios: [...config.reduction_ratios], off: new Set(), padding: "zeros" };
}

function say(text) {
  $("message").textContent = text;
  clearTimeout(say.timer);
  say.timer = setTimeout(() => ($("message").textContent = ""), 8000);
}

// Ask the model about a picture, and add what the page wants to know about its answer. `keep` is for
// the answer that the panels ask about further.
async function run(picture, switches, topic = "page", keep = false) {
  const scale = state.size ? state.size / Math.max(picture.height, picture.width) : 1;
  const size = [picture.height, picture.width].map((side) => Math.max(facts.smallest, Math.round(side * scale)));
  const found = await ask({
    run: topic, keep, size, switches: toEngine(switches),
    image: { height: picture.height, width: picture.width, data: picture.pixels },
  });
  if (!found) return null; // a newer question came
  const shown = atSize(found.labels, found.height, found.width, picture);
  const sure = atSize(found.confidence, found.height, found.width, picture);
  const score = picture.truth && iou(shown, picture.truth, picture.touched, names.length);
  return { ...found, shown, sure, score };
}

// The switches as segformer.js wants them.
function toEngine({ ratios, off, padding }) {
  const branches = config.depths.map((depth, stage) => Array.from({ length: depth }, (_, block) =>
    Object.fromEntries(Object.keys(KINDS).map((kind) => [kind, +!off.has(`${stage}.${block}.${kind}`)]))));
  return { ratios, branches, circular: padding === "circular" };
}

async function change() {
  const { picture } = state;
  drawPicture();
  $("answer").setAttribute("aria-busy", "true");
  const found = await run(picture, state.switches, "page", true);
  if (!found || picture !== state.picture) return; // the newer question draws its own
  answer = found;
  drawAnswer();
  drawFigures();
  await askPixel();
  if (found !== answer) return;
  checkTasks();
  $("answer").setAttribute("aria-busy", "false");
}

async function choose(picture) {
  answer = before = null;
  $("answer").setAttribute("aria-busy", "true");
  Object.assign(state, { picture, source: null, size: 0, dice: null });
  state.mark = { row: picture.height >> 1, column: picture.width >> 1 };
  for (const each of document.querySelectorAll(".needs-truth")) each.hidden = !picture.truth;
  if (!picture.truth && ["truth", "errors"].includes(state.show)) pick("show", "labels");
  $("word").textContent = picture.truth ? facts.scene_word : facts.photo_word;
  $("dice").replaceChildren();
  $("covered").hidden = true;
  fillSizes();
  drawPicture();
  const found = await run(picture, untouched(), "before");
  if (!found || picture !== state.picture) return;
  before = found;
  await change();
}

function pick(name, value) {
  document.querySelector(`input[name="${name}"][value="${value}"]`).checked = true;
  state[name] = value;
}

function drawPicture() {
  const { picture, mark, source } = state, canvas = $("picture");
  drawPixels(canvas, picture.height, picture.width, (i) => picture.pixels.subarray(4 * i, 4 * i + 3));
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
  const { picture, mark, show } = state, canvas = $("answer");
  const paints = {
    labels: (i) => colours[answer.shown[i]],
    confidence: (i) => magma(answer.sure[i]),
    changes: (i) => (answer.shown[i] === before.shown[i] ? [235, 235, 235] : colours[answer.shown[i]]),
    truth: (i) => colours[picture.truth[i]] || [255, 255, 255],
    errors: (i) => {
      if (picture.touched[i] || picture.truth[i] >= names.length) return [128, 128, 128];
      const wrong = answer.shown[i] !== picture.truth[i];
      return wrong ? colours[answer.shown[i]] : [245, 245, 245];
    },
  };
  drawPixels(canvas, picture.height, picture.width, paints[show]);
  drawMark(canvas, mark.row, mark.column);
  const counts = new Float64Array(names.length);
  for (const label of answer.shown) counts[label]++;
  const order = names.map((_, i) => i).filter((i) => counts[i]).sort((a, b) => counts[b] - counts[a]);
  $("legend").replaceChildren(...order.map((i) => {
    const good = answer.score && !Number.isNaN(answer.score.each[i]) ? `, IoU ${answer.score.each[i].toFixed(2)}` : "";
    const chip = element("span", { className: "chip", "aria-hidden": "true" });
    chip.style.background = `rgb(${colours[i]})`;
    return element("li", {}, chip, `${names[i]} ${percent(counts[i] / answer.shown.length)}${good}`);
  }));
  const words = { labels: "The class of every pixel", confidence: "How sure the model is, dark is little",
    changes: "Pixels whose class changed, in their new colour", truth: "The true class of every pixel", errors: "Pixels that are wrong, in the colour they were given" };
  const most = order.slice(0, 3).map((i) => `${names[i]} ${percent(counts[i] / answer.shown.length)}`);
  canvas.setAttribute("aria-label", `${words[show]}. The model sees ${most.join(", ")}.`);
}

function drawFigures() {
  const mega = (count) => `${(count / 1e6).toFixed(count < 1e7 ? 1 : 0)} M`;
  const rows = [];
  if (answer.score) {
    rows.push(["mIoU", answer.score.mean.toFixed(3), `untouched ${before.score.mean.toFixed(3)}`]);
  } else {
    const mean = answer.sure.reduce((a, b) => a + b, 0) / answer.sure.length;
    rows.push(["mean confidence", percent(mean), "of the class it chose"]);
  }
  rows.push(["multiply-adds", mega(answer.multiplyAdds), `as trained ${mega(before.multiplyAdds)}`]);
  rows.push(["time here", `${answer.milliseconds.total.toFixed(0)} ms`, "on one core of this machine"]);
  $("figures").replaceChildren(...rows.map(([term, value, note]) => element("div", {},
    element("dt", { textContent: term }),
    element("dd", {}, value, element("small", { textContent: note })))));
}

const brush = () => Number($("brush").value);

// Use the tool at the mark.
function useTool() {
  const { picture, mark, tool, source } = state;
  const mean = facts.model.mean.map((value) => 255 * value); // what the model takes for nothing
  const paint = [1, 3, 5].map((i) => parseInt($("colour").value.slice(i, i + 2), 16));
  if (tool === "erase") picture.disc(mark.row, mark.column, brush(), () => mean);
  if (tool === "paint") picture.disc(mark.row, mark.column, brush(), () => paint);
  if (tool === "stamp" && source) {
    const [down, right] = [mark.row - source.offset.row, mark.column - source.offset.column];
    picture.disc(mark.row, mark.column, brush(), (y, x, pixels) => picture.at(y - down, x - right, pixels));
  }
}

const HELP = {
  look: "Point at a pixel: the panel “Ask a pixel” answers.",
  erase: "Paint with the training pictures' mean colour, which the model takes for nothing. Painted pixels do not count in mIoU.",
  paint: "Paint with a colour. Painted pixels do not count in mIoU.",
  stamp: "Shift and a click (or Enter) takes the piece to copy; then paint with it.",
};

function moveTo(row, column) {
  const { picture } = state;
  state.mark = {
    row: Math.min(Math.max(Math.round(row), 0), picture.height - 1),
    column: Math.min(Math.max(Math.round(column), 0), picture.width - 1),
  };
}

// Begin a stroke at the mark, or take the piece that the stamp copies.
function press(take) {
  const { tool, mark, source, picture } = state;
  if (tool === "stamp" && (take || !source)) {
    state.source = { ...mark, offset: mark };
    return change();
  }
  if (tool !== "look") picture.begin();
  if (tool === "stamp") source.offset = { row: mark.row - source.row, column: mark.column - source.column };
  useTool();
  return change();
}

function listen() {
  const canvas = $("picture");
  const place = (event) => {
    const box = event.currentTarget.getBoundingClientRect();
    moveTo(((event.clientY - box.top) / box.height) * state.picture.height - 0.5,
      ((event.clientX - box.left) / box.width) * state.picture.width - 0.5);
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    place(event);
    press(event.shiftKey);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!event.buttons) return;
    place(event);
    useTool();
    change();
  });
  $("answer").addEventListener("pointerdown", (event) => {
    place(event);
    change();
  });
  const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const step = steps[event.key], far = event.shiftKey ? 8 : 1;
    if (step) moveTo(state.mark.row + far * step[0], state.mark.column + far * step[1]);
    if (step || event.key === " " || event.key === "Enter") event.preventDefault();
    if (step) change();
    if (event.key === " ") press(false);
    if (event.key === "Enter") press(true);
  });
  for (const name of ["tool", "show"]) {
    for (const input of document.querySelectorAll(`input[name="${name}"]`)) {
      input.addEventListener("change", () => {
        state[name] = input.value;
        $("tool-help").textContent = HELP[state.tool];
        drawPicture();
        if (answer) drawAnswer();
      });
    }
  }
  $("tool-help").textContent = HELP.look;
  $("undo").addEventListener("click", () => {
    state.picture.undo();
    change();
  });
  const open = async (file) => {
    if (!file) return;
    try {
      await choose(await readPhoto(file, facts.size));
    } catch (error) {
      say(error.message);
    }
  };
  for (const input of [$("file"), $("camera")]) {
    input.addEventListener("change", () => {
      open(input.files[0]);
      input.value = "";
    });
  }
  addEventListener("paste", (event) => open(event.clipboardData.files[0]));
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault();
    open(event.dataTransfer.files[0]);
  });
}

// The pictures that came with the page, as buttons.
async function showScenes() {
  const pictures = await Promise.all(facts.pictures.map(readPacked));
  pictures.forEach((picture, i) => {
    const canvas = element("canvas");
    drawPixels(canvas, picture.height, picture.width, (j) => picture.pixels.subarray(4 * j, 4 * j + 3));
    const button = element("button", { type: "button", "aria-pressed": "false", "aria-label": picture.name }, canvas);
    button.addEventListener("click", () => {
      for (const each of $("scenes").children) each.setAttribute("aria-pressed", String(each === button));
      choose(new Picture(picture.name, picture.width, picture.height, picture.original, picture.truth));
    });
    $("scenes").append(button);
    if (!i) button.setAttribute("aria-pressed", "true");
  });
  await choose(pictures[0]);
}

// A picture as the page packs it: a PNG of colours, and one of labels where the truth is known.
async function readPacked({ name, image, labels }) {
  const read = async (base64) => {
    const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes], { type: "image/png" }), { colorSpaceConversion: "none" });
    const { width, height } = bitmap, context = element("canvas", { width, height }).getContext("2d");
    context.drawImage(bitmap, 0, 0);
    return context.getImageData(0, 0, width, height);
  };
  const { width, height, data } = await read(image);
  const truth = labels && (await read(labels)).data.filter((_, i) => i % 4 === 0);
  return new Picture(name, width, height, data, truth);
}

async function begin() {
  const script = (id) => $(id).textContent;
  const bytes = Uint8Array.from(atob(script("weights")), (letter) => letter.charCodeAt(0));
  const source = ["arrays", "segformer", "load", "worker"].map(script).join("\n");
  const { loaded } = await startEngine(source, { ...facts.model, gzip: bytes });
  facts.ratios = loaded.ratios;
  $("lede").textContent = facts.lede;
  listen();
  listenToPixel();
  listenToSwitches();
  listenToTasks();
  await showScenes();
  document.body.dataset.ready = "true";
}

addEventListener("unhandledrejection", (event) => say(event.reason.message));
begin();
