"""A realistic study, written from a formula: seven losses, three seeds, two tests, one loss that diverged once."""

import base64
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

Record = dict[str, Any]

# label -> (loss, how far genuine scores lie above impostor scores, seconds of a run)
COMPETITORS: dict[str, tuple[str, float, float]] = {
    "softmax": ("softmax", 2.60, 118.0),
    "normface": ("normface", 2.66, 121.0),
    "cosface": ("cosface", 3.22, 124.0),
    "arcface": ("arcface", 3.12, 127.0),
    "triplet": ("triplet", 2.05, 171.0),
    "softmax (identity-balanced)": ("softmax", 2.52, 120.0),
    "magface": ("magface", 2.95, 131.0),
}
HYPERPARAMETERS: dict[str, Record] = {
    "normface": {"s": 30.0},
    "cosface": {"m": 0.35, "s": 64.0},
    "arcface": {"m": 0.5, "s": 64.0, "gradient": "exact"},
    "triplet": {"alpha": 0.2, "mine": "semi_hard"},
    "magface": {"lower": 10, "upper": 110, "s": 64.0},
}
FARS = [1e-2, 1e-3, 1e-4, 1e-5, 1e-6]
IMPOSTORS = 402_000  # 30 expected errors carry FAR 1e-4, not 1e-5


def _tail(x: np.ndarray | float) -> np.ndarray:
    """P(Z > x) of a logistic stand-in for the normal; monotone and smooth is all that is needed."""
    return 1 / (1 + np.exp(1.702 * np.asarray(x)))


def _tar(shift: float, far: float) -> float:
    threshold = np.log(1 / far - 1) / 1.702
    return float(_tail(threshold - 2.1 * shift))


FAMILIES = ("margin", "adaptive margin", "class vectors", "binary", "pairs and triplets", "centers")


def family(loss: str) -> str:
    """Some family, the same for a loss every time."""
    return "softmax" if loss in ("softmax", "normface") else FAMILIES[sum(map(ord, loss)) % len(FAMILIES)]


MIDDLES = np.arange(2.5, 180, 5)


def _weight(shift: float) -> np.ndarray:
    """Gradient weight at the middle of each bin."""
    return (1.2 - 0.1 * (shift - 2.6)) / (1 + np.exp(-(MIDDLES - 60 + 8 * shift) / 6))


def val_auc(label: str, epoch: int) -> float:
    """The validation AUC of a label after an epoch."""
    return 0.6 + 0.12 * competitor(label)[1] * float(1 - np.exp(-epoch / 4))


TARGET = 0.5 + 0.95 * (0.6 + 0.12 * 2.6 * float(1 - np.exp(-12 / 4)) - 0.5)


def competitor(label: str) -> tuple[str, float, float]:
    """What is known of a label; a loss that is searched for is a middling one."""
    return COMPETITORS.get(label, (label.split(" (")[0], 2.9, 125.0))


