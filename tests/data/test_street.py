"""The parts of a street: geometry against rays, textures against averages, weather by effect."""

import dataclasses
import math

import numpy as np
import pytest

from segformer_edu.data.scenes import CLASSES
from segformer_edu.data.street import greenery, textures, vehicles
from segformer_edu.data.street.camera import Camera
from segformer_edu.data.street.canvas import Canvas, Surface
from segformer_edu.data.street.classes import BUILDING, PERSON, POLE, ROAD, SKY, VEGETATION
from segformer_edu.data.street.layout import draw_street_scene
from segformer_edu.data.street.shading import look, photograph
from segformer_edu.data.street.site import Site, Street
from segformer_edu.data.street.weather import SKIES, Weather, draw_weather

CAMERA = Camera(height=1.7, focal=1.1, horizon=0.45, vanishing=0.1, roll=0.03)
LEVEL = Camera(height=1.5, focal=1.0, horizon=0.5, vanishing=0.0, roll=0.0)
PLAIN = Weather(
    zenith=(0.4, 0.6, 0.9),
    horizon=(0.8, 0.8, 0.8),
    light=(1.0, 1.0, 1.0),
    shade=0.0,
    sun=(0.5, 0.3),
    dark=False,
    clouds=-9.0,
    visibility=1e6,
    wet=0.0,
    exposure=1.0,
    contrast=1.0,
    blur=0.0,
    noise=0.0,
)


def seen(canvas, weather=PLAIN, size=64):
    """A picture in real numbers, and its labels."""
    image, labels = photograph(canvas, weather, size, size, np.random.default_rng(0))
    return image.astype(float), labels


def street(index=0):
    return draw_street_scene(np.random.default_rng(index), PLAIN)


# Geometry


@pytest.mark.parametrize("kind", ["ground", "wall", "facing"])
def test_a_ray_meets_a_plane_where_the_point_that_it_shows_is(kind):
    rng = np.random.default_rng(0)
    share = rng.random(40)
    if kind == "ground":
        plane = CAMERA.ground()
        points = np.stack((rng.uniform(-5, 5, 40), 0 * share, rng.uniform(3, 60, 40)), axis=-1)
    elif kind == "wall":
        start, end = (-4.0, 5.0), (-7.0, 30.0)
        plane = CAMERA.wall(start, end)
        x, z = (a + share * (b - a) for a, b in zip(start, end, strict=True))
        points = np.stack((x, rng.uniform(0, 9, 40), z), axis=-1)
    else:
        plane = CAMERA.facing(12.0)
        points = np.stack((rng.uniform(-5, 5, (40, 2)).T[0], 3 * share, 0 * share + 12), axis=-1)
    size = 2001  # pixels: fine enough to find the one that shows a point
    right, up = (ray.reshape(size, size) for ray in CAMERA.rays(size, size))
    column, row = np.floor(CAMERA.project(points) * size + (size / 2, 0)).astype(int).T
    inside = (column >= 0) & (column < size) & (row >= 0) & (row < size)
    assert inside.sum() > 10
    a, b, c = plane
    for (x, y, z), i, j in zip(points[inside], row[inside], column[inside], strict=True):
        nearness = a * right[i, j] + b * up[i, j] + c
        assert nearness == pytest.approx(1 / z, rel=0.03)
        assert right[i, j] / nearness == pytest.approx(x, abs=0.03 * z)
        assert CAMERA.height + up[i, j] / nearness == pytest.approx(y, abs=0.03 * z)


def test_things_are_seen_as_large_as_similar_triangles_say():
    top, foot, side = LEVEL.project(np.array([(0, 1.5, 10.0), (0, 0, 10.0), (2, 1.5, 10.0)]))
    assert np.allclose(top, (0, 0.5)) and np.allclose(foot, (0, 0.65))
    assert np.allclose(side, (0.2, 0.5))


def test_the_later_polygon_hides_the_earlier_and_a_pixel_has_the_class_in_its_middle():
    canvas = Canvas(LEVEL)
    surface = canvas.facing(1.0)
    far, near = (canvas.paint(label, surface, (0, 0, 0)) for label in (BUILDING, PERSON))
    square = [(-0.5, 1.0, 1.0), (0.5, 1.0, 1.0), (0.5, 2.0, 1.0), (-0.5, 2.0, 1.0)]
    canvas.polygon(far, square)
    canvas.polygon(near, [(x / 2, 1.5 + (y - 1.5) / 2, z) for x, y, z in square])
    labels = canvas.maps(64, 64).labels.reshape(64, 64)
    expected = np.full((64, 64), BUILDING)
    expected[16:48, 16:48] = PERSON
    assert (labels != expected).sum() <= 4 * 32  # an edge may be one pixel off
    assert np.array_equal(labels[17:47, 17:47], expected[17:47, 17:47])
    assert (labels[:15] == BUILDING).all()


