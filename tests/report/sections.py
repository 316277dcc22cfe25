"""Rows that single sections of the page show, for any study: groups, open sets, failures, maps."""

import base64

import numpy as np

from .studies import Record, Study, competitor

GROUPS = ("east", "north", "south", "west")


def group_rows(study: Study) -> list[Record]:
    """Rates of four groups: west has too few pairs for its FMR."""
    rows: list[Record] = []
    for i, label in enumerate(study.labels):
        cells = [("fmr", g, h) for j, g in enumerate(GROUPS) for h in ("", *GROUPS[j + 1 :])]
        cells += [("fnmr", g, "") for g in GROUPS] + [("fmr gap", "", ""), ("fnmr gap", "", "")]
        cells += [(f"{rate} to the others", g, "") for rate in ("fmr", "fnmr") for g in GROUPS]
        for k, (metric, group, other) in enumerate(cells):
            able = not (metric == "fmr gap" or (metric[:3], group, other) == ("fmr", "west", ""))
            value = (0.1 if "fnmr" in metric else 0.001) * (1 + 0.1 * k + 0.02 * i)
            cell = {"label": label, "loss": competitor(label)[0], "test": "lfw", "metric": metric, "group": group,
                    "other": other, "at": 1e-3, "seeds": len(study.seeds)}  # fmt: skip
            cell["value"] = value if able else None
            limits = {"low": value * 0.8 if able else None, "high": value * 1.2 if able else None}
            words = {"status": "measured" if able else "not measurable", "pairs": 25_000}
            tested = {"verdict": "no difference found", "p": 0.2, "p_holm": 0.6} if "others" in metric else {}
            rows.append({"kind": "group summary", **cell, **limits, **words, **(tested if able else {})})
            if label != "softmax" and "others" not in metric:
                gap = {"value": -0.01, "low": -0.02, "high": 0.0} if able else {"value": None}
                verdict = "no difference found" if able else "not measurable"
                rows.append({"kind": "group difference", **cell, "baseline": "softmax", "verdict": verdict, **gap})
    return rows


def open_set_rows(study: Study) -> list[Record]:
    """TPIR for galleries of 10 and 100, FNIR over FPIR of these and of 1,000, which is extrapolated; ranks."""
    rows: list[Record] = []
    for i, label in enumerate(study.labels):
        who = {"label": label, "loss": competitor(label)[0], "test": "lfw"}
        for gallery in (10, 100):
            for fpir in (0.1, 0.01):
                able = fpir > 0.05
                value = 0.9 - 0.02 * i - 0.1 * (gallery > 10)
                cell = {**who, "protocol": f"open set, {gallery} enrolled", "metric": "tpir", "at": fpir, "pairs": 400,
                        "value": value if able else None, "low": value - 0.05 if able else None,
                        "high": value + 0.05 if able else None, "gallery": gallery, "attained": 0.099 if able else None,
                        "status": "measured" if able else "not measurable"}  # fmt: skip
                rows.append({"kind": "summary", **cell, "seeds": len(study.seeds), "spread": 0.01 if able else None})
                rows += [{"kind": "result", **cell, "seed": seed, "threshold": 0.4 + 0.01 * seed if able else None}
                         for seed in study.seeds]  # fmt: skip
                if label != "softmax":
                    gap = {"value": -0.02, "low": -0.05, "high": 0.01, "p": 0.2, "p_holm": 0.9} if able else {}
                    verdict = "no difference found" if able else "not measurable"
                    key = {k: cell[k] for k in ("protocol", "metric", "at")} | {"seeds": len(study.seeds)}
                    rows.append({"kind": "difference", **who, **key, "baseline": "softmax", "verdict": verdict, **gap})
        for seed in study.seeds:
            fpir = np.geomspace(0.03, 1, 60)
            for gallery in (10, 100, 1000):
                beyond = {"extrapolated_from": 100} if gallery == 1000 else {}
                fnir = 0.1 * np.log10(gallery) * (1 + 0.1 * i) * (1 - 0.5 * fpir) + 0.001 * seed
                rows.append({"kind": "open set", **who, "seed": seed, "gallery": gallery, **beyond,
                             "fpir": fpir.round(7).tolist(), "fnir": fnir.round(7).tolist(),
                             "threshold": (1 - fpir).round(7).tolist()})  # fmt: skip
            ranks = np.unique(np.geomspace(1, 400, 40).round()).astype(int)
            rows.append({"kind": "curve", **who, "seed": seed, "name": "cmc", "rank": ranks.tolist(),
                         "rate": (1 - 0.3 / ranks).round(6).tolist()})  # fmt: skip
    return rows


def failure_rows(study: Study) -> list[Record]:
    """Six false matches and six false non-matches of each run."""
    rows: list[Record] = []
    for label, seed in study.runs():

        def image(person: int, number: int) -> Record:
            return {"file": f"person_{person:03d}/{number:04d}.jpg", "identity": f"person_{person:03d}"}

        shift = sum(map(ord, label)) % 50
        rows.append({
            "kind": "failures", "label": label, "loss": competitor(label)[0], "seed": seed, "test": "lfw",
            "status": "measured", "threshold": 0.42, "threshold_far": 1e-3,
            "false_matches": [{"score": 0.9 - 0.02 * k, "first": image(shift + k, 1), "second": image(shift + k + 1, 2)}
                              for k in range(6)],
            "false_non_matches": [{"score": 0.02 * k - 0.1, "first": image(shift + k, 3), "second": image(shift + k, 4)}
                                  for k in range(6)],
        })  # fmt: skip
    return rows


def map_rows(study: Study) -> list[Record]:
    """A map of each run that ended: eight identities, eight images each; the better the loss, the further apart."""
    rows: list[Record] = []
    for label, seed in study.runs():
        if (label, seed) in study.diverged:
            continue
        loss, shift, _ = competitor(label)
        rng = np.random.default_rng([seed, *map(ord, label)])
        places = np.repeat(rng.normal(0, 0.1 * shift, (8, 2)), 8, axis=0) + rng.normal(0, 0.1, (64, 2))
        x, y = places.clip(-1, 1).round(3).T.tolist()
        rows.append({
            "kind": "map", "run": f"{label}-{seed}", "label": label, "loss": loss, "seed": seed, "test": "lfw",
            "identities": [f"person_{i:03d}" for i in range(8)], "counts": [8] * 8, "x": x, "y": y,
            "share": [round(0.05 * shift, 4), 0.11], "of": 40, "fewest": 4,
        })  # fmt: skip
    return rows


def picture_rows(failures: list[Record], generated: bool) -> list[Record]:
    """A thumbnail of every image of the failures, as large as such files are."""
    files = {pair[end]["file"] for row in failures for name in ("false_matches", "false_non_matches")
             for pair in row[name] for end in ("first", "second")}  # fmt: skip
    noise = base64.b64encode(np.random.default_rng(0).bytes(1500)).decode()
    return [{"kind": "picture", "test": "lfw", "file": file, "generated": generated, "jpeg": noise}
            for file in sorted(files)]  # fmt: skip
