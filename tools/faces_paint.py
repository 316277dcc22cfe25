"""From a person and a shot to a picture: pose, alignment, solid textures, light, camera.

Skin, brows, beard, hair and eyes are functions of the reference head's coordinates (x left, y back, z up, in meters,
origin between the eyes), so no texture image and no photograph is used.
"""

import io

import numpy as np
from faces_head import EYE, LASH, SKIN, TEETH, TONGUE, Head
from faces_people import Person, Shot
from faces_raster import rasterize, similarity, vertex_normals
from PIL import Image, ImageFilter

from faceloss.data.keys import generator

OVERSAMPLING = 3
# Where the eyes, the nose tip and the mouth corners lie in an aligned crop, as in the usual 112 x 112 ArcFace template.
TEMPLATE = np.array([[73.53, 51.50], [38.29, 51.70], [56.03, 71.74], [70.73, 92.20], [41.55, 92.37]]) / 112
EYE_X, EYE_RADIUS = 0.0313, 0.0156
LIPS, LIDS, EARS, MOUTH = range(4)


def picture(head: Head, who: Person, how: Shot, seed: int, identity: int, image: int, size: int) -> bytes:
    """The encoded JPEG of one picture."""
    rng = generator(seed, identity, "camera", image)
    linear, seen = _render(head, who, how, rng, size * OVERSAMPLING)
    ground = _background(rng, size * OVERSAMPLING)
    linear = np.where(seen[..., None], linear, ground)
    return _camera(_occlude(linear, rng), rng, size)


def _render(head: Head, who: Person, how: Shot, rng: np.random.Generator, size: int) -> tuple[np.ndarray, np.ndarray]:
    vertices = head.vertices(who.phenotype, who.shape, how.action).astype(np.float64)
    hair = _hair_mask(head.reference, who, how) * (head.parts == SKIN) * np.clip(1 - 2 * head.masks[:, EARS], 0, 1)
    normals = vertex_normals(vertices, head.triangles)
    thick = 0.012 if how.hat is not None else who.volume * how.grooming
    vertices = vertices + normals * (hair * thick)[:, None]
    normals = vertex_normals(vertices, head.triangles)

    eyes = np.concatenate(head.landmarks[:2])
    turn = _rotation(how)
    vertices, normals = (vertices - vertices[eyes].mean(axis=0)) @ turn.T, normals @ turn.T
    away = how.distance + vertices[:, 1]
    flat = np.stack([vertices[:, 0], -vertices[:, 2]], axis=1) / away[:, None]
    scale, shift = similarity(np.array([flat[group].mean(axis=0) for group in head.landmarks]), TEMPLATE)
    z = (flat @ (1, 1j)) * scale + shift
    zoom = np.exp(how.jitter[0] + 1j * how.jitter[1])
    z = (z - (0.5 + 0.5j)) * zoom + (0.5 + 0.5j) + how.jitter[2] + 1j * how.jitter[3]
    points = np.stack([z.real, z.imag], axis=1) * size

    hit, mix = rasterize(points, away, head.triangles, size)
    seen = hit >= 0
    corners, mix = head.triangles[hit[seen]], mix[seen]

    def blend(values: np.ndarray) -> np.ndarray:
        return np.einsum("pk,pk...->p...", mix, values[corners])

    parts = head.parts[corners[:, 0]]
    place, normal = blend(head.reference), blend(normals)
    normal /= np.maximum(np.linalg.norm(normal, axis=1, keepdims=True), 1e-9)
    masks, hairy = blend(head.masks), np.clip(blend(hair), 0, 1)
    albedo, gloss = _paint(place, masks, hairy, parts, who, how, rng)
    lit = _shadow(vertices, how.light, head.triangles, blend(vertices) + normal * 0.002)
    color = _shade(albedo, gloss, normal, lit * (1 - 0.7 * masks[:, MOUTH]), how)
    color *= (1 - 0.6 * masks[:, MOUTH] * (parts == SKIN))[:, None]
    out = np.zeros((size, size, 3))
    out[seen] = color
    return out, seen


def _rotation(how: Shot) -> np.ndarray:
    (cy, sy), (cp, sp), (cr, sr) = ((np.cos(a), np.sin(a)) for a in (how.yaw, how.pitch, how.roll))
    yaw = np.array([[cy, -sy, 0], [sy, cy, 0], [0, 0, 1]])
    pitch = np.array([[1, 0, 0], [0, cp, -sp], [0, sp, cp]])
    roll = np.array([[cr, 0, sr], [0, 1, 0], [-sr, 0, cr]])
    return roll @ pitch @ yaw