def test_a_pixel_has_the_class_that_a_finer_picture_has_in_its_middle():
    for index in range(4):
        few, many = (street(index).maps(n, n).labels.reshape(n, n) for n in (64, 192))
        middle, above, left = (
            np.mean(many[i::3, j::3] == few) for i, j in ((1, 1), (0, 1), (1, 0))
        )
        assert middle > 0.97 and middle > max(above, left) + 0.005


def test_a_pixel_half_covered_has_half_the_colour():
    canvas = Canvas(LEVEL)
    surface = canvas.facing(1.0)
    white, black = (canvas.paint(BUILDING, surface, (tone,) * 3) for tone in (1.0, 0.0))
    canvas.polygon(white, [(-1, 0, 1.0), (1, 0, 1.0), (1, 3, 1.0), (-1, 3, 1.0)])
    canvas.polygon(black, [(-1, 0, 1.0), (1, 0, 1.0), (1, 1.7, 1.0), (-1, 1.2, 1.0)])
    color = canvas.maps(48, 48).color
    assert set(np.unique(color)) >= {0.0, 1.0}
    assert len(np.unique(color)) >= 4  # thirds of a pixel and more


def test_what_stands_nearer_hides_what_stands_further_in_whatever_order_it_was_put():
    site = Site(np.random.default_rng(0), PLAIN)
    painted = []
    for depth in (5.0, 30.0, 12.0):
        site.stand(depth, lambda depth=depth: painted.append(depth))
    site.paint_standing()
    assert painted == [30.0, 12.0, 5.0]


def test_what_would_be_too_small_at_96_pixels_is_too_small_at_any_size():
    site = Site(np.random.default_rng(0), PLAIN)
    focal = site.canvas.camera.focal
    depth = 0.5 * focal * 96 / 5  # here half a metre covers five pixels of 96
    assert not site.small(0.5, depth * 0.99, 5) and site.small(0.5, depth * 1.01, 5)


def test_a_street_bends_as_a_parabola_and_keeps_its_width():
    bent = Street(1.0, 0.01, 4.0, (2.0, 3.0), None, 80.0)
    assert bent.x(0.0, 20.0) == 1.0 + 0.01 * 20**2 / 2
    assert bent.x(2.5, 20.0) - bent.x(0.0, 20.0) == 2.5
    assert bent.edge(-1) == -6.0 and bent.edge(1) == 7.0


# Vehicles


def painted_vehicle(x, z, yaw, name="sedan"):
    canvas = Canvas(LEVEL)
    vehicles.paint_vehicle(canvas, name, (0.2, 0.4, 0.8), x, z, yaw, lit=False)
    return canvas


def materials(canvas):
    """The colours of a vehicle's parts that were painted."""
    used = {paint for _, paint in canvas._polygons}
    return {tuple(canvas._paints[paint][2:5]) for paint in used}


@pytest.mark.parametrize(
    ("x", "yaw", "rear", "front", "side"),
    [
        (0.0, 0.0, True, False, False),
        (0.0, math.pi, False, True, False),
        (4.0, 0.0, True, False, True),
        (-4.0, math.pi, False, True, True),
        (0.0, math.pi / 2, False, False, True),
    ],
)
def test_a_vehicle_shows_the_sides_that_are_turned_to_the_camera(x, yaw, rear, front, side):
    found = materials(painted_vehicle(x, 12.0, yaw))
    assert (vehicles.REAR_LAMP in found) == rear
    assert (vehicles.HEADLAMP in found) == front
    assert (vehicles.MATERIALS[vehicles.HUB] in found) == side


@pytest.mark.parametrize("name", vehicles.MODELS)
@pytest.mark.parametrize("yaw", [0.0, 0.7, math.pi / 2, 4.0])
def test_a_vehicle_stands_on_its_footprint_and_is_as_long_and_as_wide(name, yaw):
    model = vehicles.MODELS[name]
    corners = np.array(vehicles.footprint(name, 1.0, 20.0, yaw))
    assert np.allclose(corners.mean(axis=0), (1.0, 20.0))
    edges = np.linalg.norm(corners - np.roll(corners, 1, axis=0), axis=1)
    assert np.allclose(np.sort(edges)[[0, 2]], (2 * model.half_width, model.length))
    (points,) = painted_vehicle(1.0, 20.0, yaw, name)._points
    away = points[:, [0, 2]] - (1.0, 20.0)
    ahead = away @ (math.sin(yaw), math.cos(yaw))
    aside = away @ (math.cos(yaw), -math.sin(yaw))
    assert np.abs(ahead).max() == pytest.approx(model.length / 2, abs=0.02)
    assert np.abs(aside).max() == pytest.approx(model.half_width, abs=0.01)
    assert points[:, 1].min() == pytest.approx(0, abs=0.02)  # on its wheels