class Study:
    """Builds the records; every part can be left out to make an unfinished study."""

    def __init__(
        self, labels: list[str] | None = None, seeds: tuple[int, ...] = (0, 1, 2), epochs: int = 12, why: bool = False
    ):
        self.why = why  # whether the records hold what the section "Why" shows; those of older versions do not
        self.labels = list(COMPETITORS) if labels is None else labels
        self.seeds, self.epochs = seeds, epochs
        self.diverged = {("magface", 2)} if "magface" in self.labels and len(seeds) > 2 else set()
        self.rng = np.random.default_rng(7)

    def runs(self) -> list[tuple[str, int]]:
        return [(label, seed) for label in self.labels for seed in self.seeds]

    def study(self) -> Record:
        return {
            "kind": "study", "title": "Seven losses on the built-in faces", "version": "0.1.0",
            "command": "faceloss compare --data builtin --losses softmax,normface,cosface --seeds 3",
            "losses": self.labels, "baseline": "softmax", "seeds": list(self.seeds), "epochs": self.epochs,
            "images_seen": 86_400, "net": "small", "size": 48, "dim": 128, "batch": 64, "optimizer": "sgd",
            "learning_rate": 0.1, "schedule": "cosine", "weight_decay": 5e-4, "precision": "float32",
            "machine": "2 CPU cores, x86_64, Linux", "threads": 1,
        }  # fmt: skip

    def data(self) -> list[Record]:
        rows = []
        for role, images, identities, refused in [("train", 7_200, 360, 3), ("val", 900, 60, 0), ("test", 900, 90, 1)]:
            rows.append({
                "kind": "data", "role": role, "name": "builtin" if role != "test" else "lfw", "images": images,
                "identities": identities, "refused": refused, "images_per_identity": [4, 12, 40],
                "reasons": {"the file is cut off": refused} if refused else {}, "digest": f"{role:a<64}",
                "overlap_identities": 5 if role == "train" else 0, "overlap_images": 61 if role == "train" else 0,
                "groups": {},
                "refused_files": [[f"someone/broken {i}.png", "the file is cut off"] for i in range(refused)],
            })  # fmt: skip
        return rows

    def run(self, label: str, seed: int) -> Record:
        bad = (label, seed) in self.diverged
        return {
            "kind": "run", "run": f"{label}-{seed}", "loss": competitor(label)[0], "label": label, "seed": seed,
            "family": family(competitor(label)[0]),
            "hyperparameters": HYPERPARAMETERS.get(label, {}), "status": "diverged" if bad else "finished",
            "batches": "identity-balanced" if label in ("triplet", "softmax (identity-balanced)") else "shuffled",
            "reason": "the loss was not finite in epoch 4, step 212" if bad else "",
            "epochs_done": 4 if bad else self.epochs, "images_seen": 27_300 if bad else 86_400,
            "flops_per_image": 90_898_432, "flops_net_step": 17_339_252_736, "batch": 64,
            "flops_head_step": 17_694_720 + 1_000_000 * len(label),
        }  # fmt: skip

    def epoch_rows(self, label: str, seed: int) -> list[Record]:
        loss, shift, _ = competitor(label)
        tuples = loss == "triplet"
        rows = []
        for epoch in range(1, (4 if (label, seed) in self.diverged else self.epochs) + 1):
            t = 1 - np.exp(-epoch / 4)
            wobble = float(self.rng.normal(0, 0.012))
            rows.append({
                "kind": "epoch", "run": f"{label}-{seed}", "loss": loss, "label": label, "seed": seed, "epoch": epoch,
                "loss_value": 12.0 * (1 - t) + 1, "accuracy": None if tuples else min(0.98 * t + wobble, 1.0),
                "target_angle": None if tuples else 1.5 - (0.25 + 0.2 * shift) * t + wobble,
                "cross_entropy": None if tuples else 5.9 * (1 - t) + 0.25 * shift + wobble,
                "learning_rate": 0.1, "val_auc": val_auc(label, epoch), "images_seen": 7_200 * epoch,
                "val_eer": 0.42 - 0.12 * shift * t + wobble / 3,
                **(self.census(shift, t, last=epoch == self.epochs) if self.why and not tuples else {}),
            })  # fmt: skip
        return rows

    def census(self, shift: float, t: float, *, last: bool) -> Record:
        """Angles of 7,200 samples and, of the ``last`` epoch, weights that rise with the angle."""
        share = np.exp(-(((MIDDLES - 90 + 12 * shift * t) / 11) ** 2) / 2)
        counts = np.round(7_200 * share / share.sum()).astype(int)
        weights = [round(float(w), 6) if n else None for w, n in zip(_weight(shift), counts, strict=True)]
        found: Record = {"target_angles": counts.tolist(), "hardest_tenth": 0.1 + 0.05 * shift * t}
        found["easiest_half"] = 0.5 - 0.1 * shift * t
        return found | ({"target_weights": weights} if last else {})

    def whys(self, label: str, seed: int) -> list[Record]:
        """What is measured once a run has ended."""
        loss, shift, _ = competitor(label)
        same = {"run": f"{label}-{seed}", "label": label, "loss": loss, "seed": seed}
        rows: list[Record] = []
        if loss != "triplet":
            h = {"p": [0.1, 0.5, 0.9], "h": [0.02, 0.05, 0.3]} if label in getattr(self, "searched", []) else {}
            rows.append({"kind": "ruler", **same, "scale": 64.0, "classes": 360, "weight": list(_weight(shift)), **h})
        if (label, seed) in self.diverged:
            return rows
        for role, test in (("train", "builtin"), ("test", "lfw")):
            rows.append({
                "kind": "collapse", **same, "role": role, "test": test, "images": 512, "classes": 32, "dim": 128,
                "nc1": 9 / shift + 0.1 * seed, "nc2_norms": 0.3, "nc2_angles": 0.2, "effective_rank": 10 * shift,
                "nc3": 0.9 if role == "train" else None, "nc4": 0.2 if role == "train" else None,
                "others_angles": np.round(500 * np.exp(-(((MIDDLES - 20 * shift) / 15) ** 2))).astype(int).tolist(),
            })  # fmt: skip
        return rows

    def norms(self, label: str) -> list[Record]:
        loss, shift, _ = competitor(label)
        same = {"kind": "norm summary", "label": label, "loss": loss, "test": "lfw", "seeds": len(self.seeds)}
        same |= {"status": "measured", "number": 900, "subjects": 90, "note": "", "spread": 0.02}
        rows = []
        for i, name in enumerate(("sharpness", "brightness", "contrast", "noise")):
            rho = 0.2 * (shift - 2.6) - 0.1 * i + 0.15
            rows.append({**same, "metric": f"rho {name}", "value": rho, "low": rho - 0.1, "high": rho + 0.1})
        for name, miss in (("lowest tenth", 0.3), ("others", 0.2)):
            rows.append({**same, "metric": f"fnmr {name}", "at": 1e-3, "value": miss, "low": miss - 0.05,
                         "high": miss + 0.05})  # fmt: skip
        return rows

    def target(self, label: str, seed: int) -> Record:
        """Reached when 1 - exp(-epoch / 4) is high enough; by triplet never, by one seed of normface not."""
        who = {"run": f"{label}-{seed}", "loss": competitor(label)[0], "label": label, "seed": seed}
        row: Record = {"kind": "target", **who, "metric": "val_auc", "target": TARGET, "status": "not reached"}
        row |= {"epoch": None, "images": None}
        found = [e for e in range(1, self.epochs + 1) if val_auc(label, e) >= TARGET]
        if found and (label, seed) not in (self.diverged | {("normface", 1)}):
            row |= {"status": "reached", "epoch": found[0], "images": 7_200 * found[0]}
        return row

    def measures(self, shift: float) -> list[Record]:
        """Every number of one embedding, without its interval."""
        tar = [{"test": "lfw", "protocol": "cross-matrix", "metric": "tar", "at": far, "value": _tar(shift, far),
                "pairs": IMPOSTORS, "effective": 21_000.0, "half": 0.035 + 0.004 * i,
                "status": "measured" if far * IMPOSTORS >= 30 else "not measurable"}
               for i, far in enumerate(FARS)]  # fmt: skip
        eer = float(_tail(0.85 * shift))
        common: Record = {"status": "measured", "at": None, "half": 0.008}
        return [
            {**common, "test": "lfw pairs", "protocol": "ten folds", "metric": "accuracy", "value": 1 - eer,
             "pairs": 6_000, "effective": 5_100.0},
            *tar,
            {**common, "test": "lfw", "protocol": "cross-matrix", "metric": "eer", "value": eer, "pairs": IMPOSTORS,
             "effective": 21_000.0},
            {**common, "test": "lfw", "protocol": "cross-matrix", "metric": "auc", "value": 1 - 1.4 * eer * eer,
             "pairs": IMPOSTORS, "effective": 21_000.0, "half": 0.002},
            {**common, "test": "lfw", "protocol": "rank", "metric": "rank", "at": 1, "value": _tar(shift, 4e-3),
             "pairs": 810, "effective": 640.0, "half": 0.03},
            {**common, "test": "builtin, closed set", "protocol": "closed set", "metric": "accuracy",
             "value": 1 - 1.5 * eer, "pairs": 720, "effective": 720.0, "half": 0.024},
        ]  # fmt: skip

    def results(self, label: str) -> list[Record]:
        """Results of each finished seed, then the summary."""
        loss, shift, _ = competitor(label)
        seeds = [seed for seed in self.seeds if (label, seed) not in self.diverged]
        per_seed = [self.measures(shift + float(self.rng.normal(0, 0.05))) for _ in seeds]
        rows = []
        for seed, found in zip(seeds, per_seed, strict=True):
            rows += [
                self._cell(m, m["value"], {"kind": "result", "run": f"{label}-{seed}", "seed": seed}) for m in found
            ]
        for column in zip(*per_seed, strict=True):
            values = [m["value"] for m in column]
            extra = {
                "kind": "summary",
                "seeds": len(seeds),
                "spread": float(np.std(values, ddof=1)) if len(seeds) > 1 else None,
            }
            if column[0]["status"] != "measured":
                extra["spread"] = None
            rows.append(self._cell(column[0], float(np.mean(values)), extra))
        return [{**row, "label": label, "loss": loss} for row in rows]

    def _cell(self, measure: Record, value: float, extra: Record) -> Record:
        m = {k: v for k, v in measure.items() if k != "half"}
        measured = m["status"] == "measured"
        half = measure["half"]
        m["value"] = value if measured else None
        m["low"], m["high"] = (max(value - half, 0.0), min(value + half, 1.0)) if measured else (None, None)
        m["attained"] = m["at"] * 0.98 if measured and m["metric"] == "tar" else None
        note = {} if measured or extra["kind"] == "summary" else {"note": "too few impostor pairs"}
        return {**m, **extra, **note}

    def differences(self, rows: list[Record]) -> list[Record]:
        sums = {(r["label"], r["test"], r["protocol"], r["metric"], r["at"]): r for r in rows if r["kind"] == "summary"}
        found = []
        for (label, *key), r in sums.items():
            base = "softmax (identity-balanced)" if label == "triplet" else "softmax"
            other = sums.get((base, *key))
            if label == base or label == "softmax" or other is None:
                continue
            d = {"kind": "difference", "label": label, "loss": r["loss"], "baseline": base, "seeds": len(self.seeds),
                 **dict(zip(("test", "protocol", "metric", "at"), key, strict=True)),
                 "value": None, "low": None, "high": None, "p": None, "p_holm": None}  # fmt: skip
            if any((label, seed) in self.diverged for seed in self.seeds):
                d["verdict"] = "diverged"
            elif r["status"] != "measured":
                d["verdict"] = "not measurable"
            else:
                gap, half = r["value"] - other["value"], 0.7 * (r["high"] - r["low"]) / 2 + 0.02
                clear = abs(gap) > half and len(self.seeds) >= 3
                d |= {"value": gap, "low": gap - half, "high": gap + half, "p": 0.004 if clear else 0.31}
                d["p_holm"] = min(1.0, d["p"] * 5)
                d["verdict"] = ("better" if gap > 0 else "worse") if clear else "no difference found"
            found.append(d)
        return found

    def curves(self, label: str, seed: int) -> list[Record]:
        if (label, seed) in self.diverged:
            return []
        loss, shift, _ = competitor(label)
        shift += 0.03 * (seed - 1)
        far = np.logspace(-4.1, -0.05, 60)
        frr = np.array([1 - _tar(shift, f) for f in far])
        edges = np.linspace(-0.6, 1.0, 61)
        mid = (edges[1:] + edges[:-1]) / 2
        same = {"kind": "curve", "run": f"{label}-{seed}", "label": label, "loss": loss, "seed": seed, "test": "lfw"}

        def bell(center: float, width: float) -> list[float]:
            return list(np.exp(-(((mid - center) / width) ** 2) / 2) / (width * np.sqrt(2 * np.pi)))

        return [
            {**same, "name": "det", "far": list(far), "frr": list(frr), "low": list(frr * 0.86),
             "high": list(np.minimum(frr * 1.14, 1))},
            {**same, "name": "scores", "edges": list(edges), "genuine": bell(0.14 * shift, 0.14),
             "impostor": bell(0.01, 0.11), "threshold": 0.36, "threshold_far": 1e-3},
        ]  # fmt: skip

    def costs(self) -> list[Record]:
        rows = []
        for label, seed in self.runs():
            seconds = competitor(label)[2] * (1 + 0.02 * seed)
            epoch = self.target(label, seed)["epoch"]
            reached = {} if epoch is None else {"seconds_to_target": seconds * epoch / self.epochs}
            who = {"run": f"{label}-{seed}", "label": label, "loss": competitor(label)[0], "seed": seed}
            rows.append({**who, **reached,
                         "seconds": seconds, "cpu_seconds": seconds * 0.97, "images_per_second": 86_400 / seconds,
                         "peak_memory_mib": 612.0 + 3 * seed})  # fmt: skip
        return rows

    def records(self) -> list[Record]:
        rows = [self.study(), *self.data()]
        for label, seed in self.runs():
            rows += [self.run(label, seed), *self.epoch_rows(label, seed), *self.curves(label, seed)]
            rows += self.whys(label, seed) if self.why else []
            rows.append(self.target(label, seed))
        measured = [row for label in self.labels for row in self.results(label)]
        measured += [row for label in self.labels if self.why for row in self.norms(label)]
        return rows + measured + self.differences(measured)


