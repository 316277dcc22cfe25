"""One run: train or continue a network under one loss and seed, judge it, keep its records in its folder."""

import inspect
import io
import json
import resource
from collections.abc import Callable
from contextlib import nullcontext
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from faceloss import losses, nets
from faceloss.compare import why
from faceloss.compare.contracts import same_as_checkpoint
from faceloss.compare.flops import count_once
from faceloss.compare.judge import embedder, judge, observe
from faceloss.compare.prepare import Bench
from faceloss.compare.robustness import Watch
from faceloss.compare.search import Search, search
from faceloss.compare.search_log import clear, read, schedule
from faceloss.compare.study import Run, Study, full_hyperparameters
from faceloss.data.appearance import to_text
from faceloss.data.contract import decisive
from faceloss.data.decode import PREPROCESSING
from faceloss.data.keys import key
from faceloss.errors import CouldNotFinish
from faceloss.files import write_atomically
from faceloss.lock import locked
from faceloss.losses.scores import Blocks, read_in
from faceloss.losses.shards import holding
from faceloss.losses.spread import spread
from faceloss.search.policy import Policy, Replay
from faceloss.train import checkpoint
from faceloss.train.allocator import keep_freed_memory
from faceloss.train.epochs import FaceEpochs
from faceloss.train.loop import Diverged, LossFailed, Stopped, train
from faceloss.train.ranks import ONE, Ranks
from faceloss.train.settings import Batches, Recipe
from faceloss.train.state import State, build_optimizer, resolve_device

Show = Callable[[State, int, dict[str, float]], None]


def steps(study: Study, bench: Bench, batches: Batches) -> int:
    """The number of training steps of a run with this composition of batches."""
    epochs = FaceEpochs(bench.train, study.recipe, 0, batches)
    return len(epochs.batches(0)) * study.recipe.epochs


def build_state(run: Run, study: Study, classes: int, ranks: Ranks = ONE) -> State:
    """A fresh state. Weights and class vectors depend on the seed only, so every loss starts from the same ones."""
    recipe, device = study.recipe, resolve_device(study.recipe.device)
    row, own = run.competitor, {name: key(run.seed, name) % 2**62 for name in ("net", "loss")}
    net = nets.build(recipe.net, dim=recipe.dim, seed=own["net"], input_size=recipe.size, **recipe.net_options)
    with holding(ranks.rank, ranks.size):
        loss = losses.build(row.loss, dim=recipe.dim, classes=classes, seed=own["loss"], **row.hyperparameters)
    if recipe.head_precision == "bf16":
        read_in(loss, Blocks(product=torch.bfloat16))
    net, loss = net.to(device, memory_format=torch.channels_last), loss.to(device)  # type: ignore[call-overload]
    if ranks.size > 1:
        spread(loss)
    return State(net, loss, build_optimizer(net, loss, recipe))


def model(state: State) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """What is needed to compare faces after training: tensors, and what they say of themselves.

    The net's weights by their names and, where the loss has a projection, that one's as "projection.*".
    """
    tensors = dict(state.net.state_dict())
    dim, project, device = state.loss.dim, state.loss.project, next(iter(tensors.values())).device
    with torch.inference_mode():
        size = state.loss.embed(torch.zeros(1, dim, device=device)).shape[1]
    facts: dict[str, Any] = {"dim": dim, "embedding_size": size, "projection": None}
    if project is not None:
        weights = {f"projection.{name}": tensor for name, tensor in project.state_dict().items()}
        assert not weights.keys() & tensors.keys()
        facts["projection"] = {"tensors": sorted(weights), "does": summary_of(type(project))}
        tensors |= weights
    return tensors, facts


def summary_of(kind: type) -> str:
    """The first line of a class's docstring, else its name."""
    return (inspect.getdoc(kind) or kind.__name__).splitlines()[0]