# Textures


def test_the_share_of_pulses_is_the_average_over_a_pixel():
    rng = np.random.default_rng(0)
    at, width, blur = rng.uniform(-3, 3, 50), rng.uniform(0.1, 0.9, 50), rng.uniform(0.05, 4, 50)
    inner = at[:, None] + blur[:, None] * (np.arange(20_000) + 0.5 - 10_000) / 20_000
    counted = (inner % 1 < width[:, None]).mean(axis=1)
    assert np.allclose(textures.share_of_pulses(at, width, blur), counted, atol=1e-3)


def test_stains_are_smooth_and_repeat_without_a_seam():
    period = textures.TILE / textures.CELLS_PER_STAIN
    u = np.linspace(0, period, 5000)
    for turned in (False, True):  # along a row of the table, and along a column

        def along(shift, turned=turned):
            places = (u + shift, 0 * u + 1.3 - shift)
            return textures.stain(*places[::-1] if turned else places)

        assert np.abs(np.diff(along(0))).max() < 0.02
        assert np.allclose(along(period), along(0), atol=1e-6)
    cell = 1 / textures.CELLS_PER_STAIN
    knots = textures.stain(np.array([3 * cell, 4 * cell]), np.array([5 * cell, 5 * cell]))
    assert np.allclose(knots, textures.stain_table()[5, [3, 4]])
    assert np.abs(textures.stain_table()).max() == 1


def test_a_texture_stays_where_it_is_in_the_world_when_the_picture_grows():
    coarse, fine = (look(street(), size, size) for size in (32, 96))
    middle = (slice(1, None, 3), slice(1, None, 3))
    same = fine.maps.surface.reshape(96, 96)[middle] == coarse.maps.surface.reshape(32, 32)
    assert same.mean() > 0.9
    for name in ("x", "z", "u", "v"):
        large = getattr(fine, name).reshape(96, 96)[middle]
        small = getattr(coarse, name).reshape(32, 32)
        assert np.allclose(large[same], small[same], rtol=1e-3, atol=1e-2)


def test_a_pixel_covers_as_much_of_a_texture_as_lies_between_it_and_its_neighbour():
    """Against finite differences, on ground, walls and what faces the camera."""
    size, canvas = 400, street()
    canvas.camera = dataclasses.replace(canvas.camera, roll=0.0)
    view = look(canvas, size, size)
    surface = view.maps.surface.reshape(size, size)
    middle, right, above = np.s_[1:-1, 1:-1], np.s_[1:-1, 2:], np.s_[:-2, 1:-1]
    left, below = np.s_[1:-1, :-2], np.s_[2:, 1:-1]
    alone = np.ones((size - 2, size - 2), dtype=bool)
    for neighbour in (left, right, above, below):
        alone &= surface[middle] == surface[neighbour]
    alone &= (view.nearness.reshape(size, size) > 1 / 60)[middle]
    for name, (first, second) in {"u": (left, right), "v": (below, above)}.items():
        values = getattr(view, name).reshape(size, size)
        measured = np.abs(values[second] - values[first])[alone] / 2
        stated = getattr(view, f"size_{name}").reshape(size, size)[middle][alone]
        assert np.mean(np.abs(measured / stated - 1) < 0.03) > 0.99


# Weather


@pytest.mark.parametrize(
    "change",
    [
        {"wet": 1.0},
        {"dark": True},
        {"visibility": 30.0},
        {"shade": 0.6},
        {"noise": 9.0},
        {"blur": 0.01},
        {"exposure": 0.6},
        {"clouds": 0.9},
    ],
    ids=lambda change: next(iter(change)),
)
def test_weather_changes_the_picture_and_never_the_labels(change):
    canvas = street(3)
    image, labels = seen(canvas)
    changed, same = seen(canvas, dataclasses.replace(PLAIN, **change))
    assert np.array_equal(labels, same)
    assert np.abs(changed - image).max() > 5


