"""From what was painted to a picture: texture, windows, light, shadow, fog, rain, and a camera.

Each pixel knows the plane that it shows, so it knows how far away it looks, and where: textures
stick to walls and ground, and are averaged over what the pixel covers. Only + − × ÷ and look-ups
act on pixels, which give the same bits on every processor; a sine or an exponential would not.

Shapes: pixels are in one row, `(N,)`, row after row of the picture; colours are `(3, N)`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageFilter

from segformer_edu.data.street.canvas import Canvas, Maps
from segformer_edu.data.street.classes import SKY
from segformer_edu.data.street.colors import Color
from segformer_edu.data.street.textures import chance, share_of_pulses, stain
from segformer_edu.data.street.weather import Weather

SKY_DISTANCE = 500.0  # metres: fog hides the sky as it would hide this
MORTAR, COURSE = 0.05, 0.28  # metres: joints in a wall, and from one to the next
SLAB_JOINT = 0.06  # of a slab
SHOP_WIDE, SHOP_TALL = 0.86, 0.72  # what shop windows take of their bay and storey
LIT_BY_DAY, LIT_AT_NIGHT = 0.62, 0.12  # windows of a higher chance have their light on
DARK_PANE, LIT_PANE, TRIM = (0.16, 0.19, 0.23), (1.0, 0.86, 0.55), (0.85, 0.85, 0.85)
LAMP_LIGHT, HALO = (1.0, 0.82, 0.55), (0.75, 0.60, 0.40)


@dataclass(frozen=True)
class View:
    """What each pixel looks at.

    Attributes:
        maps: what was painted there.
        right, up: the pixel's ray, per metre ahead.
        nearness: 1 / depth.
        x, z: metres to the right and ahead.
        u, v: coordinates of the texture, in metres.
        size: metres that a pixel would cover if the surface faced the camera.
        size_u, size_v: metres of the texture that it covers, more where the surface is slanted.
        frequency, contrast, paving: of the surface.
        on_ground: 1 on the ground, 0 elsewhere.
    """

    maps: Maps
    right: np.ndarray
    up: np.ndarray
    nearness: np.ndarray
    x: np.ndarray
    z: np.ndarray
    u: np.ndarray
    v: np.ndarray
    size: np.ndarray
    size_u: np.ndarray
    size_v: np.ndarray
    frequency: np.ndarray
    contrast: np.ndarray
    paving: np.ndarray
    on_ground: np.ndarray


def photograph(
    canvas: Canvas, weather: Weather, height: int, width: int, rng: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """The picture and its labels; the noise of the sensor comes from the generator.

    Shape: → `(H, W, 3)` uint8, `(H, W)` uint8.
    """
    view = look(canvas, height, width)
    color, glow = view.maps.color, view.maps.glow
    color = color * _brightness(view, weather)
    _lay_slabs(view, color)
    _cut_windows(canvas, view, weather, color, glow)
    _paint_sky(view, weather, color)
    color = _light(canvas, view, weather, color, glow)
    if weather.wet:
        color = _mirror_in_puddles(canvas, view, weather, color, height, width)
    if weather.dark:
        color = color + _halo(glow, height, width)
    thickness = weather.visibility * view.nearness
    fog = 1 / (1 + thickness * thickness)
    color = color + (_column(weather.horizon) - color) * fog
    return _expose(color, weather, height, width, rng), view.maps.labels.reshape(height, width)


def look(canvas: Canvas, height: int, width: int) -> View:
    """Meet the ray of each pixel with the plane that it shows."""
    maps = canvas.maps(height, width)
    right, up = canvas.camera.rays(height, width)
    table = np.array(
        [
            (*s.plane, s.along_x, s.along_z, s.origin, s.ahead, s.frequency, s.contrast, s.paving)
            for s in canvas.surfaces
        ],
        dtype=np.float32,
    )
    a, b, c, along_x, along_z, origin, ahead, frequency, contrast, paving = (
        column.take(maps.surface) for column in np.ascontiguousarray(table.T)
    )
    nearness = np.maximum(a * right + b * up + c, 1 / SKY_DISTANCE)
    z = 1 / nearness
    x = right * z
    u = along_x * x + along_z * z - origin
    v = canvas.camera.height + up * z + ahead * z
    size = z / (canvas.camera.focal * height)
    # du / dright and dv / dup, per metre ahead, where 1 / z = a right + b up + c
    slant_u = np.abs(along_x - (along_x * right + along_z) * a * z)
    slant_v = np.abs(1 - (up + ahead) * b * z)
    return View(
        maps=maps,
        right=right,
        up=up,
        nearness=nearness,
        x=x,
        z=z,
        u=u,
        v=v,
        size=size,
        size_u=size * slant_u,
        size_v=size * slant_v,
        frequency=frequency,
        contrast=contrast,
        paving=paving,
        on_ground=ahead,
    )


def _column(color: Color) -> np.ndarray:
    """A colour that meets `(3, N)`."""
    return np.array(color, dtype=np.float32)[:, None]


def _brightness(view: View, weather: Weather) -> np.ndarray:
    """Stains, those too small for a pixel averaged out, and shadows on the ground."""
    u, v = view.u * view.frequency, view.v * view.frequency
    visible = view.contrast / (1 + 4 * view.size * view.frequency)
    stained = 1 + visible * (stain(u, v) + stain(v / 5, u / 5))
    return stained * (1 - weather.shade * view.maps.shadow * view.on_ground)


def _lay_slabs(view: View, color: np.ndarray) -> None:
    """Joints between the slabs of a sidewalk."""
    at = np.nonzero(view.paving)[0]
    slab = view.paving[at]
    joints = share_of_pulses(view.u[at] / slab, SLAB_JOINT, view.size_u[at] / slab)
    joints += share_of_pulses(view.v[at] / slab, SLAB_JOINT, view.size_v[at] / slab)
    color[:, at] *= 1 - 0.35 * np.minimum(joints, 1)


def _cut_windows(
    canvas: Canvas, view: View, weather: Weather, color: np.ndarray, glow: np.ndarray
) -> None:
    """Joints in the walls of houses; windows with frames, some of them lit; shops below."""
    if not canvas.facades:
        return
    house = np.array([s.facade for s in canvas.surfaces]).take(view.maps.surface)
    at = np.nonzero(house >= 0)[0]
    facades = np.array(canvas.facades, dtype=np.float32).T
    bay, storey, wide, tall, shop, frame, joints, mirror, number, top = (
        column.take(house[at]) for column in np.ascontiguousarray(facades)
    )
    u, v, size_u, size_v = (each[at] for each in (view.u, view.v, view.size_u, view.size_v))
    lines = share_of_pulses(v / COURSE, MORTAR / COURSE, size_v / COURSE)
    wall = color[:, at] * (1 - joints * lines)

    in_shop = (v < storey) & (shop > 0)
    wide = np.where(in_shop, SHOP_WIDE, wide)
    tall = np.where(in_shop, SHOP_TALL, tall)
    across, upward = u / bay, v / storey
    blur_across, blur_upward = size_u / bay, size_v / storey

    def opening(margin: np.ndarray | float) -> np.ndarray:
        """The share of each pixel in windows made smaller all around by a margin in metres."""
        w, t = wide - 2 * margin / bay, tall - 2 * margin / storey
        columns = share_of_pulses(across - (1 - w) / 2, w, blur_across)
        return columns * share_of_pulses(upward - (1 - t) / 2, t, blur_upward)

    among_storeys = (v > 0) & (v < top)
    hole, pane = opening(0.0) * among_storeys, opening(frame) * among_storeys
    mullion = share_of_pulses(2 * across - 0.47, 0.06, 2 * blur_across)
    pane *= 1 - mullion

    column, floor = np.floor(across).astype(np.int32), np.floor(upward).astype(np.int32)
    luck = chance(37 * floor + number.astype(np.int32), 59 * column + floor)
    lit = luck > (LIT_AT_NIGHT if weather.dark else LIT_BY_DAY)
    sky = _column(weather.horizon) * 0.9
    glass = _column(DARK_PANE) + (sky - _column(DARK_PANE)) * (mirror * (1 + luck))
    glass += (_column(LIT_PANE) - glass) * (lit.astype(np.float32) * 0.85)
    wall += (_column(TRIM) - wall) * (hole * 0.6)
    color[:, at] = wall + (glass - wall) * pane
    glow[at] = np.maximum(glow[at], lit * pane * 0.8)


def _paint_sky(view: View, weather: Weather, color: np.ndarray) -> None:
    """A gradient up from the horizon, and clouds that lie in a plane above the street."""
    at = np.nonzero(view.maps.labels == SKY)[0]
    right, up = view.right[at], view.up[at]
    horizon = _column(weather.horizon)
    sky = horizon + (_column(weather.zenith) - horizon) * np.clip(up * 1.6, 0, 1)
    away = 1 / (np.maximum(up, 0) + 0.12)
    shape = stain(right * away / 4, away / 4) + stain(right * away, away) / 2
    cover = np.clip((shape + (weather.clouds - 0.5)) * 2, 0, 1)
    lit = np.minimum(horizon * 0.75 + 0.3 * horizon.max(), 1)
    cloud = lit * (1 - 0.25 * cover)
    color[:, at] = sky + (cloud - sky) * (cover * 0.8)


def _light(
    canvas: Canvas, view: View, weather: Weather, color: np.ndarray, glow: np.ndarray
) -> np.ndarray:
    """Daylight, the light of lamps at night, and what shines by itself; the sky has its own."""
    light = _column(weather.light)
    if weather.dark:
        lamps = np.zeros_like(view.x)
        for x, y, z in canvas.lamps:  # light fades with the square of the distance
            dx, dz, square = view.x - x, view.z - z, (y * y)
            lamps += 0.8 * square / (dx * dx + dz * dz + square)
        light = light + _column(LAMP_LIGHT) * np.minimum(lamps, 1.2)
    shine = glow if weather.dark else glow / 2
    lit = color * (light * (1 - shine) + 1.25 * shine)
    return np.where(view.maps.labels == SKY, color, lit)


def _mirror_in_puddles(
    canvas: Canvas, view: View, weather: Weather, color: np.ndarray, height: int, width: int
) -> np.ndarray:
    """Wet ground is darker, and mirrors what stands above the horizon as far as it lies below."""
    row = 2 * canvas.camera.horizon * height - np.arange(height) - 0.5
    mirrored = np.clip(row.astype(np.int32), 0, height - 1)
    image = color.reshape(3, height, width)[:, mirrored].reshape(3, -1)
    puddle = np.clip((stain(view.x / 3, view.z / 6) + 0.15) * 4, 0, 1)
    share = weather.wet * (0.2 + 0.45 * puddle)
    wet = color * (1 - 0.3 * weather.wet)
    wet += (image * 0.85 - wet) * share
    return np.where(view.on_ground > 0, wet, color)


def _halo(glow: np.ndarray, height: int, width: int) -> np.ndarray:
    """What shines lights up the air around it."""
    source = Image.fromarray(_bytes(glow).reshape(height, width))
    for radius in (0.03, 0.02):
        source = source.filter(ImageFilter.BoxBlur(radius * height))
    return _column(HALO) * (np.asarray(source, dtype=np.float32).ravel() / np.float32(255))


def _expose(
    color: np.ndarray, weather: Weather, height: int, width: int, rng: np.random.Generator
) -> np.ndarray:
    """Exposure, contrast, unsharpness and noise of a camera: `(H, W, 3)` uint8."""
    color = color * weather.exposure
    color = (color - 0.4) * weather.contrast + 0.4
    sharp = Image.fromarray(np.ascontiguousarray(_bytes(color).T).reshape(height, width, 3))
    blurred = np.asarray(sharp.filter(ImageFilter.BoxBlur(weather.blur * height)))
    dice = np.frombuffer(rng.bytes(2 * color.size), dtype=np.uint8).reshape(2, height, width, 3)
    noise = dice[0].astype(np.int16) - dice[1]  # of two even dice: its spread is 104
    grain = noise * np.float32(weather.noise / 104)
    return np.clip(blurred + grain + 0.5, 0, 255).astype(np.uint8)


def _bytes(values: np.ndarray) -> np.ndarray:
    """0 … 1 as 0 … 255."""
    return (np.clip(values, 0, 1) * 255 + 0.5).astype(np.uint8)