def execute(
    run: Run,
    study: Study,
    bench: Bench,
    folder: Path,
    *,
    stop: Callable[[], bool] = lambda: False,
    show: Show = lambda state, total, now: None,
    ranks: Ranks = ONE,
) -> str:
    """Bring ``run`` to its end in ``folder``: ``result.json``, ``influence.npz``, ``model.*``, ``cost.json``.

    A run that was interrupted continues from its checkpoint; one that is complete is left alone. Divergence, a lack of
    memory and an error in the code of the loss are results, and are written as such. Returns how it ended: "finished",
    or status and reason, "failed: out of memory". Of several ``ranks`` all train, and process 0 judges.

    Raises:
        Stopped: ``stop`` said so; everything is saved.
        CouldNotFinish: the folder is in use, the disk is full, a checkpoint is damaged, or a process was lost.
    """
    if ranks.alone((folder / "result.json").exists):
        return "finished"
    ranks.alone(lambda: folder.mkdir(parents=True, exist_ok=True))
    study = study.model_copy(update={"recipe": recipe_of(run, study)})
    recipe = study.recipe
    policy = policy_of(run)
    classes = len(bench.train.identities)
    torch.set_num_threads(recipe.threads)
    keep_freed_memory()
    _reset_peak_memory()
    with locked(folder, wait=60.0) if ranks.rank == 0 else nullcontext():
        alone = policy.width > 1  # then the processes share the candidates, and each trains alone
        state = build_state(run, study, classes, ONE if alone else ranks)
        status, reason = "finished", ""
        try:
            if isinstance(policy, Replay):
                policy = _found(run, folder, recipe.epochs)
            if policy.width > 1:
                about = Search(run, study, bench, folder, policy, lambda: build_state(run, study, classes), stop, show)
                state = search(about, ranks.heard if ranks.rank else None)
            else:
                saved = checkpoint.load(folder, "checkpoint", state.held(), ranks)
                if saved is not None:
                    state.restore(saved[0], same_as_checkpoint(bench.train, saved[1], folder))
                prepared = {"faces": decisive(bench.train.contract)}
                train(
                    state,
                    FaceEpochs(bench.train, recipe, run.seed, run.competitor.batches),
                    recipe,
                    seed=run.seed,
                    courses=lambda epoch: policy.ask(epoch)[0],
                    save=lambda state: checkpoint.save(
                        folder, "checkpoint", state.tensors(), state.facts() | prepared, state.held(), ranks
                    ),
                    stop=stop,
                    observe=lambda state: observe(embedder(state, study), bench.val),
                    show=show,
                    ranks=ranks,
                )
        except Stopped:
            raise
        except Diverged as error:
            files = ", ".join(bench.train.files[i] for i in error.index[:8])
            status, reason = "diverged", error.reason + (f"; first files of that batch: {files}" if files else "")
        except (MemoryError, torch.OutOfMemoryError):
            status, reason = "failed", "out of memory"
        except LossFailed as error:
            status, reason = "failed", str(error)

        def watch(done: int, conditions: int) -> None:
            show(state, max(1, state.step), {"corrupted": done, "conditions": conditions})
            if ranks.size == 1 and stop():  # what is trained is saved, and is judged anew when continued
                raise Stopped

        endings = ranks.each(lambda: [status, reason])
        if not alone and any(ending != endings[0] for ending in endings):
            words = "; ".join(f"process {rank}: {' '.join(ending)}" for rank, ending in enumerate(endings))
            raise CouldNotFinish(f"the processes of this run ended in different ways ({words})")
        vectors = why.vectors_of(state.loss, bench.train) if status == "finished" else None
        facts = (run, study, bench, folder, state, status, reason, ranks.size, vectors, watch)
        ended: str = ranks.alone(lambda: _finish(*facts))
        return ended


def help_with(run: Run, study: Study, bench: Bench, folder: Path, *, stop: Callable[[], bool]) -> str:
    """Train candidates of ``run`` until the process that has the run has ended it, or nobody has it.

    Raises:
        Stopped: ``stop`` said so; everything is saved.
    """
    study = study.model_copy(update={"recipe": recipe_of(run, study)})
    policy = policy_of(run)
    classes = len(bench.train.identities)
    torch.set_num_threads(study.recipe.threads)
    keep_freed_memory()
    about = Search(run, study, bench, folder, policy, lambda: build_state(run, study, classes), stop)
    search(about, lambda: (folder / "result.json").exists() or stop())
    return "helped"


def recipe_of(run: Run, study: Study) -> Recipe:
    """The recipe of ``run``: the study's, for as many times its epochs as the row says."""
    return study.recipe.model_copy(update={"epochs": study.recipe.epochs * run.competitor.times})


def policy_of(run: Run) -> Policy:
    """What the hyperparameters of the run's loss are in which epoch; of a replay it is not yet known."""
    row = run.competitor
    if run.source:
        return Replay([], 0)
    return losses.policy(row.loss, seed=key(run.seed, "policy") % 2**62, **row.hyperparameters)


def _found(run: Run, folder: Path, epochs: int) -> Policy:
    """The schedule that the run's source found."""
    found = schedule(folder.parent / run.source)
    if not found or not (folder.parent / run.source / "result.json").exists():
        raise LossFailed(f"the search that it replays did not end ({run.source})")
    return Replay(found, epochs)


