"""Time the page's model in a browser beside onnxruntime-web, and write the table.

python -m benchmarks.page            # its table in README.md
python -m benchmarks.page --quick    # one round that writes nothing

Needs npm, which fetches onnxruntime-web.
"""

from __future__ import annotations

import base64
import json
import platform
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from statistics import median
from threading import Thread
from typing import Any

from playwright.sync_api import Page

from benchmarks.readme import asked, publish
from benchmarks.report import markdown
from benchmarks.runs import here
from segformer_edu import SegFormer
from segformer_edu.commands.export import to_onnx
from segformer_edu.data.photos import normalize
from segformer_edu.data.scenes import scene
from segformer_edu.page.build import ENGINE, text_of
from tools.browser import opened

OTHER = "onnxruntime-web@1.30.0"  # its WebAssembly with SIMD, on one thread, as in our worker
SIZES = (128, 256)
OURS = "segformer.js"
# Both models, ready to run on an image; each returns milliseconds and the logits' sum.
PREPARE = """async ([config, weights]) => {
    const bytesOf = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
    for (const tensor of Object.values(weights))
        tensor.data = new Float32Array(bytesOf(tensor.data).buffer);
    const model = load(config, weights);
    const ort = await import("/package/dist/ort.wasm.bundle.min.mjs");
    ort.env.wasm.numThreads = 1;
    const session = await ort.InferenceSession.create("/nano.onnx");
    const timed = async (run) => {
        const start = performance.now(), logits = await run();
        return [performance.now() - start, logits.reduce((sum, x) => sum + x, 0)];
    };
    window.contenders = {
        ours: (image) => timed(() => SegFormer(model, image).logits.data),
        other: ({ height, width, data }) => {
            const planes = new Float32Array(data.length);
            data.forEach((x, i) => planes[(i % 3) * height * width + Math.floor(i / 3)] = x);
            const images = new ort.Tensor("float32", planes, [1, 3, height, width]);
            return timed(async () => (await session.run({ images })).logits.data);
        },
    };
    window.image = (size, text) => newMap(size, size, 3, new Float32Array(bytesOf(text).buffer));
}"""


def main() -> None:
    options = asked("page", __doc__, "one round that writes nothing", rounds=20)
    where = here()
    with tempfile.TemporaryDirectory() as folder, opened() as browser:
        nano = SegFormer.from_pretrained("nano")
        provide(Path(folder), nano)
        with served(Path(folder)) as address:
            page = browser.new_page()
            page.goto(address)
            times = measure(page, nano, options.rounds)
        found = report(times, f"Chromium {browser.version}", where, options.rounds)
    publish("page", found, options.quick)


def provide(folder: Path, nano: SegFormer) -> None:
    """What the browser loads: a page with our engine, the other one, and its ONNX file."""
    npm = shutil.which("npm")
    if npm is None:
        sys.exit(f"There is no npm here to fetch {OTHER} with: install Node.js.")
    subprocess.run([npm, "pack", OTHER], cwd=folder, check=True, capture_output=True)
    (archive,) = folder.glob("*.tgz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    (folder / "nano.onnx").write_bytes(to_onnx(nano))
    page = f'<!DOCTYPE html><meta charset="utf-8"><script>{text_of(*ENGINE)}</script>'
    (folder / "index.html").write_text(page, encoding="utf-8")


class Quiet(SimpleHTTPRequestHandler):
    """Serves a folder and writes no log."""

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def served(folder: Path) -> Iterator[str]:
    """The address of a folder, on this machine alone."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def measure(page: Page, nano: SegFormer, rounds: int) -> dict[tuple[int, str], list[float]]:
    """Milliseconds of each contender at each size, in turn, after three runs that do not count.

    Raises:
        RuntimeError: the two do not give the same logits.
    """
    weights = {
        name: {"shape": list(x.shape), "data": base64.b64encode(x.numpy().tobytes()).decode()}
        for name, x in nano.state_dict().items()
        if x.is_floating_point()
    }
    page.evaluate(PREPARE, json.loads(json.dumps([asdict(nano.config), weights])))
    times: dict[tuple[int, str], list[float]] = {}
    for size in SIZES:
        pixels = normalize(scene(0, size)[0])[0].permute(1, 2, 0).contiguous()
        image = [size, base64.b64encode(pixels.numpy().tobytes()).decode()]
        for number in range(-3, rounds):
            sums = []
            for name in ("ours", "other"):
                asked = f"([size, text]) => contenders.{name}(image(size, text))"
                milliseconds, total = page.evaluate(asked, image)
                sums.append(total)
                if number >= 0:
                    times.setdefault((size, name), []).append(milliseconds)
            if abs(sums[0] - sums[1]) > 1e-3 * abs(sums[1]):
                raise RuntimeError(f"At {size}² the sums of the logits are {sums}.")
    return times


def table(times: dict[tuple[int, str], list[float]]) -> str:
    """A line per size, "median (least)" in each cell."""
    lines = [["nano", f"{OURS}, ms", f"{OTHER.partition('@')[0]}, ms"], ["---", "---:", "---:"]]
    for size in dict.fromkeys(size for size, _ in times):
        cells = [times[size, name] for name in ("ours", "other")]
        lines.append([f"{size}²", *(f"{median(cell):.0f} ({min(cell):.0f})" for cell in cells)])
    return markdown(lines)


def report(times: dict[tuple[int, str], list[float]], browser: str, where: str, rounds: int) -> str:
    """The text between the markers of README.md."""
    return (
        f"{table(times)}\n{where}; rounds: {rounds}. {platform.system()} {platform.machine()}; "
        f"{OTHER}, {browser}.\n"
    )


if __name__ == "__main__":
    main()
