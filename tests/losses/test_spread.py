"""Losses whose classes are spread over 2, 3 and 4 processes equal those of one, in value and every gradient."""

import multiprocessing
import traceback
from pathlib import Path

import pytest
import torch

from faceloss import checks, losses
from faceloss.errors import BadInput
from faceloss.losses import shards
from faceloss.losses.partial_fc import sampled
from faceloss.losses.shards import gather, holding, share, table
from faceloss.losses.spread import class_parameters, heads, kept_whole, spread

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


MANY = 60
RULES = ("cosface", "arcface", "mv_softmax", "npcface", "curricularface", "sphereface2", "adacos")


def drawn_from(name, rate):
    """A loss with a part of its classes: of 60, of which the batch has 3 to 8; at rate 0.05 there are no others."""
    return sampled(losses.build(name, dim=DIM, classes=MANY, seed=2).double(), rate)


def some_of_the_classes(rank, size, group):
    """Partial FC: the classes that take part are those of one process, though some processes hold none of them."""
    for labels, rate in ((torch.arange(13) % 3, 0.05), (torch.arange(13) % 8 * 7, 0.3), (torch.arange(13) % 8, 0.9)):
        for name in RULES:
            one = steps(drawn_from(name, rate), batch()[0], labels)
            loss = spread(drawn_from(name, rate), group)
            many = steps(loss, batch()[0], labels)
            took = one[0][3]["weight"].any(1)
            assert took[labels].all()
            assert took.sum() == {0.05: 3, 0.3: 18, 0.9: 54}[rate]
            found = differences(one, many, held(loss, rank, size, MANY))
            yield from (f"{name} of which {rate} take part, {size} processes: {text}" for text in found)


def built_in_parts(rank, size, group):
    """A loss that never had other rows is the one that was spread, to the bit."""
    for case in every_case():
        with holding(rank, size, group):
            mine = case.loss(DIM, CLASSES, seed=2)
        theirs = spread(case.loss(DIM, CLASSES, seed=2), group)
        assert len(held(spread(mine), rank, size)) == len(class_parameters(theirs)) > 0
        got, want = mine.state_dict(), theirs.state_dict()
        if got.keys() != want.keys() or not all(torch.equal(got[name], want[name]) for name in want):
            yield f"{case.name}: process {rank} of {size} has built something else"


def held(loss, rank, size, classes=CLASSES):
    """Parameter -> first and last row held."""
    parts = {}
    for name, got in class_parameters(loss).items():
        mine = share(classes, rank, size)
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
            wrong += some_of_the_classes(rank, size, group)
            wrong += built_in_parts(rank, size, group)
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


@pytest.mark.parametrize(("rows", "dim", "size"), [(1000, 7, 3), (65, 3, 4), (33, 64, 2), (3, 2, 2)])
def test_class_vectors_are_drawn_in_blocks_as_at_once(rows, dim, size, monkeypatch):
    """To the bit, with what is drawn after them; never more than two blocks are in memory."""
    draw, sizes = torch.randn, []

    def watched(*shape):
        sizes.append(shape[0])
        return draw(*shape)

    monkeypatch.setattr(shards, "AT_ONCE", 64)
    with torch.random.fork_rng():
        torch.manual_seed(1)
        whole, after = torch.randn(rows, dim) / dim**0.5, torch.randn(5)
        monkeypatch.setattr(torch, "randn", watched)
        parts = []
        for rank in range(size):
            torch.manual_seed(1)
            parts.append(table(rows, dim, share(rows, rank, size)))
            assert torch.equal(draw(5), after)
            assert len(parts[-1]) == len(range(rows)[slice(*share(rows, rank, size)[:2])])
    assert torch.equal(torch.cat(parts), whole)
    assert max(sizes) < 128


def test_what_is_whole_on_each_process_is_named():
    found = {name: kept_whole(losses.sketch(name, dim=4, classes=9)) for name in ("cosface", "softmax", "triplet")}
    assert found == {"cosface": [], "softmax": [], "triplet": []}
    assert kept_whole(losses.sketch("subcenter_arcface", dim=4, classes=9)) == []
    assert kept_whole(losses.sketch("vpl", dim=4, classes=9)) == ["weight", "vectors.memory", "vectors.seen"]
    assert kept_whole(losses.sketch("unitsface", dim=4, classes=9)) == ["terms.uss.vectors.rows"]
    assert kept_whole(losses.sketch("center", dim=4, classes=9)) == ["terms.center.centers"]
    assert kept_whole(losses.sketch("tpe", dim=4, classes=2, size=2)) == []
