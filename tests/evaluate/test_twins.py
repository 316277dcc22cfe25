"""Every protocol on its generated twin, against plain loops that share no code with it, to the last pair."""

import numpy as np
import pytest
from scipy.optimize import minimize

from faceloss.evaluate.protocol import DEFINITIONS, judge_protocol, load_protocol, names
from faceloss.evaluate.twins import MAKERS, twin


def run(name):
    arrays = twin(name)
    return arrays, judge_protocol(load_protocol(name), arrays)


def cosines(a, b=None):
    a = a.astype(np.float64) / np.linalg.norm(a.astype(np.float64), axis=1)[:, None]
    b = a if b is None else b.astype(np.float64) / np.linalg.norm(b.astype(np.float64), axis=1)[:, None]
    return a @ b.T


def cut(scores, share):
    """The score that must stay out: more than ``share`` of the scores would be accepted with it."""
    ordered = np.sort(scores)[::-1]
    allowed = int(share * len(ordered) + 1e-9)
    assert allowed < len(ordered)
    return ordered[allowed]


def hits(genuine, kept_out):
    return int(np.sum(genuine > kept_out))


def rows_of(outcome, metric, **facts):
    return [r for r in outcome.rows if r.metric == metric and all(getattr(r, k) == v for k, v in facts.items())]


def one(outcome, metric, **facts):
    (row,) = rows_of(outcome, metric, **facts)
    return row


def counted(row):
    """The whole number of comparisons behind a share."""
    count = row.value * row.pairs
    assert abs(count - round(count)) < 1e-6
    return round(count)