def _finish(
    run: Run,
    study: Study,
    bench: Bench,
    folder: Path,
    state: State,
    status: str,
    reason: str,
    processes: int,
    vectors: np.ndarray | None,
    watch: Watch,
) -> str:
    row, recipe = run.competitor, study.recipe
    who = {"run": run.id, "label": row.label, "loss": row.loss, "seed": run.seed}
    results: list[dict[str, Any]] = []
    curves: list[dict[str, Any]] = []
    looks: list[dict[str, Any]] = []
    influences: dict[str, np.ndarray] = {}
    if status == "finished":
        tensors, facts = model(state)
        contract = {
            "net": recipe.net,
            "net_options": recipe.net_options,
            **facts,
            "size": recipe.size,
            "preprocessing": PREPROCESSING,
            "input": "RGB, (value - 127.5) / 127.5",
            "flip_test": recipe.flip_test,
            "faces": decisive(bench.train.contract),
            "mean_face": to_text(bench.train),
            "trained_with": {"loss": row.loss, "hyperparameters": full_hyperparameters(row), "seed": run.seed},
        }
        checkpoint.save(folder, "model", tensors, contract)
        judged = judge(embedder(state, study), bench, study.robustness, watch)
        results, curves, influences = judged.results, judged.curves, judged.influences
        if judged.collapsed:
            status, reason = "collapsed", judged.collapsed
        else:
            plain = study.model_copy(update={"recipe": recipe.model_copy(update={"flip_test": False})})
            looks += why.of_training(embedder(state, plain), bench.train, vectors)
    if status != "failed":
        looks += why.of_loss(run, state.loss)
    peak = _peak_memory_mib()  # before the operations are counted, which takes a second network
    record = {
        "kind": "run",
        **who,
        "family": losses.describe(row.loss).family,
        "hyperparameters": full_hyperparameters(row),
        "batches": row.batches,
        "status": status,
        "reason": reason,
        "remarks": list(row.remarks),
        "epochs_done": state.epoch,
        "images_seen": state.images_seen,
        **_flops(run, study, state),
    }
    log = read(folder)["epochs"]
    if log:
        record["images_tried"] = sum(entry["images"] for entry in log)
    searched = [
        {"kind": "search", **who, **{k: v for k, v in entry.items() if k not in ("seconds", "lived", "observed")}}
        for entry in log
    ]
    epochs = [
        {"kind": "epoch", **who, "loss_value": entry["loss"], **{k: v for k, v in entry.items() if k != "loss"}}
        for entry in state.history
    ]
    cost = {
        **who,
        "seconds": round(state.seconds, 2),
        "cpu_seconds": round(state.cpu_seconds, 2),
        "epoch_seconds": [round(seconds, 2) for seconds in state.clock],  # at the end of each
        **_search_seconds(log),
        "images_per_second": round(state.images_seen / max(state.seconds, 1e-9), 1),
        "peak_memory_mib": peak,
        "processes": processes,  # the seconds and the memory are those of process 0
    }
    archive = io.BytesIO()
    np.savez(archive, **influences)  # type: ignore[arg-type]
    write_atomically(folder / "influence.npz", archive.getvalue())
    write_atomically(folder / "cost.json", json.dumps(cost).encode())
    rows = [record, *epochs, *searched, *({**who, **entry} for entry in results + curves + looks)]
    write_atomically(folder / "result.json", json.dumps(rows, indent=None).encode())
    checkpoint.remove(folder, "checkpoint")
    clear(folder)
    return f"{status}: {reason}" if reason else status


def _flops(run: Run, study: Study, state: State) -> dict[str, Any]:
    found = count_once(state.net, run.competitor, study, state.loss.classes)
    names = {"image": "flops_per_image", "net_step": "flops_net_step", "head_step": "flops_head_step", "batch": "batch"}
    return {names[name]: value for name, value in found._asdict().items()}


def _search_seconds(log: list[dict[str, Any]]) -> dict[str, Any]:
    """Seconds of all candidates of a search: in all, and at the end of each epoch."""
    ends = [round(seconds, 2) for seconds in accumulate(entry["seconds"] for entry in log)]
    return {"search_seconds": ends[-1], "epoch_search_seconds": ends} if ends else {}


def _reset_peak_memory() -> None:
    """Linux can forget the peak so far; elsewhere the peak is that of the whole process."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def _peak_memory_mib() -> int:
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) // 1024
    except OSError:
        pass
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
