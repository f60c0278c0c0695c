// A picture with its truth, if it has one, and what the brush did to it.
class Picture {
  constructor(name, width, height, pixels, truth = null) {
    Object.assign(this, { name, width, height, truth });
    this.pixels = Uint8ClampedArray.from(pixels); // red, green, blue, opacity
    this.original = this.pixels.slice();
    this.touched = new Uint8Array(width * height); // what was painted has no truth any more
    this.past = []; // of each stroke, what stood there before
  }

  // Keep what stands here, so that the next stroke can be undone.
  begin() {
    this.past.push([this.pixels.slice(), this.touched.slice()]);
    if (this.past.length > 30) this.past.shift();
  }

  // As it was before any stroke.
  again() {
    return new Picture(this.name, this.width, this.height, this.original, this.truth);
  }

  // The true class of a pixel, or null where none is known, or it was painted over.
  trueClass(i) {
    const label = this.truth?.[i];
    return label < names.length && !this.touched[i] ? label : null;
  }

  undo() {
    if (this.past.length) [this.pixels, this.touched] = this.past.pop();
  }

  // Give every pixel of a disc the colour that colour(row, column) says; null leaves it.
  disc(row, column, radius, colour) {
    const source = this.pixels.slice(); // a stamp may lie over its own source
    for (let y = Math.max(0, row - radius); y <= Math.min(this.height - 1, row + radius); y++) {
      for (
        let x = Math.max(0, column - radius);
        x <= Math.min(this.width - 1, column + radius);
        x++
      ) {
        if ((y - row) ** 2 + (x - column) ** 2 > radius * radius) continue;
        const rgb = colour(y, x, source);
        if (!rgb) continue;
        this.pixels.set(rgb, 4 * (y * this.width + x));
        this.touched[y * this.width + x] = 1;
      }
    }
  }

  at(row, column, source = this.pixels) {
    const inside = row >= 0 && column >= 0 && row < this.height && column < this.width;
    return inside
      ? source.slice(4 * (row * this.width + column), 4 * (row * this.width + column) + 3)
      : null;
  }
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

// Photographs come from anywhere on the page: chosen, taken by a camera, pasted or dropped.
function listenToPhotos() {
  for (const input of [$("file"), $("camera")]) {
    input.addEventListener("change", () => {
      if (input.files.length) openFirst([...input.files]);
      input.value = ""; // so that the same file may be chosen again
    });
  }
  addEventListener("paste", ({ clipboardData }) =>
    take(
      clipboardData,
      "There is no picture in what you pasted. Copy the picture itself, or choose its file.",
    ),
  );
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => {
    event.preventDefault(); // or the browser would leave the page for what was dropped
    take(
      event.dataTransfer,
      "There is no file in what you dropped. Copy the picture where you see it and paste it here, " +
        "or save it first.",
    );
  });
}

// Open what was pasted or dropped, or say what is the matter with it.
function take({ files, items }, otherwise) {
  if (Array.from(items).some((item) => item.webkitGetAsEntry()?.isDirectory))
    say("That is a folder. Open it, and take one of its pictures.");
  else if (files.length) openFirst([...files]);
  else say(otherwise);
}

let wanted = 0; // how many pictures were asked for, so that a slow one does not replace a later one

// Show the first picture of some files.
async function openFirst(files) {
  const mine = ++wanted,
    file = files.find(({ type }) => type.startsWith("image/")) ?? files[0];
  let picture;
  try {
    picture = await readPhoto(file, data.side);
  } catch (error) {
    if (mine === wanted) say(error.message);
    return;
  }
  if (mine !== wanted) return;
  if (files.length > 1) say(`Of ${files.length} files, ${picture.name} is shown.`);
  await choose(picture);
}