def _ramp(x: np.ndarray, low: float, high: float) -> np.ndarray:
    """0 below ``low``, 1 above ``high``, smooth between."""
    t = np.clip((x - low) / (high - low), 0, 1)
    return t * t * (3 - 2 * t)


def _hair_mask(place: np.ndarray, who: Person, how: Shot) -> np.ndarray:
    """1 where hair (or a hat) grows, 0 on the face, from the azimuth around the head and the height."""
    x, y, z = place.T
    around = np.abs(np.arctan2(x, -(y - 0.075)))  # 0 in front, pi at the back
    if how.hat is not None:
        return _ramp(z, 0.040, 0.046)
    front, temple, peak, fringe = how.hairline
    line = front + temple * _ramp(around, 0.25, 0.7) - peak * np.exp(-((x / 0.012) ** 2))
    if fringe:
        line = np.minimum(line, fringe + 0.012 * np.cos(x * 60 + who.curl * 6))
    line = line - (line + 0.01) * _ramp(around, 0.95, 1.35) - 0.09 * _ramp(around, 1.55, 2.0)
    if who.bald:
        line = np.where(around < 1.7, 1.0, line)
    return _ramp(z - line, -0.003, 0.005)


def _waves(place: np.ndarray, waves: np.ndarray, scale: float) -> np.ndarray:
    """Smooth random values around 0 with standard deviation 1."""
    return np.cos(place * scale @ waves[:, :3].T + waves[:, 3]).sum(axis=1) / np.sqrt(len(waves) / 2)


