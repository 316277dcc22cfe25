"""From a person and a shot to a picture: pose, alignment, textures, light, camera."""

from typing import NamedTuple

import numpy as np

from faceloss.data.generated.camera import Camera, background, develop, occlude
from faceloss.data.generated.head import EARS, MOUTH, SKIN, Floats, Head
from faceloss.data.generated.paint import hair_mask, paint, ramp
from faceloss.data.generated.people import Person
from faceloss.data.generated.raster import Integers, rasterize, vertex_normals
from faceloss.data.generated.shots import Shot

OVERSAMPLING = 3
# Where the eyes, the nose tip and the mouth corners lie in an aligned crop of width 1: the ArcFace template.
TEMPLATE = np.array([[73.53, 51.50], [38.29, 51.70], [56.03, 71.74], [70.73, 92.20], [41.55, 92.37]]) / 112


class Picture(NamedTuple):
    """An encoded JPEG, and how much of it is covered by something in front of the face, 0..1."""

    data: bytes
    covered: float


def picture(head: Head, who: Person, how: Shot, camera: Camera, size: int, oversampling: int = OVERSAMPLING) -> Picture:
    """Draw ``who`` as ``how`` and ``camera`` say, ``size`` pixels a side, with oversampling^2 points for each."""
    side = size * oversampling
    pixels, color = _render(head, who, how, camera.flow, side)
    linear = np.empty((3, side * side))
    behind = np.ones(side * side, bool)
    behind[pixels] = False
    empty = np.flatnonzero(behind)
    linear[:, pixels], linear[:, empty] = color, background(camera, side, empty)
    covered = 0.0
    if camera.disk is not None:
        linear, covered = occlude(linear, side, camera.disk)
    return Picture(develop(linear, side, camera, size), covered)


def _render(head: Head, who: Person, how: Shot, flow: Floats, side: int) -> tuple[Integers, Floats]:
    """The pixels that the head covers [P], and their linear color [3,P]."""
    a = head.arrays
    triangles, masks = a.triangles, a.masks.T
    vertices = head.vertices(who.phenotype, who.shape, how.action)
    # In single precision, as the built-in faces have it: hair moves vertices, and 1e-4 pixels show in one JPEG of 400.
    hair = hair_mask(a.reference.T, who, how) * (a.parts == SKIN) * np.clip(1 - 2 * masks[EARS], 0, 1)
    thick = 0.012 if how.hat is not None else who.volume * how.grooming
    vertices = vertices + vertex_normals(vertices, triangles) * (hair * thick)[:, None]
    normals = vertex_normals(vertices, triangles)

    turn = _rotation(how)
    vertices = (vertices - (a.landmarks[:2] @ vertices).mean(axis=0)) @ turn.T
    normals = normals @ turn.T
    away = how.distance + vertices[:, 1]
    hits = rasterize(_to_crop(vertices, away, a.landmarks, how) * side, away, triangles, side)

    corners, weights = triangles[hits.triangle].T, hits.weights.T  # [3,P]
    known = np.concatenate([a.reference.T, normals.T, masks, vertices.T, hair[None]])  # [14,V]
    place, normal, masks, where, hairy = np.split(_blend(known, corners, weights), [3, 6, 10, 13])
    normal = normal / np.maximum(np.sqrt((normal**2).sum(axis=0)), 1e-9)
    parts = a.parts[corners[0]]
    albedo, gloss = paint(place, masks, np.clip(hairy[0], 0, 1), parts, who, how, flow)
    lit = _lit(vertices, how.light, triangles, where + normal * 0.002)
    color = _shade(albedo, gloss, normal, lit * (1 - 0.7 * masks[MOUTH]), how)
    return hits.pixel, color * (1 - 0.6 * masks[MOUTH] * (parts == SKIN))


