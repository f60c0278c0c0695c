// One pixel: its class, what its token attends to, what each stage adds, and what it hangs on.

// The cell of a map of height × width in which the mark stands.
function cellOf(height, width) {
  const { picture, mark } = state;
  return [
    Math.floor(((mark.row + 0.5) * height) / picture.height),
    Math.floor(((mark.column + 0.5) * width) / picture.width),
  ];
}

async function askPixel() {
  const { picture, mark } = state,
    i = mark.row * picture.width + mark.column;
  const truth =
    picture.truth && !picture.touched[i] ? `, and it is ${names[picture.truth[i]]}` : "";
  $("pixel-says").textContent =
    `Row ${mark.row}, column ${mark.column}: ${names[answer.labels[i]]}, ` +
    `${percent(answer.confidence[i])} sure${truth}.`;
  await Promise.all([showAttention(), showShares()]);
}

// Maps of all heads of one block, of the token in which the mark stands.
async function showAttention() {
  const asked = answer;
  const stage = Number($("stage").value),
    block = Number($("block").value);
  const { height: rows, width: columns } = answer.maps[stage];
  const [row, column] = cellOf(rows, columns);
  if (state.switches.off.has(`${stage}.${block}.attention`)) {
    $("heads").replaceChildren();
    $("heads-says").textContent = "This attention is switched off.";
    state.nearby = [];
    return;
  }
  const { attention } = await engine.ask({
    attention: { stage, block, pixel: row * columns + column },
  });
  if (asked !== answer) return;
  const { height, width, rows: heads } = attention;
  $("heads").replaceChildren(
    ...heads.map((weights, head) => {
      const canvas = element("canvas", { role: "img" });
      drawMap(canvas, height, width, weights);
      const near = nearby(weights, height, width, (row + 0.5) / rows, (column + 0.5) / columns);
      canvas.setAttribute(
        "aria-label",
        `Head ${head + 1}: ${percent(near)} of its weight lies nearby`,
      );
      return element(
        "figure",
        {},
        canvas,
        element("figcaption", { textContent: `head ${head + 1}: ${percent(near)} nearby` }),
      );
    }),
  );
  state.nearby = heads.map((weights) =>
    nearby(weights, height, width, (row + 0.5) / rows, (column + 0.5) / columns),
  );
  $("heads-says").textContent =
    `Token (${row}, ${column}) of ${rows} × ${columns} has ${height * width} keys to look at, ` +
    `${height} × ${width}. “Nearby” is the share of its weight within an eighth of the picture's side.`;
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

// What each summand adds to the lead of the pixel's class over the next one.
async function showShares() {
  const asked = answer;
  const { height, width } = answer.logits,
    [row, column] = cellOf(height, width);
  const { shares } = await engine.ask({ shares: { pixel: row * width + column } }); // summands × K
  if (asked !== answer) return;
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
    side = Math.ceil(Math.max(picture.height, picture.width) / 8);
  const rows = Math.ceil(picture.height / side),
    columns = Math.ceil(picture.width / side);
  const mean = meanColour.map((value) => 255 * value),
    falls = new Float32Array(rows * columns);
  const switches = { ...state.switches, off: new Set(state.switches.off) };
  const label = answer.labels[mark.row * picture.width + mark.column],
    whole = leadOf(label, answer.logits);
  $("cover-progress").hidden = false;
  for (let square = 0; square < rows * columns; square++) {
    const covered = new Picture("", picture.width, picture.height, picture.pixels);
    const [top, left] = [side * Math.floor(square / columns), side * (square % columns)];
    for (let y = top; y < Math.min(top + side, picture.height); y++) {
      for (let x = left; x < Math.min(left + side, picture.width); x++)
        covered.pixels.set(mean, 4 * (y * picture.width + x));
    }
    const found = await run(covered, switches, "cover");
    if (state.picture !== picture) return stopCover();
    falls[square] = Math.max(0, whole - leadOf(label, found.logits));
    $("cover-progress").value = (square + 1) / (rows * columns);
  }
  stopCover();
  $("covered").hidden = false;
  drawMap($("covered"), rows, columns, falls);
  const most = Math.max(...falls, 1e-9),
    total = falls.reduce((a, b) => a + b, 0) || 1;
  const own = falls[Math.floor(mark.row / side) * columns + Math.floor(mark.column / side)] / total;
  const many = falls.filter((fall) => fall > most / 20).length;
  const text =
    `${many} of ${rows * columns} squares matter more than a twentieth as much as the strongest. ` +
    `The pixel's own square has ${percent(own)} of the effect of all.`;
  $("cover-says").textContent = text;
  $("covered").setAttribute("aria-label", text);
}

const stopCover = () => ($("cover-progress").hidden = true);

// How far a class leads over the next one at the mark; with one class, its logit for or against.
function leadOf(label, { height, width, channels, data }) {
  const [row, column] = cellOf(height, width),
    start = (row * width + column) * channels;
  const here = data.subarray(start, start + channels);
  if (channels === 1) return label ? here[0] : -here[0];
  return here[label] - Math.max(...here.filter((_, k) => k !== label));
}

function listenToPixel() {
  config.embed_dims.forEach((_, i) =>
    $("stage").append(element("option", { value: i, textContent: i + 1 })),
  );
  const fill = () => {
    const blocks = Array.from({ length: config.depths[$("stage").value] }, (_, i) =>
      element("option", { value: i, textContent: i + 1 }),
    );
    $("block").replaceChildren(...blocks);
  };
  $("stage").value = config.embed_dims.length - 1;
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
