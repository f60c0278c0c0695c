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
