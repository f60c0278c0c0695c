"""From maps of paints to a picture: texture, windows, light, shadow, fog, rain, and a camera.

Each pixel knows the plane it shows, so it knows its depth and its place in the world: textures stick
to walls and ground, and are averaged over what the pixel covers. Only + − × ÷ and look-ups act on
pixels, which give the same bits on every processor; a sine or an exponential would not.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from segformer_edu.data.street.canvas import Canvas, Maps
from segformer_edu.data.street.weather import Weather

SKY_DISTANCE = 500.0  # metres: fog hides the sky as it would hide this
TILE = 256  # side of the stain table; it repeats
CELLS_PER_STAIN = 8  # a stain of one metre, at frequency 1, is this many cells wide


@functools.cache
def stains() -> np.ndarray:
    """Smooth blotches of all sizes, −1 … 1, that repeat without a seam: `(TILE, TILE)` float32."""
    rng = np.random.default_rng(0)
    total = np.zeros((TILE, TILE), dtype=np.float32)
    for side, weight in ((4, 0.6), (8, 0.8), (16, 1.0), (32, 1.0), (64, 0.7), (256, 0.5)):
        grid = rng.integers(-1000, 1001, (side, side)).astype(np.float32) / np.float32(1000)
        at = np.arange(TILE) * side
        low, share = at // TILE, ((at % TILE) / TILE).astype(np.float32)
        high = (low + 1) % side
        rows = grid[low] + (grid[high] - grid[low]) * share[:, None]
        total += np.float32(weight) * (rows[:, low] + (rows[:, high] - rows[:, low]) * share)
    return total / np.abs(total).max()


def stain(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """The stain at a place, in metres divided by the size of a stain; smooth between the cells."""
    u, v = u * CELLS_PER_STAIN, v * CELLS_PER_STAIN
    left, low = np.floor(u), np.floor(v)
    u, v = u - left, v - low
    mask = TILE - 1  # TILE is a power of two
    row, column = low.astype(np.int32) & mask, left.astype(np.int32) & mask
    corner = row * TILE + column
    above = (((row + 1) & mask) - row) * TILE
    beside = ((column + 1) & mask) - column
    table = stains().ravel()
    bottom, top = table[corner], table[corner + above]
    bottom = bottom + (table[corner + beside] - bottom) * u
    top = top + (table[corner + above + beside] - top) * u
    return bottom + (top - bottom) * v


def share_of_pulses(at: np.ndarray, width: np.ndarray, blur: np.ndarray) -> np.ndarray:
    """How much of [at ± blur / 2] lies in pulses that are `width` wide, one in every unit."""

    def integral(t: np.ndarray) -> np.ndarray:
        whole = np.floor(t)
        return whole * width + np.minimum(t - whole, width)

    return (integral(at + blur / 2) - integral(at - blur / 2)) / blur


@dataclass(frozen=True)
class Places:
    """Where in the world each pixel looks, all `(H, W)` float32.

    Attributes:
        nearness: 1 / depth.
        x, z: metres to the right and ahead.
        u, v: coordinates of the texture, in metres.
        size: metres that a pixel covers, across.
    """

    nearness: np.ndarray
    x: np.ndarray
    z: np.ndarray
    u: np.ndarray
    v: np.ndarray
    size: np.ndarray


def find_places(canvas: Canvas, maps: Maps) -> Places:
    """Meet the ray of each pixel with the plane that it shows."""
    height, width = maps.labels.shape
    right, up = canvas.camera.rays(height, width)
    rows = [(*s.plane, s.along_x, s.along_z, s.origin, s.ahead) for s in canvas.surfaces]
    a, b, c, along_x, along_z, origin, ahead = np.array(rows, dtype=np.float32).T[:, maps.surface]
    nearness = np.maximum(a * right + b * up + c, np.float32(1 / SKY_DISTANCE))
    z = 1 / nearness
    x = right * z
    u = along_x * x + along_z * z - origin
    v = np.float32(canvas.camera.height) + up * z + ahead * z
    size = z / np.float32(canvas.camera.focal * height)
    return Places(nearness, x, z, u, v, size)


def photograph(
    canvas: Canvas, weather: Weather, height: int, width: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The picture and its labels; the sensor's noise comes from the generator.

    Shape: → `(H, W, 3)` uint8, `(H, W)` uint8.
    """
    maps = canvas.maps(height, width)
    places = find_places(canvas, maps)
    color, glow = maps.color[..., :3], maps.color[..., 3:]
    surface = maps.surface

    frequency, contrast = (
        np.array([getattr(s, name) for s in canvas.surfaces], dtype=np.float32)[surface]
        for name in ("frequency", "contrast")
    )
    u, v = places.u * frequency, places.v * frequency
    seen = 1 / (1 + 4 * places.size * frequency)  # a stain smaller than a pixel averages out
    brightness = 1 + contrast * seen * (stain(u, v) + stain(v / 5, u / 5))
    on_ground = np.array([s.ahead for s in canvas.surfaces], dtype=np.float32)[surface]
    brightness = brightness * (1 - np.float32(weather.shade) * maps.shadow * on_ground)
    color = color * brightness[..., None]

    _lay_slabs(canvas, places, surface, color)
    _cut_windows(canvas, weather, places, surface, color, glow)
    _paint_sky(canvas, weather, maps, color)

    light = np.array(weather.light, dtype=np.float32)
    if weather.dark:
        light = light + _lamp_light(canvas, places)
        glow = glow * np.float32(1.0)
    else:
        glow = glow * np.float32(0.5)
    sky = (maps.labels == 0)[..., None]
    color = np.where(sky, color, color * (light * (1 - glow) + np.float32(1.25) * glow))
    if weather.wet:
        _wet_ground(canvas, weather, maps, places, on_ground, color)
    if weather.dark:
        color = color + _halo(glow)
    fog = np.array(weather.horizon, dtype=np.float32)
    thickness = np.float32(weather.visibility) * places.nearness
    hidden = (1 / (1 + thickness * thickness))[..., None]
    color = color + (fog - color) * hidden
    return _expose(color, weather, rng), maps.labels


