"""The records of a study, written from a formula: seven losses, three seeds, two tests, a loss that diverged once."""

from typing import Any

import numpy as np

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