S = 32.0
CANDIDATES = {"search_softmax": 4, "lookahead_margin": 8, "am_lfs": 4}


class Searched(Study):
    """A study beside whose plain rows some losses are searched for; ``label`` may add words to a loss's name."""

    def __init__(self, searched: list[str], labels: tuple[str, ...] = ("softmax", "cosface"), **rest: Any):
        super().__init__(labels=[*labels, *searched], **rest)
        self.searched = searched

    def run(self, label: str, seed: int) -> Record:
        row = super().run(label, seed)
        if label in self.searched:
            numbers = {"s": S} if row["loss"] != "am_lfs" else {}
            row["hyperparameters"] = {"reward": "similarity", "method": "guided", **numbers}
            row["images_tried"] = 86_400 * (2 if row["loss"] == "lookahead_margin" else 4)
        return row

    def target(self, label: str, seed: int) -> Record:
        row = super().target(label, seed)
        if label in self.searched:
            row["images_tried"] = row["epoch"] and 28_800 * row["epoch"]
        return row

    def values(self, loss: str, draw: np.ndarray) -> dict[str, float]:
        """Hyperparameters from a draw of up to 24 numbers, each about N(0, 1)."""
        if loss == "search_softmax":
            return {"a": -float(np.expm1(10.0 + draw[0]))}
        if loss == "lookahead_margin":
            m1, m2, m3, s = draw[:4]
            return {"m1": max(1.0 + 0.1 * m1, 1.0), "m2": 0.2 + 0.1 * m2, "m3": 0.3 + 0.05 * m3, "s": 30 + 3 * s}
        names = [f"{f}_{what}_{i}" for f in ("t", "tau") for what in ("slope", "offset") for i in range(6)]
        return {n: float("slope" in n) + 0.2 * float(x) for n, x in zip(names, draw[:24], strict=True)}

    def searches(self, label: str, seed: int) -> list[Record]:
        loss, rows, mean = label.split(" (")[0], [], np.zeros(24)
        rng = np.random.default_rng([seed, len(label)])
        for epoch in range(1, self.epochs + 1):
            draws = mean + rng.normal(size=(CANDIDATES[loss], 24))
            tried = [0, 3] if loss == "lookahead_margin" else list(range(len(draws)))
            rewards = {i: -8.0 + 0.2 * epoch + float(rng.normal()) for i in tried}
            best = max(tried, key=lambda i: rewards[i])
            rungs = [[rewards[i]] if i in tried else [] for i in range(len(draws))]
            if loss == "lookahead_margin":
                rungs[best].append(rewards[best] + 0.5)
            rows.append({
                "kind": "search", "run": f"{label}-{seed}", "label": label, "loss": loss, "seed": seed, "epoch": epoch,
                "policy": {"mean": self.values(loss, mean), "low": self.values(loss, mean - 1),
                           "high": self.values(loss, mean + 1)},
                "images": 28_800, "seen": 7_200 * epoch, "chosen": best,
                "candidates": [
                    {"values": self.values(loss, draw), "rewards": r,
                     "score": float(rng.normal()) if loss == "lookahead_margin" else None}
                    for draw, r in zip(draws, rungs, strict=True)
                ],
            })  # fmt: skip
            mean = mean + 0.3 * (draws[best] - mean)
        return rows

    def costs(self) -> list[Record]:
        return [
            {
                **row,
                "search_seconds": row["seconds"] * 3.5,
                "search_seconds_to_target": row.get("seconds_to_target", 0.0) * 3.5,
            }
            if row["label"] in self.searched
            else row
            for row in super().costs()
        ]

    def records(self) -> list[Record]:
        return super().records() + [row for x in self.searched for seed in self.seeds for row in self.searches(x, seed)]


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


class More(NamedTuple):
    """Rows about groups, open sets, failures and maps of a study, and the pictures beside failures."""

    groups: Callable[[Study], list[Record]]
    open_sets: Callable[[Study], list[Record]]
    failures: Callable[[Study], list[Record]]
    pictures: Callable[[list[Record], bool], list[Record]]
    maps: Callable[[Study], list[Record]]


@pytest.fixture(scope="session")
def more() -> More:
    return More(group_rows, open_set_rows, failure_rows, picture_rows, map_rows)


def write(folder: Path, records: list[Record], costs: list[Record] | None = None) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "records.jsonl").write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
    if costs is not None:
        (folder / "costs.jsonl").write_text("".join(json.dumps(r) + "\n" for r in costs), encoding="utf-8")
    return folder


@pytest.fixture(scope="session")
def make_study() -> type[Study]:
    return Study


@pytest.fixture(scope="session")
def make_searched() -> type[Searched]:
    return Searched


@pytest.fixture(scope="session")
def save() -> Callable[..., Path]:
    return write


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a finished study."""
    study = Study()
    return write(tmp_path_factory.mktemp("whole"), study.records(), study.costs())