def _paint(
    place: np.ndarray,
    masks: np.ndarray,
    hairy: np.ndarray,
    parts: np.ndarray,
    who: Person,
    how: Shot,
    rng: np.random.Generator,
) -> tuple[np.ndarray, np.ndarray]:
    """Linear albedo [P,3] and gloss [P] of every seen point."""
    x, y, z = place.T
    side = np.abs(x)
    front = _ramp(-y, -0.05, -0.01)
    skin = np.tile(who.skin * np.exp(-0.12 * how.tan * np.array([0.7, 1.0, 1.2])), (len(x), 1))
    skin *= 1 + 0.022 * _waves(place, who.waves, 1.0)[:, None] * np.array([0.6, 1.0, 1.1])
    red = np.exp(-(((side - 0.038) / 0.016) ** 2) - ((z + 0.038) / 0.016) ** 2)
    red += 0.8 * np.exp(-((x / 0.014) ** 2) - ((z + 0.040) / 0.014) ** 2) + 0.6 * masks[:, EARS]
    skin *= 1 + (0.13 * who.ruddy * red * front)[:, None] * np.array([0.25, -1.0, -0.9])
    under = np.exp(-(((side - 0.030) / 0.013) ** 2) - ((z + 0.016) / 0.006) ** 2)
    skin *= 1 - (0.16 * (who.phenotype["age"] - 0.4) * under * front)[:, None]
    if who.freckles:
        dots = _ramp(_waves(place, who.waves, 9.0), 0.9, 1.5) * np.exp(-(((z + 0.03) / 0.025) ** 2)) * front
        skin *= 1 - (0.30 * who.freckles * dots)[:, None] * np.array([0.6, 1.0, 1.2])
    for mole_x, mole_z, radius in who.moles:
        near = np.exp(-((x - mole_x) ** 2 + (z - mole_z) ** 2) / (radius**2 + 1e-7)) * front * (radius > 0.0012)
        skin *= 1 - 0.6 * near[:, None]
    lips = np.clip(masks[:, LIPS] * 1.2, 0, 1) * min(1.0, 0.35 + 0.45 * who.lips * how.makeup)
    skin = _over(skin, skin * [0.92, 0.58, 0.60], lips)
    skin = _over(skin, skin * 0.80, 0.6 * masks[:, LIDS])

    brow_z, thickness, arch, density = who.brow
    run = (side - 0.011) / 0.038
    middle = brow_z + arch * np.sin(np.clip(run, 0, 1) * 2.2) - 0.004 * np.clip(run - 0.55, 0, 1)
    body = _ramp(run, -0.08, 0.12) * (1 - _ramp(run, 0.8, 1.05))
    brow = np.exp(-(((z - middle) / (thickness * (1.15 - 0.5 * np.clip(run, 0, 1)))) ** 2)) * body * front
    skin = _over(skin, np.broadcast_to(np.minimum(who.hair * 0.75, 0.36), skin.shape), density * brow)

    mustache, jaw = (how.shave * amount for amount in who.beard)
    upper = _ramp(z, -0.070, -0.063) * (1 - _ramp(z, -0.053, -0.048)) * (1 - _ramp(side, 0.022, 0.032))
    lower = 1 - _ramp(z + 0.9 * np.maximum(side - 0.03, 0) * -1.0, -0.090, -0.075)
    lower = np.maximum(lower, _ramp(side, 0.052, 0.066) * (1 - _ramp(z, -0.03, 0.0)) * (1 - front * 0.4))
    beard = np.maximum(mustache * upper * front, jaw * lower) * (1 - masks[:, LIPS]) * (1 - masks[:, EARS])
    skin = _over(skin, np.broadcast_to(who.hair * 0.8 + 0.04, skin.shape), 0.85 * beard * (z > -0.14))

    flow = rng.normal(0, 1, (12, 3)) * ((500, 250, 90 + 400 * who.curl))  # strands fall; curls go everywhere
    strand = 0.80 + 0.13 * _waves(place, np.column_stack([flow, who.waves[:, 3]]), 1.0)
    if how.hat is None:
        skin = _over(skin, who.hair * strand[:, None], hairy)
        shine = 0.10 * (1 - hairy) + 0.12 * hairy * strand
    else:
        skin = _over(skin, np.broadcast_to(how.hat, skin.shape), hairy)
        shine = 0.10 * (1 - hairy)
    if how.glasses is not None:
        ring = np.abs(np.hypot(np.maximum(side - EYE_X, 0) * 0.9 + np.maximum(EYE_X - side, 0), z * 1.1) - 0.021)
        frame = np.maximum(1 - _ramp(ring, 0.0012, 0.0024), (side < 0.012) * (np.abs(z - 0.004) < 0.0015))
        frame = np.maximum(frame, (side > 0.052) * (np.abs(z - 0.002) < 0.0018)) * (y < 0.06)
        skin = _over(skin, np.broadcast_to(how.glasses, skin.shape), frame)
    clothes = 1 - _ramp(z + 0.3 * np.minimum(y, 0), -0.175, -0.165)
    skin = _over(skin, np.broadcast_to(how.clothes, skin.shape), clothes)

    color = skin
    color[parts == EYE] = _eyes(place[parts == EYE], who)
    color[parts == TEETH] = (0.86, 0.82, 0.74)
    color[parts == TONGUE] = (0.62, 0.30, 0.30)
    color[parts == LASH] = 0.7 * np.minimum(who.hair * 0.6, 0.2) + 0.3 * who.skin * 0.6
    inner = (parts == SKIN) * masks[:, MOUTH]
    color = _over(color, np.broadcast_to((0.30, 0.10, 0.10), color.shape), inner)
    gloss = np.where(parts == EYE, 0.6, np.where(parts == TEETH, 0.25, shine + 0.10 * masks[:, LIPS]))
    return np.clip(color, 0, 1) ** 2.2, gloss


def _eyes(place: np.ndarray, who: Person) -> np.ndarray:
    """White, iris and pupil by the distance from the front pole of the eyeball.  # [P,3]"""
    off = np.hypot(np.abs(place[:, 0]) - EYE_X, place[:, 2] - 0.001) + np.where(place[:, 1] > 0, 1.0, 0.0)
    color = np.tile([0.88, 0.86, 0.84], (len(place), 1))
    color = _over(color, np.broadcast_to(who.iris, color.shape), 1 - _ramp(off, 0.0064, 0.0072))
    return _over(color, np.full(color.shape, 0.03), 1 - _ramp(off, 0.0024, 0.0031))


