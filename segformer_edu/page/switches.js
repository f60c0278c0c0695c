// The switches of every stage, and the dice.
const KINDS = { attention: "attention", mix_ffn: "Mix-FFN" };

function drawSwitches() {
  const deepest = Math.max(...config.depths);
  const heads = Array.from({ length: deepest }, (_, block) =>
    Object.values(KINDS).map((kind) => `Block ${block + 1}: ${kind}`),
  ).flat();
  const head = element(
    "thead",
    {},
    element(
      "tr",
      {},
      ...["Stage", "Ratio r", ...heads].map((text) =>
        element("th", { scope: "col", textContent: text }),
      ),
    ),
  );
  const rows = config.embed_dims.map((_, stage) => {
    const ratio = element(
      "select",
      { "aria-label": `Reduction ratio of stage ${stage + 1}` },
      ...ratios[stage].map((value) => element("option", { value, textContent: value })),
    );
    ratio.value = state.switches.ratios[stage];
    ratio.disabled = ratios[stage].length < 2;
    ratio.addEventListener("change", () => {
      state.switches.ratios[stage] = Number(ratio.value);
      switched();
    });
    const cells = [];
    for (let block = 0; block < deepest; block++) {
      for (const kind of Object.keys(KINDS)) {
        if (block >= config.depths[stage]) cells.push(element("td"));
        else cells.push(element("td", {}, branchSwitch(stage, block, kind)));
      }
    }
    return element(
      "tr",
      {},
      element("th", { scope: "row", textContent: stage + 1 }),
      element("td", {}, ratio),
      ...cells,
    );
  });
  $("switches").replaceChildren(head, element("tbody", {}, ...rows));
}

function branchSwitch(stage, block, kind) {
  const name = `${stage}.${block}.${kind}`,
    off = state.switches.off;
  const box = element("input", {
    type: "checkbox",
    checked: !off.has(name),
    "aria-label": `Stage ${stage + 1}, block ${block + 1}: ${KINDS[kind]}`,
  });
  box.addEventListener("change", () => {
    box.checked ? off.delete(name) : off.add(name);
    switched();
  });
  return box;
}

async function switched() {
  const asked = answer;
  await change();
  if (!answer || answer === asked) return; // refused, or overtaken by a newer question
  const { picture, switches, size } = state;
  await run(picture, switches, "timing", false, size); // once more each, in turn
  await run(picture, untouched(), "timing", false, USUAL);
  if (answer) drawFigures();
}

// What the switches do, as long as they are not as trained.
function tellSwitches() {
  const off = state.switches.off.size,
    all = 2 * config.depths.reduce((a, b) => a + b, 0);
  const cost = answer.multiplyAdds / before.multiplyAdds - 1;
  const score = answer.score
    ? ` mIoU ${signed(100 * (answer.score.mean - before.score.mean), 1)} points.`
    : "";
  const said = `${all - off} of ${all} branches work. Multiply-adds ${signed(100 * cost, 0)}\u00a0%.${score}`;
  tell($("switch-says"), asTrained() ? "" : said);
}

function fillSizes() {
  const within = (side) => side >= data.smallest && side <= data.side;
  const usual = new Set([64, 96, 128, 192, 256, 384, 512].filter(within)).add(USUAL);
  const sizes = [...usual].sort((a, b) => a - b);
  $("size").replaceChildren(
    ...sizes.map((side) => element("option", { value: side, textContent: `${side} pixels` })),
  );
  $("size").value = state.size;
}

function reset() {
  state.switches = untouched();
  state.size = USUAL;
  $("padding").value = "zeros";
  fillSizes();
  drawSwitches();
  switched();
}

// The branches that a sample of stochastic depth leaves out (lesson 05).
function sampledOff(rate) {
  const kept = drawnBranches(config.depths, rate);
  return new Set(
    kept.flatMap((blocks, stage) =>
      blocks.flatMap((branches, block) =>
        Object.keys(KINDS)
          .filter((kind) => !branches[kind])
          .map((kind) => `${stage}.${block}.${kind}`),
      ),
    ),
  );
}

async function roll() {
  if (!before) return;
  const { picture, size } = state,
    rate = Number($("rate").value),
    switches = { ...state.switches, ratios: [...state.switches.ratios] },
    found = [];
  const all = 2 * config.depths.reduce((a, b) => a + b, 0);
  const whole = await run(picture, { ...switches, off: new Set() }, "dice");
  if (state.picture !== picture || state.size !== size) return;
  const quality = ({ labels, score }) => score?.mean ?? agreement(labels, whole.labels);
  $("dice").replaceChildren();
  for (let draw = 0; draw < 16; draw++) {
    const off = sampledOff(rate);
    const each = await run(picture, { ...switches, off }, "dice");
    if (state.picture !== picture || state.size !== size) return;
    const canvas = element("canvas", { role: "img" });
    drawPixels(canvas, picture.height, picture.width, (i) => colours[each.labels[i]]);
    const good = each.score
      ? `mIoU ${each.score.mean.toFixed(2)}`
      : `${percent(quality(each))} as whole`;
    const words = `${all - off.size} of ${all} branches, ${good}`;
    canvas.setAttribute("aria-label", words);
    $("dice").append(element("figure", {}, canvas, element("figcaption", { textContent: words })));
    found.push({ kept: all - off.size, score: quality(each) });
  }
  const expected = 2 * dropRates(rate, all / 2).reduce((sum, each) => sum + 1 - each, 0),
    scores = found.map((each) => each.score);
  const smaller = found.filter(({ kept }) => kept < all).map(({ score }) => score);
  state.dice = picture.truth ? { scores, smaller, whole: whole.score.mean } : null;
  $("dice-says").textContent =
    `Expected: ${expected.toFixed(1)} of ${all} branches; these keep ${mean(found.map((each) => each.kept)).toFixed(1)} on average. ` +
    (picture.truth
      ? `Mean mIoU ${mean(scores).toFixed(3)}, from ${Math.min(...scores).toFixed(3)} to ${Math.max(...scores).toFixed(3)}; with every branch, the model has ${whole.score.mean.toFixed(3)}.`
      : `On average they give ${percent(mean(scores))} of the pixels the class that the whole model gives.`);
  checkTasks();
}

const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
const agreement = (a, b) => a.reduce((sum, label, i) => sum + (label === b[i]), 0) / a.length;

function listenToSwitches() {
  drawSwitches();
  fillSizes();
  $("padding").value = state.switches.padding; // whatever a browser remembers
  $("padding").addEventListener("change", () => {
    state.switches.padding = $("padding").value;
    switched();
  });
  $("size").addEventListener("change", () => {
    state.size = Number($("size").value);
    switched();
  });
  $("reset").addEventListener("click", reset);
  const showRate = () => ($("rate-value").textContent = Number($("rate").value).toFixed(1));
  $("rate").addEventListener("input", showRate);
  showRate();
  $("roll").addEventListener("click", async () => {
    $("roll").disabled = true;
    await roll();
    $("roll").disabled = false;
    $("roll").focus();
  });
}
