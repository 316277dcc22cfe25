"""Losses whose classes are spread over 2, 3 and 4 processes equal those of one, in value and every gradient."""

import multiprocessing
import traceback
from pathlib import Path

import pytest
import torch

from faceloss import checks, losses
from faceloss.errors import BadInput
from faceloss.losses.shards import gather, share
from faceloss.losses.spread import class_parameters, heads, spread

DIM, CLASSES, SIZES = 6, 11, (2, 3, 4)


def every_case():
    """Each loss with class vectors to spread, in each of its settings; Partial FC with all of them taking part."""
    for name in losses.own_names():
        for case in checks.cases(name, {"rate": 1.0} if name == "partial_fc" else {}):
            if heads(case.loss(DIM, CLASSES)):
                yield case


def batch():
    generator = torch.Generator().manual_seed(4)
    return (
        torch.randn(13, DIM, generator=generator, dtype=torch.float64),
        torch.randint(CLASSES, (13,), generator=generator),
    )


def build(case):
    return case.loss(DIM, CLASSES, seed=2).double()


def steps(loss, embeddings, labels):
    """Two passes, so that memories count: value, statistics, gradient of the embeddings, those of the parameters."""
    out = []
    for step in range(2):
        leaf = embeddings.clone().requires_grad_()
        loss.key(5, step)
        loss.zero_grad()
        result = loss(leaf, labels)
        result.loss.backward()
        gradients = {name: p.grad.to_dense().clone() for name, p in loss.named_parameters()}
        out.append((result.loss.detach(), result.statistics, leaf.grad, gradients))
    return out


def differences(one, many, parts):
    """What is not equal, in words; ``parts`` says which rows of a parameter are held."""
    for step, (whole, spread_out) in enumerate(zip(one, many, strict=True)):
        pairs = {"loss": (whole[0], spread_out[0]), "embeddings": (whole[2], spread_out[2])}
        pairs |= {f"statistic {n}": (v.double(), spread_out[1][n].double()) for n, v in whole[1].items()}
        for name, want in whole[3].items():
            pairs[name] = (want[slice(*parts[name])] if name in parts else want, spread_out[3][name])
        assert whole[2].norm() > 0
        for name, (want, got) in pairs.items():
            off = float((want - got).norm() / (want.norm() + 1e-12))
            if off > 1e-12:
                yield f"step {step}: {name} is off by {off:.1e}"


def held(loss, rank, size):
    """Parameter -> first and last row held."""
    parts = {}
    for name, got in class_parameters(loss).items():
        mine = share(CLASSES, rank, size)
        assert got[:3] == mine[:3]
        each = len(loss.get_parameter(name)) // (mine.high - mine.low)
        parts[name] = (mine.low * each, mine.high * each)
    return parts


def worker(rank, port, folder):
    """All cases on this process's part of each group; writes what is wrong into a file."""
    import torch.distributed as dist

    torch.set_num_threads(1)
    wrong = []
    try:
        dist.init_process_group("gloo", init_method=f"tcp://127.0.0.1:{port}", rank=rank, world_size=max(SIZES))
        groups = {size: dist.new_group(list(range(size))) for size in SIZES}
        embeddings, labels = batch()
        count = 0
        for size, group in groups.items():
            if rank >= size:
                continue
            for case in every_case():
                one = steps(build(case), embeddings, labels)
                loss = spread(build(case), group)
                many = steps(loss, embeddings, labels)
                found = differences(one, many, held(loss, rank, size))
                wrong += [f"{case.name}, {size} processes: {text}" for text in found]
                count += 1
            counts = [5, 8, 0, 0][:size] if size < 4 else [3, 3, 3, 4]
            wrong += check_gather(embeddings, counts, rank, group)
        dist.barrier()
        dist.destroy_process_group()
        wrong.append(f"cases: {count}")
    except BaseException:
        wrong.append(traceback.format_exc())
    Path(folder, f"{rank}.txt").write_text("\n".join(wrong))


def check_gather(embeddings, counts, rank, group):
    low = sum(counts[:rank])
    mine = embeddings[low : low + counts[rank]].clone().requires_grad_()
    whole = gather(mine, counts, group)
    weights = torch.arange(whole.numel(), dtype=torch.float64).view_as(whole)
    (gradient,) = torch.autograd.grad((whole * weights).sum(), mine)
    if not torch.equal(whole, embeddings) or not torch.equal(gradient, weights[low : low + counts[rank]]):
        yield f"gather of {counts} is wrong"


def test_two_three_and_four_processes_equal_one(tmp_path, free_ports):
    (port,) = free_ports(1)
    context = multiprocessing.get_context("spawn")
    ranks = [context.Process(target=worker, args=(rank, port, str(tmp_path))) for rank in range(max(SIZES))]
    for process in ranks:
        process.start()
    for process in ranks:
        process.join(240)
        assert process.exitcode == 0
    expected = len(list(every_case()))
    assert expected > 40
    for rank in range(max(SIZES)):
        *wrong, last = (tmp_path / f"{rank}.txt").read_text().split("\n")
        assert wrong == []
        assert last == f"cases: {expected * sum(size > rank for size in SIZES)}"


def test_shares_cover_all_classes_as_chunks_do():
    for classes in (8, 11, 100):
        for size in (1, 2, 3, 4):
            shares = [share(classes, rank, size) for rank in range(size)]
            assert [s.high - s.low for s in shares] == [len(c) for c in torch.arange(classes).chunk(size)]
            assert shares[0].low == 0
            assert shares[-1].high == classes


def test_a_process_without_classes_is_refused():
    with pytest.raises(BadInput, match=r"5 classes cannot be spread over 4 processes, 2 to each.*start 3 processes"):
        share(5, 0, 4)