def _lay_slabs(canvas: Canvas, places: Places, surface: np.ndarray, color: np.ndarray) -> None:
    """Joints between the slabs of a sidewalk."""
    side = np.array([s.paving for s in canvas.surfaces], dtype=np.float32)
    at = np.nonzero(side[surface].ravel())[0]
    if not len(at):
        return
    slab = side[surface.ravel()[at]]
    blur = places.size.ravel()[at] / slab
    deep = blur * places.z.ravel()[at] / np.float32(canvas.camera.height)  # foreshortened
    joint = np.float32(0.06)
    u, v = places.u.ravel()[at] / slab, places.v.ravel()[at] / slab
    joints = share_of_pulses(u, joint, blur) + share_of_pulses(v, joint, deep)
    color.reshape(-1, 3)[at] *= (1 - np.float32(0.35) * np.minimum(joints, 1))[:, None]


def _cut_windows(
    canvas: Canvas,
    weather: Weather,
    places: Places,
    surface: np.ndarray,
    color: np.ndarray,
    glow: np.ndarray,
) -> None:
    """Rows of windows, framed, some lit, with a shop front below, and courses of brick."""
    row = np.array([s.facade for s in canvas.surfaces])[surface].ravel()
    at = np.nonzero(row >= 0)[0]
    if not len(at):
        return
    facades = np.array(canvas.facades, dtype=np.float32)[row[at]].T
    bay, storey, wide, tall, frame, top, shop, brick, tint, seed = facades
    u, v, size = (each.ravel()[at] for each in (places.u, places.v, places.size))
    joint = share_of_pulses(v / np.float32(0.28), np.float32(0.18), size / np.float32(0.28))
    wall = color.reshape(-1, 3)[at] * (1 - brick * joint)[:, None]

    ground_floor = (v < storey) & (shop > 0)
    wide = np.where(ground_floor, np.float32(0.86), wide)
    tall = np.where(ground_floor, np.float32(0.72), tall)
    across, upward = u / bay, v / storey
    blur_across, blur_upward = size / bay, size / storey
    column, floor = np.floor(across).astype(np.int32), np.floor(upward).astype(np.int32)

    def opening(shrink: np.ndarray | float) -> np.ndarray:
        """The share of each pixel in windows made smaller, all around, by `shrink` metres."""
        w, t = wide - 2 * shrink / bay, tall - 2 * shrink / storey
        return share_of_pulses(across - (1 - w) / 2, w, blur_across) * share_of_pulses(
            upward - (1 - t) / 2, t, blur_upward
        )

    inside = (v > 0) & (v < top)
    hole, pane = opening(0.0) * inside, opening(frame) * inside
    mullion = share_of_pulses(2 * across - np.float32(0.47), np.float32(0.06), 2 * blur_across)
    pane = pane * (1 - mullion)

    chance = stains()[(floor * 37 + seed.astype(np.int32)) & 255, (column * 59 + floor) & 255]
    sky = np.array(weather.horizon, dtype=np.float32)
    dim = np.array((0.16, 0.19, 0.23), dtype=np.float32)
    glass = dim + (sky * np.float32(0.9) - dim) * (tint * (1 + chance))[:, None]
    lit = (chance > (0.12 if weather.dark else 0.62)).astype(np.float32)
    lamp = np.array((1.0, 0.86, 0.55), dtype=np.float32)
    glass = glass + (lamp - glass) * (lit * np.float32(0.85))[:, None]
    trim = wall + (np.float32(0.85) - wall) * np.float32(0.6)
    wall = wall + (trim - wall) * hole[:, None]
    color.reshape(-1, 3)[at] = wall + (glass - wall) * pane[:, None]
    glow.reshape(-1)[at] = np.maximum(glow.reshape(-1)[at], lit * pane * np.float32(0.8))