def test_fog_hides_what_is_far_more_than_what_is_near():
    canvas = street(3)
    view = look(canvas, 64, 64)
    foggy, _ = seen(canvas, dataclasses.replace(PLAIN, visibility=20.0))
    distance = np.abs(foggy / 255 - 0.8).mean(axis=-1).ravel()
    assert distance[view.nearness < 1 / 200].max() < 0.02
    assert distance[view.nearness > 1 / 8].mean() > 0.15


@pytest.mark.parametrize(("depth", "hidden"), [(60.0, 1 / 2), (20.0, 1 / 10), (180.0, 9 / 10)])
def test_fog_hides_half_of_what_is_as_far_as_one_sees(depth, hidden):
    canvas = Canvas(LEVEL)
    black = canvas.paint(BUILDING, canvas.facing(depth), (0.0, 0.0, 0.0))
    wide = 2 * depth
    canvas.polygon(black, [(-wide, -wide, depth), (wide, -wide, depth), (wide, wide, depth),
                           (-wide, wide, depth)])  # fmt: skip
    image, _ = seen(canvas, dataclasses.replace(PLAIN, visibility=60.0))
    assert image[32, 32] / 255 == pytest.approx([0.8 * hidden] * 3, abs=0.005)


def test_shadow_and_rain_change_the_ground_alone():
    canvas = street(3)
    ground = (look(canvas, 64, 64).on_ground > 0).reshape(64, 64)
    image, labels = seen(canvas)
    assert set(np.unique(labels[ground])) <= {
        CLASSES.index(name) for name in ("road", "sidewalk", "vegetation")
    }
    for change in ({"shade": 0.6}, {"wet": 1.0}):
        changed, _ = seen(canvas, dataclasses.replace(PLAIN, **change))
        assert np.array_equal(changed[~ground], image[~ground])
        assert (changed[ground] != image[ground]).any()
    darker, _ = seen(canvas, dataclasses.replace(PLAIN, shade=0.6))
    assert (darker <= image).all()


def test_a_shadow_falls_where_the_sun_does_not_reach():
    canvas = Canvas(LEVEL)
    road = canvas.paint(ROAD, canvas.surface(Surface(LEVEL.ground(), ahead=1.0)), (0.5,) * 3)
    canvas.polygon(road, [(-90, 0, 1.0), (90, 0, 1.0), (90, 0, 300.0), (-90, 0, 300.0)])
    canvas.shade([(-1, 4.0), (1, 4.0), (1, 8.0), (-1, 8.0)])
    image, _ = seen(canvas, dataclasses.replace(PLAIN, shade=0.5))
    inside, beside = ((0, 0, 6.0), (2, 0, 6.0))
    for point, level in ((inside, 64), (beside, 128)):
        x, y = LEVEL.project(np.array([point]))[0] * 64 + (32, 0)
        assert image[int(y), int(x)] == pytest.approx(level, abs=2)


def test_wet_ground_mirrors_what_stands_above_it():
    canvas = Canvas(LEVEL)
    sky = canvas.paint(SKY, canvas.surface(Surface((0.0, 0.0, 0.0))), (0, 0, 0))
    canvas.polygon(sky, [(-900, -900, 300.0), (900, -900, 300.0), (900, 900, 300.0),
                         (-900, 900, 300.0)])  # fmt: skip
    road = canvas.paint(ROAD, canvas.surface(Surface(LEVEL.ground(), ahead=1.0)), (0.2,) * 3)
    canvas.polygon(road, [(-90, 0, 1.0), (90, 0, 1.0), (90, 0, 300.0), (-90, 0, 300.0)])
    red = canvas.paint(BUILDING, canvas.facing(20.0), (1.0, 0.0, 0.0))
    canvas.polygon(red, [(-8, 0, 20.0), (0, 0, 20.0), (0, 20, 20.0), (-8, 20, 20.0)])
    image, labels = seen(canvas, dataclasses.replace(PLAIN, wet=1.0))
    reddish = image[..., 0] - image[..., 1]
    ground = (labels == ROAD) & (np.arange(64)[:, None] > 36)
    left, right = ground.copy(), ground.copy()
    left[:, 34:], left[:, :10], right[:, :40] = False, False, False
    assert reddish[left & (np.arange(64)[:, None] < 50)].mean() > 20
    assert reddish[right].max() < 5


