"""What a search costs beside plain training, and whether the cheap one chooses what full trials would choose.

    python benchmarks/search.py               (about 55 seconds: two epochs of training, CPU seconds)
    python benchmarks/search.py --agree 10    choices in 2 x 10 epochs against full trials (about 30 s each)

The built-in faces, the net and recipe of `faceloss compare --data builtin`, 8 candidates. Costs are CPU seconds of the
whole search with its copies, rewards and checkpoints, divided by those of training the same loss without a search.

For the choices a model is trained for some epochs at the margin at which the search starts; then its 8 candidates are
all trained for the next whole epoch (the full trials), and the search chooses as it does. Printed: how often its choice
is the best of the 8, and its regret: 0 is the reward of the best candidate, 1 the mean reward of all. Beside it, the
same for full trials on other batches, which is as much agreement as chance in the order of batches leaves, for the best
score by itself, and for no choice at all.
"""

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
from measure import header

from faceloss import losses
from faceloss.compare.prepare import Bench, prepare
from faceloss.compare.recipe import recipe_from
from faceloss.compare.reward import images, reward
from faceloss.compare.run import build_state, execute
from faceloss.compare.search import SPARED
from faceloss.compare.study import Competitor, Run, Study
from faceloss.search.policy import still
from faceloss.train.epochs import FaceEpochs
from faceloss.train.first_order import scores
from faceloss.train.loop import embed, train
from faceloss.train.state import State

CANDIDATES = 8
EPOCHS = 2
ROWS = {
    "plain": ("cosface", {"s": 32.0, "m": 0.2}),
    "as described": ("search_softmax", {"a": -600.0, "candidates": CANDIDATES}),
    "successive halving": ("search_softmax", {"a": -600.0, "candidates": CANDIDATES, "trial": "halving"}),
    "look-ahead": ("lookahead_margin", {"candidates": CANDIDATES}),
    "look-ahead, 64 candidates": ("lookahead_margin", {"candidates": 8 * CANDIDATES}),
}
BEFORE = (2, 8)  # epochs before a choice


def study(epochs: int) -> Study:
    """The study whose recipe is measured."""
    return Study(data="builtin", losses=("softmax",), recipe=recipe_from("builtin", epochs, ()))


def costs() -> None:
    """CPU seconds of a short training with each search."""
    bench = prepare(study(EPOCHS))._replace(tests=(), closed=None)
    print("search                       CPU s   of plain training")
    seconds: dict[str, float] = {}
    with tempfile.TemporaryDirectory() as folder:
        for name, (loss, settings) in {"warm-up": ROWS["plain"], **ROWS}.items():
            start = time.process_time()
            ended = execute(
                Run("", Competitor(name, loss, settings, "shuffled"), 0), study(EPOCHS), bench, Path(folder) / name
            )
            assert ended == "finished", ended
            seconds[name] = time.process_time() - start
            if name != "warm-up":
                print(f"{name:27} {seconds[name]:6.1f} {seconds[name] / seconds['plain']:10.2f}", flush=True)


def agreement(seeds: int) -> None:
    """How often choices are those of full trials, and what is lost where they are not."""
    about = study(16)
    bench = prepare(about)
    regrets: dict[str, list[float]] = {}
    for seed in range(seeds):
        state = build_state(
            Run("", Competitor("", "lookahead_margin", {}, "shuffled"), seed), about, len(bench.train.identities)
        )
        for before in BEFORE:
            policy = losses.policy("lookahead_margin", seed=seed, candidates=CANDIDATES)
            values = [course(0.0) for course in policy.ask(before)]
            trials = Trials(about, bench, seed)
            trials.advance(state, values[0], before)
            full = [trials.rewarded(state, v, before + 1) for v in values]
            again = [trials.rewarded(state, v, before + 1, batches=seed + 1000) for v in values]
            scored = trials.scored(state, values, policy.scored)
            kept = policy.keep(before, scored)
            short = {i: trials.rewarded(state, values[i], before + policy.rungs[0][0]) for i in kept}
            best, mean = max(full), statistics.mean(full)
            picks = {
                "look-ahead": max(short, key=lambda i: short[i]),
                "best score": int(np.argmax(scored)),
                "full trials, other batches": int(np.argmax(again)),
            }
            for name, pick in picks.items():
                regrets.setdefault(name, []).append((best - full[pick]) / (best - mean))
            regrets.setdefault("the mean, always", []).append((best - full[0]) / (best - mean))
            regrets.setdefault("at random, expected", []).append(1.0)
            print(f"seed {seed}, after {before} epochs, choices: {picks}, best: {int(np.argmax(full))}", flush=True)
    print(f"\n{2 * seeds:3} choices                  best of {CANDIDATES}   regret at most 0.5   mean regret")
    for name, lost in regrets.items():
        right = 1 / CANDIDATES if "random" in name else statistics.mean(x == 0 for x in lost)
        near = statistics.mean(x <= 0.5 for x in lost)
        print(f"{name:28} {right:8.2f} {near:18.2f} {statistics.mean(lost):13.2f}")


class Trials:
    """Training and rewarding candidates of one run."""

    def __init__(self, about: Study, bench: Bench, seed: int):
        assert bench.val is not None
        self.about, self.bench, self.seed = about, bench, seed
        chosen = images(bench.val)
        self.looked_at = bench.val.pixels[chosen], bench.val.labels[chosen]

    def advance(self, state: State, values: dict[str, float], epochs: float, batches: int | None = None) -> None:
        """Train ``state`` at ``values`` until so many ``epochs`` are done."""
        seed = self.seed if batches is None else batches
        data = FaceEpochs(self.bench.train, self.about.recipe, seed, "shuffled")
        train(
            state,
            data,
            self.about.recipe,
            seed=seed,
            save=lambda _: None,
            courses=lambda _: still(values),
            until=round(epochs * len(data.batches(0))),
        )

    def rewarded(self, state: State, values: dict[str, float], epochs: float, batches: int | None = None) -> float:
        """The reward of a copy of ``state`` after that."""
        copy = state.fork()
        self.advance(copy, values, epochs, batches)
        plain = self.about.recipe.model_copy(update={"flip_test": False})
        return reward("similarity", embed(copy.net, self.looked_at[0], plain), self.looked_at[1])

    def scored(self, state: State, values: list[dict[str, float]], steps: int) -> list[float]:
        """The first-order scores, as a search has them."""
        data = FaceEpochs(self.bench.train, self.about.recipe, self.seed, "shuffled")
        half = self.looked_at[0][::SPARED], self.looked_at[1][::SPARED]
        return scores(state, data, self.about.recipe, values, half, seed=self.seed, steps=steps)


def main() -> None:
    """The costs, or with --agree the choices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--agree", type=int, metavar="SEEDS", help="choices against full trials, with so many seeds")
    arguments = parser.parse_args()
    header()
    if arguments.agree:
        agreement(arguments.agree)
    else:
        costs()


if __name__ == "__main__":
    main()
