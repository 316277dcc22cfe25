"""The page of thirty losses on five seeds in a real browser: quick, alone, readable, and without a mouse.

Chromium is driven over a pipe by its own protocol; where there is none, every test here is skipped and says so.
"""

import contextlib
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from faceloss.report import write_report

LOSSES = [
    "softmax", "normface", "cosface", "arcface", "triplet", "sphereface", "sphereface2", "curricularface", "adaface",
    "magface", "elasticface", "circle", "mv_softmax", "npcface", "uniface", "unitsface", "vpl", "coco", "center",
    "range_loss", "contrastive", "npair", "l2_softmax", "adacos", "hard_margin", "x2_softmax", "tse", "marginal",
]  # fmt: skip
SEARCHED = ["search_softmax", "lookahead_margin"]
BINARY = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), "")


class Browser:
    """One tab of a headless Chromium."""

    def __init__(self, profile: Path):
        there, write = os.pipe()
        read, back = os.pipe()
        # The shell gives the browser its two ends as files 3 and 4, which is where it looks for them.
        command = f'exec "$0" "$@" 3</dev/fd/{there} 4>/dev/fd/{back}'
        options = [
            "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-pipe",
            "--no-first-run", "--disable-background-networking", f"--user-data-dir={profile}", "about:blank",
        ]  # fmt: skip
        self.process = subprocess.Popen(
            ["/bin/sh", "-c", command, BINARY, *options], pass_fds=(there, back), stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(there)
        os.close(back)
        self.write, self.read = write, os.fdopen(read, "rb")
        self.events: list[dict[str, Any]] = []
        self.number, self.session = 0, ""
        target = self.ask("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.ask("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Log", "Runtime"):
            self.ask(f"{domain}.enable")

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        self.number += 1
        message = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while (answer := self._next()).get("id") != self.number:
            self.events.append(answer)
        assert "error" not in answer, answer
        found: dict[str, Any] = answer["result"]
        return found

    def value(self, expression: str) -> Any:
        """What a JavaScript expression gives."""
        found = self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in found, found
        return found["result"].get("value")

    def open(self, path: Path, width: int = 1280) -> None:
        self.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
        self.events.clear()
        self.ask("Page.navigate", url=path.resolve().as_uri())
        while not any(event.get("method") == "Page.loadEventFired" for event in self.events):
            self.events.append(self._next())

    def press(self, key: str, code: int, text: str = "") -> None:
        same = {"key": key, "code": key, "windowsVirtualKeyCode": code}
        self.ask("Input.dispatchKeyEvent", type="keyDown", **same, **({"text": text} if text else {}))
        self.ask("Input.dispatchKeyEvent", type="keyUp", **same)

    def _next(self) -> dict[str, Any]:
        found = bytearray()
        while (byte := self.read.read(1)) != b"\0":
            assert byte, "the browser ended"
            found += byte
        message: dict[str, Any] = json.loads(found)
        return message

    def close(self) -> None:
        with contextlib.suppress(OSError, AssertionError):
            self.session = ""
            self.ask("Browser.close")
        self.process.wait(timeout=20)
        os.close(self.write)
        self.read.close()


@pytest.fixture(scope="module")
def browser(tmp_path_factory) -> Iterator[Browser]:
    if not BINARY:
        pytest.skip("no Chromium here (Debian: apt-get install chromium): no browser has seen the page")
    found = Browser(tmp_path_factory.mktemp("profile"))
    yield found
    found.close()


@pytest.fixture(scope="module")
def page(tmp_path_factory, make_searched, save, more) -> Path:
    """Thirty losses, two of them searched for, with everything that a test can tell."""
    study = make_searched(SEARCHED, labels=tuple(LOSSES), seeds=(0, 1, 2, 3, 4), epochs=20, why=True)
    failures = more.failures(study)
    rows = [*study.records(), *more.groups(study), *more.open_sets(study), *more.maps(study), *failures]
    folder = save(tmp_path_factory.mktemp("thirty"), rows, study.costs())
    pictures = more.pictures(failures, True)
    (folder / "pictures.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pictures))
    return write_report(folder)


def test_thirty_losses_on_five_seeds_are_under_two_megabytes(page):
    text = page.read_text(encoding="utf-8")
    assert text.count('<th scope="row">') > 30
    for section in ("identification", "map", "groups", "failures"):
        assert f'<section id="{section}">' in text
    assert text.count("data:image/jpeg;base64,") == 2 * 24
    order = [text.index(f'<section id="{name}"') for name in ("figures", "search", "map", "why", "results", "failures")]
    assert order == sorted(order)
    assert '<a href="#why">Why</a>' in text
    assert 400_000 < page.stat().st_size < 2_000_000


PAINTED = "new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))"


def test_it_opens_in_under_a_second_and_asks_for_nothing(browser, page):
    """A second of the processor from the first byte to the first picture: what else the machine does does not count."""
    browser.ask("Performance.enable", timeDomain="threadTicks")
    took, waited = [], []
    for _ in range(3):
        browser.open(page)
        browser.ask("Runtime.evaluate", expression=PAINTED, awaitPromise=True)
        metrics = {m["name"]: m["value"] for m in browser.ask("Performance.getMetrics")["metrics"]}
        took.append(metrics["TaskDuration"])
        waited.append(browser.value("performance.getEntriesByType('navigation')[0].loadEventEnd"))
        asked = [e["params"]["request"]["url"] for e in browser.events if e["method"] == "Network.requestWillBeSent"]
        assert asked == [page.resolve().as_uri()]
        assert [e for e in browser.events if e["method"] in ("Log.entryAdded", "Runtime.exceptionThrown")] == []
    print(f"{page.stat().st_size / 1e6:.2f} MB: {took} s of the processor, loaded after {min(waited):.0f} ms")
    assert 0.01 < min(took) < 1


CONTRAST = """(() => {
  const channel = c => (c /= 255) <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const parse = text => { const v = text.match(/[\\d.]+/g).map(Number); return v.length > 3 ? v : [...v, 1]; };
  const over = (a, b) => [0, 1, 2].map(i => a[i] * a[3] + b[i] * (1 - a[3]));
  const ground = e => {
    if (!e) return [255, 255, 255];
    const own = parse(getComputedStyle(e).backgroundColor);
    return own[3] === 1 ? own : over(own, ground(e.parentElement));
  };
  const found = {};
  let texts = 0;
  document.querySelectorAll('details').forEach(d => d.open = true);
  const walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walk.nextNode()) {
    if (!walk.currentNode.data.trim()) continue;
    const e = walk.currentNode.parentElement, style = getComputedStyle(e);
    const back = ground(e), front = over(parse(e.ownerSVGElement ? style.fill : style.color), back);
    const [a, b] = [light(front), light(back)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    texts += 1;
    const name = `${e.tagName}.${e.className.baseVal ?? e.className} ${front} on ${back}`;
    if (ratio < (large ? 3 : 4.5)) found[name] = ratio;
  }
  return [texts, found, getComputedStyle(document.body).backgroundColor];
})()"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(browser, page, scheme):
    """WCAG 2.2, 1.4.3: at least 4.5 to 1, and 3 to 1 for large text."""
    browser.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
    browser.open(page)
    texts, faint, paper = browser.value(CONTRAST)
    assert texts > 3000
    assert paper == {"light": "rgb(253, 253, 252)", "dark": "rgb(22, 25, 29)"}[scheme]
    assert faint == {}


FOCUS = """(() => {
  const e = document.activeElement;
  if (!e || e === document.body) return null;
  const box = e.getBoundingClientRect(), style = getComputedStyle(e);
  const name = e.getAttribute('aria-label') || e.textContent.trim();
  const all = [...document.querySelectorAll('*')];
  return [all.indexOf(e), e.tagName, name, style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 2,
          box.bottom > 0 && box.top < innerHeight];
})()"""
HIDDEN = """[...document.querySelectorAll('main *')].filter(e => {
  const style = getComputedStyle(e);
  const scrolls = /auto|scroll/.test(style.overflowX) && e.scrollWidth > e.clientWidth + 1;
  return scrolls && !e.closest('svg') && e.tabIndex < 0;
}).map(e => e.outerHTML.slice(0, 80))"""


def test_everything_is_reached_in_order_by_the_keyboard_alone(browser, page):
    browser.open(page)
    reached = []
    for _ in range(200):
        browser.press("Tab", 9)
        now = browser.value(FOCUS)
        if now is None or (reached and now[0] <= reached[-1][0]):
            break
        reached.append(now)
    order, kinds, names, outlined, seen = zip(*reached, strict=True)
    assert list(order) == sorted(order)
    assert all(names), "everything that takes the focus has a name"
    assert all(outlined), [n for n, ok in zip(names, outlined, strict=True) if not ok]
    assert all(seen), [n for n, ok in zip(names, seen, strict=True) if not ok]
    targets = browser.value("document.querySelectorAll('a, summary').length")
    assert kinds.count("A") + kinds.count("SUMMARY") == targets
    assert browser.value(HIDDEN) == []


def test_a_link_and_a_folded_table_work_by_the_keyboard(browser, page):
    browser.open(page)
    browser.value("document.querySelector('nav a[href=\"#search\"]').focus()")
    browser.press("Enter", 13, "\r")
    assert browser.value("location.hash") == "#search"
    browser.value("document.querySelector('#search summary').focus()")
    assert browser.value("document.querySelector('#search details').open") is False
    browser.press("Enter", 13, "\r")
    assert browser.value("document.querySelector('#search details').open") is True


@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_itself_never_scrolls_sideways(browser, page, width):
    browser.open(page, width)
    assert browser.value("innerWidth") == width
    assert browser.value("document.documentElement.scrollWidth") <= width
    assert browser.value(HIDDEN) == []