def _paint_sky(canvas: Canvas, weather: Weather, maps: Maps, color: np.ndarray) -> None:
    """A gradient up from the horizon, and clouds that lie in a plane above the street."""
    at = np.nonzero((maps.labels == 0).ravel())[0]
    if not len(at):
        return
    height, width = maps.labels.shape
    right, up = (each.ravel()[at] for each in canvas.camera.rays(height, width))
    climb = np.clip(up * np.float32(1.6), 0, 1)[:, None]
    horizon, zenith = (np.array(c, dtype=np.float32) for c in (weather.horizon, weather.zenith))
    sky = horizon + (zenith - horizon) * climb
    away = 1 / (np.maximum(up, 0) + np.float32(0.12))
    cloud = stain(right * away / 4, away / 4) + stain(right * away, away) / 2
    cover = np.clip((cloud + np.float32(weather.clouds - 0.5)) * 2, 0, 1)[:, None]
    lit = np.minimum(horizon * np.float32(0.75) + np.float32(0.3) * np.max(horizon), 1)
    white = lit * (1 - np.float32(0.25) * cover)
    color.reshape(-1, 3)[at] = sky + (white - sky) * cover * np.float32(0.8)


def _lamp_light(canvas: Canvas, places: Places) -> np.ndarray:
    """Light that falls from the lamps: it fades with the square of the distance."""
    total = np.zeros_like(places.x)
    for x, y, z in canvas.lamps:
        dx, dz = places.x - np.float32(x), places.z - np.float32(z)
        dy = np.float32(y) - places.nearness * 0
        total += np.float32(y * y * 0.8) / (dx * dx + dz * dz + dy * dy)
    return np.minimum(total, 1.2)[..., None] * np.array((1.0, 0.82, 0.55), dtype=np.float32)


def _halo(glow: np.ndarray) -> np.ndarray:
    """The shine around what glows, in the air and in the lens."""
    height = len(glow)
    source = Image.fromarray((np.clip(glow[..., 0], 0, 1) * 255 + np.float32(0.5)).astype(np.uint8))
    wide = source.filter(ImageFilter.BoxBlur(0.03 * height)).filter(
        ImageFilter.BoxBlur(0.02 * height)
    )
    shine = np.asarray(wide, dtype=np.float32)[..., None] / np.float32(255)
    return shine * np.array((0.75, 0.6, 0.4), dtype=np.float32)


def _wet_ground(
    canvas: Canvas,
    weather: Weather,
    maps: Maps,
    places: Places,
    on_ground: np.ndarray,
    color: np.ndarray,
) -> None:
    """Wet ground is darker, and mirrors in its puddles what stands above it."""
    height, width = maps.labels.shape
    middle = canvas.camera.horizon * height
    rows = np.clip((2 * middle - np.arange(height) - 0.5).astype(int), 0, height - 1)
    puddle = np.clip((stain(places.x / 3, places.z / 6) + np.float32(0.15)) * 4, 0, 1)
    share = on_ground * np.float32(weather.wet) * (np.float32(0.2) + np.float32(0.45) * puddle)
    wet = color * np.float32(1 - 0.3 * weather.wet)
    mixed = wet + (color[rows] * np.float32(0.85) - wet) * share[..., None]
    color[:] = np.where(on_ground[..., None] > 0, mixed, color)


def _expose(color: np.ndarray, weather: Weather, rng: np.random.Generator) -> np.ndarray:
    """Exposure, contrast, unsharpness and noise of a camera."""
    height, width, _ = color.shape
    color = color * np.float32(weather.exposure)
    color = (color - np.float32(0.4)) * np.float32(weather.contrast) + np.float32(0.4)
    sharp = Image.fromarray((np.clip(color, 0, 1) * 255 + np.float32(0.5)).astype(np.uint8))
    blurred = np.asarray(sharp.filter(ImageFilter.BoxBlur(weather.blur * height)))
    grain = np.frombuffer(rng.bytes(2 * color.size), dtype=np.uint8)
    grain = grain.reshape(2, height, width, 3).astype(np.float32)
    noise = (grain[0] - grain[1]) * np.float32(weather.noise / 104)  # two even dice: spread 104
    return np.clip(blurred + noise + np.float32(0.5), 0, 255).astype(np.uint8)