// An image file as a picture whose longer side is at most `longest`; a sentence where it is none.
async function readPhoto(file, longest) {
  const name = file.name || "your picture";
  const refuse = (words) => {
    throw new Error(`${name} ${words}`);
  };
  if (file.size > 60e6) refuse(`has ${Math.round(file.size / 1e6)} MB. Give one of at most 60.`);
  const { width, height } = await sizeOf(file);
  // 120 million pixels take half a gigabyte; the largest photographs of phones have 108
  if (width * height > 120e6)
    refuse(`has ${width} × ${height} pixels. Give one of at most 120 million.`);
  const bitmap = width && (await createImageBitmap(file).catch(() => null));
  if (!bitmap) refuse(await whyNot(file));
  const scale = Math.min(1, longest / Math.max(width, height));
  const size = [width, height].map((side) => Math.max(32, Math.round(side * scale)));
  const picture = new Picture(name, ...size, shrunken(bitmap, ...size));
  bitmap.close();
  return picture;
}

// The size that a file says it has; 0 if it is no picture. A few kilobytes may hold gigabytes of
// pixels, and this alone unpacks none.
async function sizeOf(file) {
  const image = element("img", { src: URL.createObjectURL(file) });
  await new Promise((resolve) => Object.assign(image, { onload: resolve, onerror: resolve }));
  URL.revokeObjectURL(image.src);
  return { width: image.naturalWidth, height: image.naturalHeight };
}

// What begins like this, a browser may not read, but other programs do.
const FOREIGN = [
  [/^.{4}ftyp(hei|hev|mif|msf)/s, "HEIC picture, as phones take it"],
  [/^(II\*\0|MM\0\*)/, "TIFF picture, or what a camera calls raw"],
  [/^<(\?xml|svg)/, "drawing (SVG)"],
  [/^%PDF/, "PDF"],
];

async function whyNot(file) {
  const bytes = await file.slice(0, 16).arrayBuffer().catch(() => null);
  if (!bytes) return "cannot be opened any more: it was changed or moved. Choose it again.";
  if (!bytes.byteLength) return "is no picture: the file is empty.";
  const begins = new TextDecoder("latin1").decode(bytes);
  const [, kind] = FOREIGN.find(([beginning]) => beginning.test(begins)) ?? [];
  return kind
    ? `is a ${kind}, which cannot be read here. Open it elsewhere, and save it as a JPEG or PNG.`
    : "is no picture that this browser can read; it may be damaged. Give a JPEG, PNG or WebP.";
}

// The pixels of an image at a smaller size. Some browsers take four of the many pixels that one
// then covers; so it is halved again and again, from at most 4096, which every phone can hold.
function shrunken(image, width, height) {
  const most = Math.min(4096, Math.max(image.width, image.height)) / Math.max(width, height);
  let context;
  for (let times = 2 ** Math.max(0, Math.floor(Math.log2(most))); times >= 1; times /= 2) {
    const size = [times * width, times * height];
    const canvas = element("canvas", { width: size[0], height: size[1] });
    context = canvas.getContext("2d");
    context.fillStyle = "#fff"; // what is transparent becomes white, as the package has it
    context.fillRect(0, 0, ...size);
    context.drawImage(image, 0, 0, ...size);
    image = canvas;
  }
  return context.getImageData(0, 0, width, height).data;
}

// How good labels are, against the truth: IoU of each class (NaN where it is nowhere) and their mean.
function iou(labels, truth, touched, classes) {
  const both = new Float64Array(classes),
    either = new Float64Array(classes);
  truth.forEach((label, i) => {
    if (touched[i] || label >= classes) return;
    either[label]++;
    if (labels[i] === label) both[label]++;
    else either[labels[i]]++;
  });
  const each = Array.from(both, (n, i) => (either[i] ? n / either[i] : NaN));
  const there = each.filter((value) => !Number.isNaN(value));
  return { each, mean: there.reduce((a, b) => a + b, 0) / there.length };
}

// A picture as build.py packs it: an image, and the classes of its pixels where they are known.
async function readPacked({ name, height, width, image, labels }) {
  const shown = element("img", { src: image });
  await shown.decode();
  const context = element("canvas", { width, height }).getContext("2d");
  context.drawImage(shown, 0, 0);
  const truth = labels && new Uint8Array(await unzipped(bytesOf(labels)));
  return new Picture(name, width, height, context.getImageData(0, 0, width, height).data, truth);
}

const unzipped = (bytes) =>
  new Response(
    new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")),
  ).arrayBuffer();