def _over(below: np.ndarray, above: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    return below + (above - below) * np.asarray(alpha)[:, None]


def _shadow(vertices: np.ndarray, light: np.ndarray, triangles: np.ndarray, points: np.ndarray) -> np.ndarray:
    """1 where the key light reaches the point, 0 in shadow, soft between: a shadow map of 128 x 128.  # [P]"""
    right = np.cross(light, (0.0, 0.0, 1.0))
    right /= np.linalg.norm(right)
    across = np.stack([right, np.cross(right, light)], axis=1)
    size, span = 128, 0.42

    def to_map(where: np.ndarray) -> np.ndarray:
        return ((where - (0, 0.06, -0.03)) @ across / span + 0.5) * size

    hit, mix = rasterize(to_map(vertices), -(vertices @ light), triangles, size)
    depth = np.where(hit >= 0, (mix * (vertices @ light)[triangles[hit]]).sum(axis=2), -1.0)
    at, own = to_map(points), points @ light
    lit = np.zeros(len(points))
    for dx in (-1.2, 0.0, 1.2):
        for dy in (-1.2, 0.0, 1.2):
            column, row = (np.clip(at[:, k] + d, 0, size - 1).astype(int) for k, d in ((0, dx), (1, dy)))
            lit += 1 - _ramp(depth[row, column] - own, 0.002, 0.007)
    return lit / 9


def _shade(albedo: np.ndarray, gloss: np.ndarray, normal: np.ndarray, lit: np.ndarray, how: Shot) -> np.ndarray:
    facing = normal @ how.light
    wrap = np.array([0.18, 0.10, 0.06])  # light bleeds around edges, red most: a cheap subsurface scattering
    diffuse = np.clip((facing[:, None] + wrap) / (1 + wrap), 0, 1) * (0.12 + 0.88 * lit)[:, None]
    opposite = np.clip(normal @ (how.light * [-1, 1, 0.3]), 0, 1)
    sky = 0.65 + 0.35 * normal[:, 2] + 0.15 * np.clip(-normal[:, 1], 0, 1)
    half = how.light + np.array([0, -1.0, 0])
    shine = np.clip(normal @ (half / np.linalg.norm(half)), 0, 1) ** 22 * lit * gloss
    light = how.key * diffuse + how.fill * opposite[:, None] + how.ambient * sky[:, None]
    return albedo * light + shine[:, None] * how.key


def _background(rng: np.random.Generator, size: int) -> np.ndarray:
    """A blurred random scene: a gradient and colored noise at two scales.  # [S,S,3]"""
    noise = np.zeros((size, size, 3))
    for cells, amount in ((3, 0.5), (9, 0.25)):
        small = (rng.uniform(0, 1, (cells, cells, 3)) * 255).astype(np.uint8)
        noise += amount * np.asarray(Image.fromarray(small).resize((size, size), Image.Resampling.BICUBIC)) / 255
    gray = noise.mean(axis=2, keepdims=True)
    return np.clip(gray + (noise - gray) * rng.uniform(0, 0.5), 0, 1) ** rng.uniform(1.0, 3.5)


def _occlude(linear: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """With probability 0.08, something in front: a soft-edged disk that comes in from the border."""
    if rng.random() > 0.08:
        return linear
    size = len(linear)
    angle, radius, depth = rng.uniform(0, 2 * np.pi), rng.uniform(0.25, 0.6), rng.uniform(0.10, 0.28)
    middle = 0.5 + (0.5 + radius - depth) * np.array([np.cos(angle), np.sin(angle)])
    row, column = np.mgrid[:size, :size] / size
    alpha = 1 - _ramp(np.hypot(column - middle[0], row - middle[1]), radius - 0.01, radius + 0.01)
    color = rng.uniform(0.02, 0.5) * rng.uniform(0.7, 1.3, 3) * (1 + 0.3 * (column + row - 1))[..., None]
    return linear + (color - linear) * alpha[..., None]


def _camera(linear: np.ndarray, rng: np.random.Generator, size: int) -> bytes:
    """Exposure, white balance, tone curve, down-sampling, blur, noise, JPEG."""
    big = len(linear)
    gain = np.exp(rng.normal(0, 0.22) + rng.normal(0, 0.05, 3))
    level = 1 - np.exp(-1.6 * linear * gain)  # a soft shoulder instead of clipped highlights
    tone = np.clip(level, 0, 1) ** (1 / rng.uniform(1.9, 2.5))
    image = Image.fromarray((tone * 255 + 0.5).astype(np.uint8))
    soft = rng.uniform(0, 0.75) * big / size
    image = image.filter(ImageFilter.GaussianBlur(soft)).resize((size, size), Image.Resampling.BOX)
    noisy = np.asarray(image) + rng.normal(0, rng.uniform(0.5, 5.0), (size, size, 3))
    saturation = rng.uniform(0.7, 1.15)
    gray = noisy.mean(axis=2, keepdims=True)
    final = np.clip(gray + (noisy - gray) * saturation + 0.5, 0, 255).astype(np.uint8)
    file = io.BytesIO()
    Image.fromarray(final).save(file, "JPEG", quality=int(rng.integers(68, 88)), optimize=True)
    return file.getvalue()
