"""Measured numbers as flat records: one JSON object each, without arrays."""

from typing import Any

from faceloss.evaluate.cells import Measured
from faceloss.evaluate.groups import GroupRate
from faceloss.evaluate.openset import OpenSetCurve

Record = dict[str, Any]
OPTIONAL = {"gallery": None, "group": "", "corruption": "", "level": None}  # left out where they say nothing


def result_record(row: Measured) -> Record:
    """``{"kind": "result", ...}``: all fields but the influence; the last ones only where they say something."""
    facts = {key: value for key, value in row._asdict().items() if key != "influence"}
    return {"kind": "result", **{k: v for k, v in facts.items() if k not in OPTIONAL or v != OPTIONAL[k]}}


def group_record(row: GroupRate) -> Record:
    """``{"kind": "group", ...}``: all fields but the influence."""
    return {"kind": "group", **{key: value for key, value in row._asdict().items() if key != "influence"}}


def curve_record(curve: OpenSetCurve) -> Record:
    """``{"kind": "open set", "gallery", "fpir": [...], "fnir": [...], "threshold": [...]}``; of a gallery that is
    larger than any there is also ``"extrapolated_from"``."""
    parts = {name: getattr(curve, name).round(7).tolist() for name in ("fpir", "fnir", "threshold")}
    beyond = {"extrapolated_from": curve.extrapolated_from} if curve.extrapolated_from else {}
    return {"kind": "open set", "gallery": curve.gallery, **beyond, **parts}
