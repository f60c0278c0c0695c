// Photographs of one's own: where they come from, and what is no photograph.

// Chosen, taken by a camera, pasted or dropped anywhere on the page.
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
  const bytes = await file
    .slice(0, 16)
    .arrayBuffer()
    .catch(() => null);
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
