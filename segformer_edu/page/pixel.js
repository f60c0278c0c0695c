// One pixel: its class, what its token attends to, what each stage adds, and what it depends on.

// The cell of a map of height × width in which a pixel stands, by default the mark.
function cellOf(height, width, mark = state.mark) {
  const { picture } = state;
  return [
    Math.floor(((mark.row + 0.5) * height) / picture.height),
    Math.floor(((mark.column + 0.5) * width) / picture.width),
  ];
}

async function askPixel() {
  const { picture, mark } = state,
    i = mark.row * picture.width + mark.column;
  const known = picture.trueClass(i),
    truth = known === null ? "" : `, and it is ${names[known]}`;
  tell(
    $("pixel-says"),
    `Row ${mark.row}, column ${mark.column} of ${picture.height} × ${picture.width}: ` +
      `${names[answer.labels[i]]}, ${percent(answer.confidence[i])} sure${truth}.`,
  );
  await Promise.all([showAttention(), showShares()]);
}

// Maps of the heads of one block, or of every block, of the token in which the mark stands.
async function showAttention() {
  const asked = answer,
    stage = Number($("stage").value);
  const every = $("stage").value === "all";
  const wanted = every
    ? config.depths.flatMap((depth, i) => Array.from({ length: depth }, (_, block) => [i, block]))
    : [[stage, Number($("block").value)]];
  const found = await Promise.all(wanted.map(([i, block]) => headsOf(i, block)));
  if (asked !== answer) return;
  state.nearby = every || !found[0] ? [] : found[0].near;
  $("heads").className = every ? "every" : "";
  $("heads").replaceChildren(
    ...found.flatMap((heads, i) => (every ? [rowOfBlock(wanted[i], heads)] : figuresOf(heads))),
  );
  if (every) {
    $("heads-says").textContent =
      "Each map is a head, bright where it looks, with a cell for each key. Choose a stage to see them larger.";
  } else if (found[0]) {
    const { height, width, token } = found[0],
      { height: rows, width: columns } = answer.maps[stage];
    $("heads-says").textContent =
      `Token (${token}) of ${rows} × ${columns} has ${height * width} keys to look at, ` +
      `${height} × ${width}. “Nearby” is the share of its weight within an eighth of the picture's ` +
      `side; with the same weight for all, it would be ${percent(found[0].even)}.`;
  } else $("heads-says").textContent = "This attention is switched off.";
}

// What the heads of a block look at, and the share of it nearby; null where it is left out, in this
// run or in a newer one, of which the worker knows already.
async function headsOf(stage, block) {
  const { height: rows, width: columns } = answer.maps[stage];
  const token = cellOf(rows, columns),
    [row, column] = token;
  const asked = { stage, block, pixel: row * columns + column };
  const { attention } = await engine.ask({ attention: asked }).catch(() => ({ attention: null }));
  if (!attention) return null;
  const { height, width, rows: weights } = attention;
  const share = (each) => nearby(each, height, width, (row + 0.5) / rows, (column + 0.5) / columns);
  const even = share(new Float32Array(height * width).fill(1 / (height * width)));
  return { height, width, weights, near: weights.map(share), even, token: token.join(", ") };
}

function figuresOf(heads) {
  if (!heads) return [];
  const { height, width, weights, near } = heads;
  return weights.map((each, head) => {
    const canvas = element("canvas", { role: "img" });
    drawMap(canvas, height, width, each);
    canvas.setAttribute("aria-label", `Head ${head + 1}: ${percent(near[head])} of it lies nearby`);
    const words = `head ${head + 1}: ${percent(near[head])} nearby`;
    return element("figure", {}, withPlace(canvas), element("figcaption", { textContent: words }));
  });
}

function rowOfBlock([stage, block], heads) {
  const name = `Stage ${stage + 1}, block ${block + 1}`;
  const off = element("span", { className: "hint", textContent: "switched off" });
  return element(
    "div",
    { className: "row", role: "group", "aria-label": name },
    element("span", { textContent: name, "aria-hidden": "true" }),
    ...(heads ? figuresOf(heads) : [off]),
  );
}

// The share of a head's weight within an eighth of the picture's side around a place (of 0 … 1).
function nearby(weights, height, width, down, right) {
  let share = 0;
  weights.forEach((weight, i) => {
    const y = (Math.floor(i / width) + 0.5) / height - down,
      x = ((i % width) + 0.5) / width - right;
    if (Math.max(Math.abs(y), Math.abs(x)) <= 1 / 8) share += weight;
  });
  return share;
}

// The cells of a map between which a pixel lies, and the part that each has in it, as in a bilinear
// resize.
function cellsAround({ height, width }, mark) {
  const { picture } = state;
  const [top, bottom, down] = sourcePairs(height, picture.height)[mark.row],
    [left, right, across] = sourcePairs(width, picture.width)[mark.column];
  return [
    [top * width + left, (1 - down) * (1 - across)],
    [top * width + right, (1 - down) * across],
    [bottom * width + left, down * (1 - across)],
    [bottom * width + right, down * across],
  ];
}

