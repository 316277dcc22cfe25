"""What is true of every picture and every identity, as rows of two tables."""

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from faceloss.data.generated.camera import Camera
from faceloss.data.generated.head import ORIGINS, Floats, Head
from faceloss.data.generated.people import years
from faceloss.data.generated.plan import Plan, Slot, draw_person
from faceloss.data.generated.shots import Shot
from faceloss.progress import Callback

IMAGE_COLUMNS = (
    *("file", "identity", "group", "label", "true_identity", "image"),
    *("yaw", "pitch", "roll", "distance", "light_side", "light_up", "light", "fill", "ambient"),
    *("expression", "years", "hat", "glasses", "other_haircut", "covered", "exposure", "blur", "noise", "quality"),
)
IDENTITY_COLUMNS = (
    *("identity", "group", "images", "twin_of", "twin_distance", "twin_mm"),
    *("gender", "years", *ORIGINS, "skin", "hair", "iris"),
)


def image_row(slot: Slot, names: Sequence[str], groups: Sequence[str], facts: dict[str, Any]) -> list[str]:
    """A row of images.csv. ``group`` is that of the label, as a table of real faces would have it."""
    shown = "" if slot.kind == "outlier" else names[slot.keys[0]]
    row = {
        "file": slot.file,
        "identity": names[slot.label],
        "group": groups[slot.label],
        "label": slot.kind or "right",
        "true_identity": shown,
        "image": slot.keys[1],
        **facts,
    }
    return [str(row[name]) for name in IMAGE_COLUMNS]


def facts_of(how: Shot, camera: Camera, own_haircut: bool, covered: float) -> dict[str, Any]:
    """How a picture was taken, in the columns of images.csv that do not say who is shown."""
    found: dict[str, Any] = {
        "yaw": how.yaw,
        "pitch": how.pitch,
        "roll": how.roll,
        "distance": how.distance,
        "light_side": how.light_angles[0],
        "light_up": how.light_angles[1],
        "light": float(how.key.mean()),
        "fill": float(how.fill.mean()),
        "ambient": float(how.ambient.mean()),
        "years": how.years,
        "covered": covered,
        "exposure": float(np.log(camera.gain).mean()),
        "blur": camera.blur,
        "noise": camera.noise,
    }
    return {name: f"{value:.4f}" for name, value in found.items()} | {
        "expression": "; ".join(f"{name} {strength:.2f}" for name, strength in how.expression),
        "hat": int(how.hat is not None),
        "glasses": int(how.glasses is not None),
        "other_haircut": int(not own_haircut),
        "quality": camera.quality,
    }


def identity_rows(head: Head, planned: Plan, seed: int, progress: Callback) -> Iterator[list[str]]:
    """The rows of identities.csv: what each head was made of."""
    for who, name, count in zip(planned.people, planned.names, planned.counts, strict=True):
        progress("describing identities", who.number, len(planned.people))
        made = draw_person(head.shapes, seed, who)
        twin = ["", "", ""]
        if who.twin_of >= 0:
            other = draw_person(head.shapes, seed, planned.people[who.twin_of])
            apart = head.vertices(made.phenotype, made.shape, {}) - head.vertices(other.phenotype, other.shape, {})
            apart -= apart.mean(axis=0)
            rms = 1000 * float(np.sqrt((apart**2).sum(axis=1).mean()))
            twin = [planned.names[who.twin_of], f"{who.distance:g}", f"{rms:.2f}"]
        yield [
            *(name, who.group, str(count), *twin),
            *(f"{made.phenotype['gender']:.3f}", f"{years(made):.1f}"),
            *(f"{made.phenotype[origin]:.3f}" for origin in ORIGINS),
            *(_hex(color) for color in (made.skin, made.hair, made.iris)),
        ]


def _hex(color: Floats) -> str:
    return "#" + bytes(int(c * 255) for c in color.clip(0, 1)).hex()


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A CSV."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()
