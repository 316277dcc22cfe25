"""The records of a study in which some losses are searched for."""

from typing import Any

import numpy as np

from .studies import Record, Study

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