def accuracy_by_folds(score, same, fold):
    """LFW's rule, by trying every threshold: of those that are best on the other folds the middle one."""
    shares = []
    for name in sorted(set(fold.tolist())):
        other, own = fold != name, fold == name
        levels = np.unique(score[other])
        tried = [levels[0], *((levels[1:] + levels[:-1]) / 2), np.inf]
        right = [np.sum((score[other] >= t) == same[other]) for t in tried]
        best = [k for k, count in enumerate(right) if count == max(right)]
        t = tried[best[(len(best) - 1) // 2]]
        shares.append(np.mean((score[own] >= t) == same[own]))
    return np.mean(shares)


def equal_error(genuine, impostor):
    """Where the two error rates cross, on the line between the neighboring thresholds."""
    both = np.concatenate([genuine, impostor])
    order = np.argsort(both)
    mine = (np.arange(len(both)) < len(genuine))[order]
    fnmr = np.append(0, np.cumsum(mine)) / len(genuine)  # the k lowest scores are rejected
    fmr = 1 - np.append(0, np.cumsum(~mine)) / len(impostor)
    k = np.flatnonzero(fnmr >= fmr)[0]
    gap = fnmr - fmr
    return fmr[k - 1] + gap[k - 1] / (gap[k - 1] - gap[k]) * (fmr[k] - fmr[k - 1])


def area(genuine, impostor):
    return np.mean([np.mean(impostor < g) for g in genuine])


def check_verification(outcome, genuine, impostor, **facts):
    found = rows_of(outcome, "tar", **facts)
    assert len(found) == 9
    assert {r.status for r in found} == {"measured", "not measurable"}
    for row in found:
        assert (row.status == "measured") == (row.at * len(impostor) >= 30 - 1e-9)
        if row.value is not None:
            assert counted(row) == hits(genuine, cut(impostor, row.at))
            assert row.attained == pytest.approx(int(row.at * len(impostor) + 1e-9) / len(impostor))
    assert one(outcome, "eer", **facts).value == pytest.approx(equal_error(genuine, impostor), abs=1e-9)
    assert one(outcome, "auc", **facts).value == pytest.approx(area(genuine, impostor), abs=1e-8)  # two float32 may tie


def test_every_protocol_has_a_twin():
    assert set(names()) == set(MAKERS) == {path.stem for path in DEFINITIONS.glob("*.toml")}
    for name in names():
        first, again, other = twin(name, 0), twin(name, 0), twin(name, 1)
        assert all((first[key] == again[key]).all() for key in first)
        assert (first["embeddings"].shape != other["embeddings"].shape) or (
            first["embeddings"] != other["embeddings"]
        ).any()


def test_lfw():
    arrays, outcome = run("lfw")
    a, b, same, fold = arrays["pairs"].T
    score, same = cosines(arrays["embeddings"])[a, b], same == 1
    assert (same == (arrays["identities"][a] == arrays["identities"][b])).all()
    assert one(outcome, "accuracy").value == pytest.approx(accuracy_by_folds(score, same, fold), abs=1e-12)
    check_verification(outcome, score[same], score[~same])


def test_rfw():
    arrays, outcome = run("rfw")
    e, groups = arrays["embeddings"], arrays["groups"]
    accuracies = {}
    for name in sorted(set(groups.tolist())):
        a, b, same, fold = arrays["pairs"][groups[arrays["pairs"][:, 0]] == name].T
        score = cosines(e)[a, b]
        accuracies[name] = accuracy_by_folds(score, same == 1, fold)
        assert one(outcome, "accuracy", group=name).value == pytest.approx(accuracies[name], abs=1e-12)
        check_verification(outcome, score[same == 1], score[same == 0], group=name)
    values = list(accuracies.values())
    assert len(set(values)) == 4
    assert one(outcome, "accuracy", group="").value == pytest.approx(np.mean(values))
    assert one(outcome, "lowest accuracy").value == min(values)
    assert one(outcome, "lowest accuracy").note.startswith(min(accuracies, key=accuracies.get))
    assert one(outcome, "spread").value == pytest.approx(np.std(values, ddof=1))


def pooled(arrays):
    """Means of media, then their sum, by loops over templates."""
    found = {}
    unit = arrays["embeddings"] / np.linalg.norm(arrays["embeddings"], axis=1)[:, None]
    for template in sorted(set(arrays["templates"].tolist())):
        own = arrays["templates"] == template
        media = [unit[own & (arrays["media"] == m)].mean(axis=0) for m in set(arrays["media"][own].tolist())]
        found[template] = np.sum(media, axis=0), arrays["identities"][own][0], arrays["roles"][own][0]
    return found


def test_ijb():
    arrays, outcome = run("ijb")
    templates = pooled(arrays)
    assert max(np.bincount(arrays["templates"] - 1000)) > 3
    ids = list(templates)
    score = cosines(np.array([templates[t][0] for t in ids]))
    place = {t: k for k, t in enumerate(ids)}
    pairs = np.array([[place[a], place[b]] for a, b, _ in arrays["comparisons"].tolist()])
    same = arrays["comparisons"][:, 2] == 1
    values = score[pairs[:, 0], pairs[:, 1]]
    check_verification(outcome, values[same], values[~same])
    people, roles = np.array([templates[t][1] for t in ids]), np.array([templates[t][2] for t in ids])
    probes = np.flatnonzero(roles == "probe")
    tpirs, ranks = [], []
    for name in ("gallery1", "gallery2"):
        gallery = np.flatnonzero(roles == name)
        mated = [p for p in probes if people[p] in people[gallery]]
        strangers = [p for p in probes if people[p] not in people[gallery]]
        alarm = np.array([score[p, gallery].max() for p in strangers])
        first, place_of = 0, []
        for p in mated:
            own = score[p, gallery[people[gallery] == people[p]]].max()
            place_of.append(1 + np.sum(score[p, gallery[people[gallery] != people[p]]] >= own))
            first += place_of[-1] == 1 and own > cut(alarm, 0.1)
        tpirs.append(first / len(mated))
        ranks.append(np.mean(np.array(place_of) <= 5))
        assert one(outcome, "tpir", at=0.1, group=name).value == pytest.approx(tpirs[-1], abs=1e-12)
        assert one(outcome, "rank", at=5.0, group=name).value == pytest.approx(ranks[-1], abs=1e-12)
        assert one(outcome, "tpir", at=0.01, group=name).status == "not measurable"
    assert tpirs[0] != tpirs[1]
    assert one(outcome, "tpir", at=0.1, group="").value == pytest.approx(np.mean(tpirs), abs=1e-12)
    assert one(outcome, "rank", at=5.0, group="").value == pytest.approx(np.mean(ranks), abs=1e-12)


def distractor_parts(arrays):
    roles, people = arrays["roles"], arrays["identities"]
    known, others = np.flatnonzero(roles == "probe"), np.flatnonzero(roles == "distractor")
    order = np.argsort(np.random.Generator(np.random.Philox(key=0)).random(len(others)))
    e = arrays["embeddings"]
    rows = {}
    for k, person in enumerate(people[known].tolist()):
        rows.setdefault(person, []).append(k)
    i, j = np.array([(p, q) for own in rows.values() for p in own for q in own if p != q]).T
    unit = e[known].astype(np.float64) / np.linalg.norm(e[known].astype(np.float64), axis=1)[:, None]
    return np.sum(unit[i] * unit[j], axis=1), i, (i < j), cosines(e[known], e[others[order]])


def test_megaface():
    arrays, outcome = run("megaface")
    genuine, probe, once, crowd = distractor_parts(arrays)
    assert crowd.shape[1] == 2_000
    shares = []
    for n in (10, 100, 1_000):
        beaten = sum(g > crowd[p, :n].max() for g, p in zip(genuine, probe, strict=True))
        row = one(outcome, "rank", gallery=n)
        assert counted(row) == beaten
        assert row.pairs == len(genuine)
        shares.append(row.value)
        for row in rows_of(outcome, "tar", gallery=n):
            impostor = crowd[:, :n].ravel()
            assert (row.status == "measured") == (row.at * impostor.size >= 30)
            if row.value is not None:
                assert counted(row) == hits(genuine[once], cut(impostor, row.at))
                assert row.attained == int(row.at * impostor.size) / impostor.size
    assert shares[0] > shares[1] > shares[2]
    assert {r.status for r in rows_of(outcome, "tar")} == {"measured", "not measurable"}
    for n in (10_000, 100_000, 1_000_000):
        assert {r.status for r in outcome.rows if r.gallery == n} == {"not measurable"}
        assert "there are 2,000" in one(outcome, "rank", gallery=n).note


def test_trillion_pairs():
    arrays, outcome = run("trillion-pairs")
    genuine, probe, _, crowd = distractor_parts(arrays)
    best = crowd.max(axis=1)
    row = one(outcome, "tpir")
    assert (row.at, row.gallery) == (1e-3, 300)
    assert counted(row) == int(np.sum((genuine > best[probe]) & (genuine > cut(best, 1e-3))))
    assert row.attained == int(1e-3 * len(best)) / len(best)
    assert counted(one(outcome, "rank")) == int(np.sum(genuine > best[probe]))
    verification = one(outcome, "tar")
    assert (verification.at, verification.status, verification.value) == (1e-9, "not measurable", None)
    assert "30,000,000,000" in verification.note


def test_cross_matrix():
    arrays, outcome = run("cross-matrix")
    score, people = cosines(arrays["embeddings"]), arrays["identities"]
    i, j = np.triu_indices(len(people), 1)
    same = people[i] == people[j]
    check_verification(outcome, score[i, j][same], score[i, j][~same])


def test_rank():
    arrays, outcome = run("rank")
    score, people = cosines(arrays["embeddings"]), arrays["identities"]
    np.fill_diagonal(score, -2)
    places = []
    for p in range(len(people)):
        own = people == people[p]
        if own.sum() > 1:
            places.append(1 + np.sum(score[p, ~own] >= score[p, own].max()))
    for k in (1, 5, 10):
        assert counted(one(outcome, "rank", at=float(k))) == int(np.sum(np.array(places) <= k))


def test_closed_set():
    arrays, outcome = run("closed-set")
    people = arrays["identities"]
    x = arrays["embeddings"].astype(np.float64)
    x /= np.linalg.norm(x, axis=1)[:, None]
    held, kept = [], []
    for person in sorted(set(people.tolist())):
        own = np.flatnonzero(people == person).tolist()
        if len(own) >= 4:
            test = [own[int(len(own) / 4)], own[int(3 * len(own) / 4)]]
            held += test
            kept += [image for image in own if image not in test]
    classes, y = np.unique(people[kept], return_inverse=True)
    one_hot = np.eye(len(classes))[y]

    def loss(flat):
        w = flat.reshape(len(classes), -1)
        z = x[kept] @ w[:, :-1].T + w[:, -1]
        z -= z.max(axis=1, keepdims=True)
        p = np.exp(z) / np.exp(z).sum(axis=1, keepdims=True)
        value = -np.mean(np.log(p[np.arange(len(y)), y])) + 0.5e-5 * np.sum(w[:, :-1] ** 2)
        slope = (p - one_hot) / len(y)
        gradient = np.concatenate([slope.T @ x[kept] + 1e-5 * w[:, :-1], slope.sum(axis=0)[:, None]], axis=1)
        return value, gradient.ravel()

    found = minimize(
        loss, np.zeros(len(classes) * (x.shape[1] + 1)), jac=True, method="L-BFGS-B", options={"maxiter": 150}
    )
    w = found.x.reshape(len(classes), -1)
    named = classes[np.argmax(x[held] @ w[:, :-1].T + w[:, -1], axis=1)]
    row = one(outcome, "accuracy")
    assert row.pairs == len(held)
    assert abs(counted(row) - int(np.sum(named == people[held]))) <= 2  # two solvers of a nearly flat objective


def test_open_set():
    arrays, outcome = run("open-set")
    people = arrays["identities"]
    score = cosines(arrays["embeddings"])
    sizes = np.bincount(people)
    rng = np.random.Generator(np.random.Philox(key=0))
    several = np.flatnonzero(sizes > 1)
    enrolled = several[np.argsort(rng.random(len(several)))][: (len(several) + 1) // 2]
    first = {person: int(np.flatnonzero(people == person)[0]) for person in enrolled}
    probes = [i for i in range(len(people)) if first.get(people[i]) != i]
    listed = np.array(sorted(enrolled))
    order = listed[np.argsort(np.random.Generator(np.random.Philox(key=0)).random(len(listed)))]
    strangers = [p for p in probes if people[p] not in first]
    values = []
    for n in (10, 100, len(enrolled)):
        gallery = np.array([first[person] for person in order[:n]])
        alarm = np.array([score[p, gallery].max() for p in strangers])
        mated = [p for p in probes if people[p] in order[:n]]
        found = 0
        for p in mated:
            own = score[p, first[people[p]]]
            others = gallery[people[gallery] != people[p]]
            found += own > score[p, others].max() and own > cut(alarm, 0.1)
        row = one(outcome, "tpir", at=0.1, gallery=n)
        assert row.pairs == len(mated)
        assert counted(row) == found
        assert row.attained == pytest.approx(int(0.1 * len(alarm)) / len(alarm))
        values.append((row.value, row.threshold))
        assert one(outcome, "tpir", at=0.001, gallery=n).status == "not measurable"
    assert values[0][1] < values[1][1] < values[2][1]  # a threshold belongs to a gallery size
    assert [curve.gallery for curve in outcome.curves] == [10, 100, len(enrolled)]


def test_groups():
    arrays, outcome = run("groups")
    people, groups = arrays["identities"], arrays["groups"]
    score = cosines(arrays["embeddings"])
    i, j = np.triu_indices(len(people), 1)
    apart, score = people[i] != people[j], score[i, j]
    kept_out = cut(score[apart], 1e-3)
    found = {(r.metric, r.group, r.other): r for r in outcome.groups}
    names_ = sorted(set(groups.tolist()))
    fmr, fnmr = {}, {}
    for g in names_:
        inside = (groups[i] == g) & (groups[j] == g) & ~apart
        fnmr[g] = int(np.sum(score[inside] <= kept_out))
        row = found["fnmr", g, ""]
        assert (row.errors, row.pairs) == (fnmr[g], int(inside.sum()))
        assert row.value == pytest.approx(fnmr[g] / inside.sum(), abs=1e-12)
        for h in names_[names_.index(g) :]:
            between = (((groups[i] == g) & (groups[j] == h)) | ((groups[i] == h) & (groups[j] == g))) & apart
            fmr[g, h] = int(np.sum(score[between] > kept_out))
            row = found["fmr", g, h if g != h else ""]
            assert (row.errors, row.pairs) == (fmr[g, h], int(between.sum()))
            assert (row.at, row.attained) == (1e-3, pytest.approx(int(1e-3 * apart.sum()) / apart.sum()))
    assert len(set(fmr.values())) > 5
    assert sum(fmr.values()) == int(1e-3 * apart.sum())
    worst, best = max(names_, key=lambda g: fmr[g, g]), min(names_, key=lambda g: fmr[g, g])
    ratio = next(r for r in outcome.groups if r.metric == "fmr ratio")
    assert (ratio.group, ratio.other, ratio.value) == (worst, best, pytest.approx(fmr[worst, worst] / fmr[best, best]))
    rest = [fmr[g, g] / 38220 for g in names_ if g != worst]
    assert found["fmr to the others", worst, ""].value == pytest.approx(fmr[worst, worst] / 38220 - np.mean(rest))