def _blend(known: Floats, corners: Integers, weights: Floats) -> Floats:
    """What is ``known`` [C,V] of vertices at points with the given ``corners`` [3,P] and ``weights`` [3,P].  # [C,P]"""
    mixed = np.empty((len(known), corners.shape[1]))
    for row, values in zip(mixed, known, strict=True):
        np.multiply(values[corners[0]], weights[0], out=row)
        row += values[corners[1]] * weights[1]
        row += values[corners[2]] * weights[2]
    return mixed


def _rotation(how: Shot) -> Floats:
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (how.yaw, how.pitch, how.roll))
    yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    turn: Floats = roll @ pitch @ yaw
    return turn


def _to_crop(vertices: Floats, away: Floats, landmarks: Floats, how: Shot) -> Floats:
    """Perspective, then the similarity that brings the landmarks to the template, then the jitter.  # [V,2]"""
    flat = np.stack([vertices[:, 0], -vertices[:, 2]], axis=1) / away[:, None]
    scale, shift = _similarity(landmarks @ flat, TEMPLATE)
    z = (flat @ (1, 1j)) * scale + shift
    zoom = np.exp(how.jitter[0] + 1j * how.jitter[1])
    z = (z - (0.5 + 0.5j)) * zoom + (0.5 + 0.5j) + how.jitter[2] + 1j * how.jitter[3]
    return np.stack([z.real, z.imag], axis=1)


def _similarity(source: Floats, target: Floats) -> tuple[complex, complex]:
    """The least-squares scale, rotation and shift z -> a z + b that takes source [n,2] to target [n,2]."""
    z, w = source @ (1, 1j), target @ (1, 1j)
    a = np.vdot(z - z.mean(), w - w.mean()) / np.vdot(z - z.mean(), z - z.mean()).real
    return complex(a), complex(w.mean() - a * z.mean())


def _lit(vertices: Floats, light: Floats, triangles: Integers, points: Floats) -> Floats:
    """1 where the key light reaches the point, 0 in shadow, soft between: a shadow map of 128 x 128.  # [P]

    points:  [3,P]
    """
    right = np.cross(light, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    across = np.stack([right, np.cross(right, light)])
    size, span = 128, 0.42

    def to_map(where: Floats) -> Floats:
        on_map: Floats = (across @ (where - np.array([[0], [0.06], [-0.03]])) / span + 0.5) * size
        return on_map

    hits = rasterize(to_map(vertices.T).T, -(vertices @ light), triangles, size)
    depth = np.full(size * size, -1.0)
    depth[hits.pixel] = -hits.depth
    at, own = to_map(points), light @ points
    steps = (-1.2, 0.0, 1.2)
    columns, rows = ([np.clip(at[k] + d, 0, size - 1).astype(np.int64) for d in steps] for k in (0, 1))
    shade = np.zeros(points.shape[1])
    for column in columns:
        for row in rows:
            shade += ramp(depth[row * size + column] - own, 0.002, 0.007)
    return 1 - shade / 9


def _shade(albedo: Floats, gloss: Floats, normal: Floats, lit: Floats, how: Shot) -> Floats:
    """Linear color under a key light, a fill light from the other side and light from everywhere.  # [3,P]"""
    wrap = np.array([[0.18], [0.10], [0.06]])  # light bleeds around edges, red most: a cheap subsurface scattering
    diffuse = np.clip((how.light @ normal + wrap) / (1 + wrap), 0, 1) * (0.12 + 0.88 * lit)
    opposite = np.clip((how.light * [-1, 1, 0.3]) @ normal, 0, 1)
    sky = 0.65 + 0.35 * normal[2] + 0.15 * np.clip(-normal[1], 0, 1)
    half = how.light + np.array([0, -1.0, 0])
    shine = np.clip(half / np.linalg.norm(half) @ normal, 0, 1) ** 22 * lit * gloss
    key, fill, ambient = (color[:, None] for color in (how.key, how.fill, how.ambient))
    color: Floats = albedo * (key * diffuse + fill * opposite + ambient * sky) + shine * key
    return color