def test_at_night_lamps_light_what_is_near_them():
    canvas = Canvas(LEVEL)
    road = canvas.paint(ROAD, canvas.surface(Surface(LEVEL.ground(), ahead=1.0)), (0.5,) * 3)
    canvas.polygon(road, [(-90, 0, 1.0), (90, 0, 1.0), (90, 0, 300.0), (-90, 0, 300.0)])
    night = dataclasses.replace(PLAIN, dark=True, light=(0.2, 0.2, 0.2))
    without, _ = seen(canvas, night)
    canvas.lamps.append((2.0, 4.0, 10.0))
    lit, _ = seen(canvas, night)
    gain = (lit - without).mean(axis=-1)
    near, far = (LEVEL.project(np.array([p]))[0] * 64 + (32, 0) for p in ((2, 0, 10), (-6, 0, 14)))
    at_lamp, away = (gain[int(y), int(x)] for x, y in (near, far))
    assert at_lamp > 60 and at_lamp > 3 * away
    by_day, _ = seen(canvas, dataclasses.replace(night, dark=False))
    assert np.array_equal(by_day, without)


def test_noise_is_as_strong_as_it_says_and_blur_softens_edges():
    canvas = Canvas(LEVEL)
    grey = canvas.paint(BUILDING, canvas.facing(5.0), (0.5,) * 3)
    canvas.polygon(grey, [(-9, -9, 5.0), (9, -9, 5.0), (9, 9, 5.0), (-9, 9, 5.0)])
    flat, _ = seen(canvas)
    assert len(np.unique(flat)) == 1
    noisy, _ = seen(canvas, dataclasses.replace(PLAIN, noise=6.0))
    assert noisy.std() == pytest.approx(6.0, rel=0.05)
    assert noisy.mean() == pytest.approx(flat.mean(), abs=0.3)
    busy = street(3)
    sharp, _ = seen(busy)
    soft, _ = seen(busy, dataclasses.replace(PLAIN, blur=0.02))
    assert np.abs(np.diff(soft, axis=1)).mean() < 0.7 * np.abs(np.diff(sharp, axis=1)).mean()


def test_weathers_come_as_often_as_they_should():
    assert sum(sky.percent for sky in SKIES.values()) == 100
    drawn = [draw_weather(np.random.default_rng([1, i])) for i in range(1500)]
    dark = np.mean([weather.dark for weather in drawn])
    assert dark == pytest.approx(0.15, abs=0.03)
    assert np.mean([weather.visibility < 100 for weather in drawn]) == pytest.approx(0.1, abs=0.03)
    wet = np.mean([weather.wet > 0 for weather in drawn])
    assert wet == pytest.approx(0.45 * 0.43, abs=0.03)
    assert not any(weather.wet and weather.sunny and not weather.dark for weather in drawn)


def test_windows_glow_more_often_at_night():
    """Pixels of walls as bright as a lit pane, under the same light by day and by night."""
    lit = {}
    for dark in (False, True):
        weather = dataclasses.replace(PLAIN, dark=dark, light=(0.1, 0.1, 0.1))
        pictures = [seen(street(index), weather, 96) for index in range(8)]
        lit[dark] = sum(
            ((labels == BUILDING) & (image[..., 0] > 150)).sum() for image, labels in pictures
        )
    assert lit[True] > 3 * max(lit[False], 10)


@pytest.mark.parametrize(("label", "least"), [(POLE, 2.0), (PERSON, 2.0)])
def test_poles_and_people_are_never_painted_thinner_than_two_pixels_of_96(label, least):
    """A thinner line would be lost in a map with a quarter of the side."""
    found = 0
    for index in range(40):
        canvas = street(index)
        corners = canvas.camera.project(np.concatenate(canvas._points))
        ends = np.cumsum([count for count, _ in canvas._polygons])
        things = {}
        for (count, paint), end in zip(canvas._polygons, ends, strict=True):
            if canvas._paints[paint][0] == label:  # all parts of one thing share a surface
                thing = things.setdefault(canvas._paints[paint][1], [])
                thing.append(corners[end - count : end])
        found += len(things)
        for parts in things.values():
            assert 96 * np.ptp(np.concatenate(parts)[:, 0]) > least
    assert found > 40


def test_leaves_are_vegetation_wherever_they_grow():
    canvas = Canvas(LEVEL)
    rng = np.random.default_rng(0)
    greenery.paint_tree(canvas, rng, -2.0, 10.0, 6.0)
    greenery.paint_bush(canvas, rng, 1.0, 8.0, 1.0)
    greenery.paint_hedge(canvas, rng, (3.0, 5.0), (3.0, 12.0), 1.5, 0.8)
    labels = canvas.maps(64, 64).labels
    assert {paint[0] for paint in canvas._paints} == {VEGETATION}
    assert (labels == VEGETATION).sum() > 200
