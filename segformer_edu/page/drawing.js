// Numbers to pixels: the picture, the classes, and maps of one quantity in the course's colours.
const MAGMA = [
  [0, 0, 4],
  [29, 17, 71],
  [81, 18, 124],
  [131, 38, 129],
  [183, 55, 121],
  [231, 82, 99],
  [252, 137, 97],
  [254, 196, 136],
  [252, 253, 191],
];

// The colour of a share of the way from little (dark) to much (bright).
function magma(share) {
  const place = Math.min(Math.max(share, 0), 1) * (MAGMA.length - 1);
  const below = Math.min(Math.floor(place), MAGMA.length - 2);
  return MAGMA[below].map((c, i) => c + (place - below) * (MAGMA[below + 1][i] - c));
}

// Draw width × height pixels, of which colour(i) gives red, green and blue of 0 … 255.
function drawPixels(canvas, height, width, colour) {
  const image = new ImageData(width, height);
  for (let i = 0; i < height * width; i++) {
    image.data.set(colour(i), 4 * i);
    image.data[4 * i + 3] = 255;
  }
  [canvas.width, canvas.height] = [width, height];
  canvas.getContext("2d").putImageData(image, 0, 0);
}

// A map of one quantity: dark is 0, and the brightest cell is the largest value.
function drawMap(canvas, height, width, values) {
  const most = values.reduce((a, b) => Math.max(a, b), 1e-12);
  drawPixels(canvas, height, width, (i) => magma(values[i] / most));
}

// A ring around a place, in two colours, so that it is seen on any background.
function drawMark(canvas, row, column) {
  const context = canvas.getContext("2d");
  const radius = Math.max(2.5, canvas.width / 40);
  for (const [colour, line] of [
    ["#fff", radius / 1.6],
    ["#000", radius / 4],
  ]) {
    context.strokeStyle = colour;
    context.lineWidth = line;
    context.beginPath();
    context.arc(column + 0.5, row + 0.5, radius, 0, 2 * Math.PI);
    context.stroke();
  }
}

// A map on which a dot says where the marked pixel lies.
function withPlace(canvas) {
  const { mark, picture } = state,
    dot = element("span", { className: "place" });
  dot.style.left = `${(100 * (mark.column + 0.5)) / picture.width}%`;
  dot.style.top = `${(100 * (mark.row + 0.5)) / picture.height}%`;
  return element("div", { className: "map" }, canvas, dot);
}

// A new element with properties, attributes (data and aria, with a dash) and children.
function element(name, properties = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(properties)) {
    if (key.includes("-")) made.setAttribute(key, value);
    else made[key] = value;
  }
  made.append(...children);
  return made;
}

// Bars to the right of a middle line (for) and to its left (against), each with its name and number.
function drawBars(place, names, values) {
  const most = Math.max(...values.map(Math.abs), 1e-6);
  place.replaceChildren(
    ...names.map((name, i) => {
      const bar = element("span", { className: values[i] < 0 ? "bar against" : "bar for" });
      bar.style.width = `${(50 * Math.abs(values[i])) / most}%`;
      return element(
        "li",
        {},
        element("span", { textContent: name }),
        element("span", { className: "track", "aria-hidden": "true" }, bar),
        element("span", { className: "number", textContent: signed(values[i]) }),
      );
    }),
  );
}

function signed(value, digits = 2) {
  const size = Math.abs(value).toFixed(digits);
  if (Number(size) === 0) return size;
  return `${value < 0 ? "−" : "+"}${size}`;
}

function percent(share) {
  if (share > 0.9995 && share < 1) return "over 99.9\u00a0%";
  const near = (share > 0 && share < 0.1) || (share > 0.99 && share < 1); // to none, or to all
  return `${(100 * share).toFixed(near ? 1 : 0)}\u00a0%`;
}

// Write a sentence where it is new: a screen reader reads out what is written.
function tell(place, text) {
  if (place.textContent !== text) place.textContent = text;
}