// What each summand adds to the lead of the pixel's class over the next one.
async function showShares() {
  const asked = answer,
    cells = cellsAround(answer.logits, state.mark);
  const found = await Promise.all(
    cells.map(([pixel]) => engine.ask({ shares: { pixel } })), // each summands × K
  );
  if (asked !== answer) return;
  const shares = found[0].shares.map((each, i) =>
    each.map((_, k) => cells.reduce((sum, [, part], c) => sum + part * found[c].shares[i][k], 0)),
  );
  const logits = shares[0].map((_, k) => shares.reduce((sum, each) => sum + each[k], 0));
  const [first, second] = logits.map((_, k) => k).sort((a, b) => logits[b] - logits[a]);
  const leads = shares.map((each) => each[first] - (logits.length > 1 ? each[second] : 0));
  state.leads = leads;
  drawBars($("shares"), [...config.embed_dims.map((_, i) => `stage ${i + 1}`), "constants"], leads);
  $("shares-says").textContent =
    logits.length > 1
      ? `How much each stage's map adds to the lead of ${names[first]} over ${names[second]}. Each part is counted from its mean over this picture; the constants hold the means.`
      : `How much each stage's map adds to the logit, which is that of ${names[1]}.`;
}

// Cover one square after another, and see how far the lead of the pixel's class falls.
async function cover() {
  const { picture, mark } = state,
    asked = answer;
  const side = Math.ceil(Math.max(picture.height, picture.width) / 8);
  const rows = Math.ceil(picture.height / side),
    columns = Math.ceil(picture.width / side);
  const mean = meanColour.map((value) => 255 * value),
    falls = new Float32Array(rows * columns);
  const label = answer.labels[mark.row * picture.width + mark.column],
    whole = leadOf(label, answer.logits, mark);
  $("cover-progress").hidden = false;
  for (let square = 0; square < rows * columns && asked === answer; square++) {
    const covered = new Picture("", picture.width, picture.height, picture.pixels);
    const [top, left] = [side * Math.floor(square / columns), side * (square % columns)];
    for (let y = top; y < Math.min(top + side, picture.height); y++) {
      for (let x = left; x < Math.min(left + side, picture.width); x++)
        covered.pixels.set(mean, 4 * (y * picture.width + x));
    }
    const found = await run(covered, state.switches, "cover");
    falls[square] = Math.max(0, whole - leadOf(label, found.logits, mark));
    $("cover-progress").value = (square + 1) / (rows * columns);
  }
  $("cover-progress").hidden = true;
  if (asked !== answer) {
    $("cover-says").textContent = "It stopped, because the question changed.";
    return;
  }
  $("covered-frame").hidden = false;
  drawMap($("covered"), rows, columns, falls);
  $("covered-frame").replaceChildren(withPlace($("covered")));
  const most = Math.max(...falls, 1e-9),
    total = falls.reduce((a, b) => a + b, 0) || 1;
  const own = falls[Math.floor(mark.row / side) * columns + Math.floor(mark.column / side)] / total;
  const distances = [...falls.keys()]
    .filter((i) => falls[i] > most / 20)
    .map((i) =>
      Math.hypot(
        (Math.floor(i / columns) + 0.5) * side - mark.row,
        ((i % columns) + 0.5) * side - mark.column,
      ),
    );
  const text =
    `Each of ${distances.length} squares of ${rows * columns}, covered alone, lowers the lead of ${names[label]} ` +
    `by more than a twentieth of what the strongest does. The middle of the farthest is ${Math.max(0, ...distances).toFixed(0)} pixels away, in a picture of ` +
    `${picture.height} × ${picture.width}. The pixel's own square has ${percent(own)} of the effect of all. Squares that raise the lead are drawn like those that change nothing.`;
  $("cover-says").textContent = text;
  $("covered").setAttribute("aria-label", text);
}

// It was the answer to another question.
function forgetCover() {
  $("covered-frame").hidden = true;
  $("cover-says").textContent = "";
}

// How far a class leads over the next one at a pixel; with one class, its logit for or against.
function leadOf(label, logits, mark) {
  const { channels, data } = logits,
    here = new Float32Array(channels);
  for (const [pixel, part] of cellsAround(logits, mark)) {
    for (let k = 0; k < channels; k++) here[k] += part * data[pixel * channels + k];
  }
  if (channels === 1) return label ? here[0] : -here[0];
  return here[label] - Math.max(...here.filter((_, k) => k !== label));
}

function listenToPixel() {
  config.embed_dims.forEach((_, i) =>
    $("stage").append(element("option", { value: i, textContent: i + 1 })),
  );
  const fill = () => {
    $("block").parentElement.hidden = $("stage").value === "all";
    const blocks = Array.from({ length: config.depths[$("stage").value] ?? 0 }, (_, i) =>
      element("option", { value: i, textContent: i + 1 }),
    );
    $("block").replaceChildren(...blocks);
  };
  $("stage").value = "all"; // whatever a browser remembers
  fill();
  const look = async () => {
    if (!answer) return;
    await showAttention();
    checkTasks();
  };
  $("stage").addEventListener("change", () => {
    fill();
    look();
  });
  $("block").addEventListener("change", look);
  $("cover").addEventListener("click", async () => {
    if (!answer) return;
    $("cover").disabled = true;
    await cover();
    $("cover").disabled = false;
    $("cover").focus();
  });
}
