// Ten discoveries. Each says what to do, where it is explained, and when it is made.
const gain = () => answer.score.mean - before.score.mean; // in mIoU, by whatever was changed
const pristine = () => !state.picture.touched.some(Boolean);
const seen = { picture: null }; // which pixels of task “stages” were found, in which picture

const TASKS = [
  {
    id: "context",
    lesson: "09",
    needsTruth: false,
    text: "Paint over less than 1 % of the picture, so that at least 1 % of the picture changes its class outside of what you painted.",
    found: "A class depends on what stands around a pixel, too.",
    solved: () => {
      if (pristine() || !asTrained()) return false;
      const [painted, changed] = paintedAndChanged();
      return painted < 0.01 && changed >= 0.01;
    },
  },
  {
    id: "sure",
    lesson: "09",
    needsTruth: true,
    text: "Find a pixel whose class is wrong although the model is at least 95 % sure. Errors and Confidence show where to look.",
    found: "Confidence is no proof. Lesson 09 measures how often such a pixel is right.",
    solved: () => {
      if (!state.asked) return false;
      const i = state.mark.row * state.picture.width + state.mark.column,
        truth = state.picture.trueClass(i);
      return answer.confidence[i] >= 0.95 && truth !== null && truth !== answer.labels[i];
    },
  },
  {
    id: "heads",
    lesson: "09",
    needsTruth: false,
    text: "Choose a stage and a block of which one head has most of its weight near the pixel, and another less than a fifth.",
    found: "Heads of one block look at different things.",
    solved: () =>
      state.nearby.length > 1 && Math.max(...state.nearby) > 0.5 && Math.min(...state.nearby) < 0.2,
  },
  {
    id: "stages",
    lesson: "07",
    needsTruth: false,
    text: "Find a pixel to whose lead the last stage adds most, and another in the same picture to whose lead the first one does.",
    found: "Which stage decides is another question at every pixel.",
    solved: () => {
      if (!state.asked) return false;
      if (seen.picture !== state.picture)
        Object.assign(seen, { picture: state.picture, coarse: false, fine: false });
      const stages = state.leads.slice(0, -1),
        most = stages.indexOf(Math.max(...stages));
      if (most === stages.length - 1) seen.coarse = true;
      if (most === 0) seen.fine = true;
      return seen.coarse && seen.fine;
    },
  },
  {
    id: "poles",
    lesson: "04",
    needsTruth: true,
    text: "Switch off one single branch, so that a class loses ten points of IoU or more.",
    found: "One branch can carry a class: in this picture, the others did not make up for it.",
    solved: () =>
      state.switches.off.size === 1 &&
      pristine() &&
      answer.score.each.some((each, k) => before.score.each[k] - each >= 0.1),
  },
  {
    id: "spare",
    lesson: "05",
    needsTruth: true,
    text: "Switch off three branches or more, and lose less than one point of mIoU.",
    found: "This picture hardly needed them. Lesson 09 measures which branches matter on average.",
    solved: () => state.switches.off.size >= 3 && pristine() && gain() > -0.01,
  },
  {
    id: "ratio",
    lesson: "03",
    needsTruth: true,
    text: "Change a reduction ratio so that the model needs fewer multiply-adds, and loses less than one point of mIoU.",
    found:
      "In this picture, fewer keys were enough. These weights were trained for every ratio on offer.",
    solved: () =>
      asTrainedBut("ratios") && answer.multiplyAdds < before.multiplyAdds && gain() > -0.01,
  },
  {
    id: "padding",
    lesson: "04",
    needsTruth: true,
    text: "Make the model forget where the picture ends, and see mIoU fall by three points.",
    found:
      "The zeros at the border tell it where the picture ends. Look at which classes it mixes up now.",
    solved: () =>
      asTrainedBut("padding") && state.switches.padding === "circular" && gain() <= -0.03,
  },
  {
    id: "size",
    lesson: "11",
    needsTruth: true,
    text: "Show the model the same picture at another size, so that mIoU rises by two points.",
    found:
      "It has no position embedding, so it takes any size; how good it is there is another question.",
    solved: () => asTrainedBut("size") && pristine() && gain() >= 0.02,
  },
  {
    id: "dice",
    lesson: "05",
    needsTruth: true,
    text: "Roll until the sixteen models lose ten points of mIoU on average, while one that lacks a branch loses less than two.",
    found:
      "Some of the smaller networks are nearly as good as the whole one. Lesson 05 asks how they come about.",
    solved: () =>
      state.dice &&
      mean(state.dice.scores) < state.dice.whole - 0.1 &&
      Math.max(...state.dice.smaller) > state.dice.whole - 0.02,
  },
];

// Whether nothing but one of the switches, or the size, was changed.
function asTrainedBut(which) {
  const kept = { ...state.switches };
  return (
    pristine() &&
    !kept.off.size &&
    (which === "size") === (state.size !== USUAL) &&
    (which === "padding" || kept.padding === "zeros") &&
    (which === "ratios" || kept.ratios.every((ratio, i) => ratio === config.reduction_ratios[i]))
  );
}

// What was solved before, if this browser remembers anything for this page.
function remembered() {
  try {
    return new Set(JSON.parse(localStorage.getItem("segformer-tasks") || "[]"));
  } catch {
    return new Set();
  }
}

const solved = remembered();

function remember() {
  try {
    localStorage.setItem("segformer-tasks", JSON.stringify([...solved]));
  } catch {
    // a browser may forbid it; then the ticks last as long as the page
  }
}

// Without a known truth, there is no mIoU to win or lose; and many models have one ratio a stage.
const possible = (task) =>
  (!task.needsTruth || data.pictures.some((picture) => picture.labels)) &&
  (task.id !== "ratio" || ratios.some((each) => each.length > 1));

function drawTasks() {
  $("tasks").replaceChildren(
    ...TASKS.filter(possible).map(({ id, lesson, text, found }) => {
      const done = solved.has(id);
      const note = done ? `Solved. ${found}` : "";
      return element(
        "li",
        { className: done ? "solved" : "" },
        `${text} (lesson ${lesson})`,
        element("span", { className: "hint", textContent: note }),
      );
    }),
  );
}

function checkTasks() {
  if (!answer || !before) return;
  const made = TASKS.filter(
    (task) => !solved.has(task.id) && (!task.needsTruth || answer.score) && task.solved(),
  );
  if (!made.length) return;
  for (const task of made) solved.add(task.id);
  remember();
  drawTasks();
  say(`Discovered: ${made.map((task) => task.found).join(" ")}`);
}

function listenToTasks() {
  drawTasks();
  $("forget").addEventListener("click", () => {
    solved.clear();
    seen.picture = null;
    remember();
    drawTasks();
    say("All discoveries are open again.");
  });
}
