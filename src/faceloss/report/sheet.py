"""The style sheet: system fonts, light and dark by the reader's own setting, and paper."""

from faceloss.report.svg import COLORS


def _variables(scheme: int) -> str:
    return " ".join(f"--{name}: {pair[scheme]};" for name, pair in COLORS.items())


# Beside the colors of the figures: quiet panels, and the two verdicts that take a color.
_LIGHT = "--panel: #f3f5f7; --line: #dfe3e7; --better: #006d56; --worse: #a83f00; color-scheme: light;"
_DARK = "--panel: #1e2328; --line: #333a42; --better: #4ed0a8; --worse: #f39152; color-scheme: dark;"

_RULES = """
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body, .plot text { font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "Liberation Sans",
  sans-serif; }
body { margin: 0; background: var(--paper); color: var(--ink); line-height: 1.55; font-size: 16px; }
main { max-width: 96rem; margin: 0 auto; padding: 3rem 1.75rem 5rem; }
p, li, dd, dt, figcaption { max-width: 46rem; overflow-wrap: anywhere; }
h1 { font-size: 1.9rem; line-height: 1.2; letter-spacing: -0.015em; margin: 0 0 0.4rem; overflow-wrap: anywhere; }
h2 { font-size: 1.3rem; letter-spacing: -0.01em; margin: 4rem 0 0.75rem; padding-top: 1.25rem;
  border-top: 1px solid var(--line); }
h3 { font-size: 1rem; margin: 2.25rem 0 0.5rem; overflow-wrap: anywhere; }
h4 { font-size: 0.9rem; margin: 1.5rem 0 0.25rem; overflow-wrap: anywhere; }
a { color: var(--c1); text-underline-offset: 0.15em; }
:focus-visible { outline: 2px solid var(--c1); outline-offset: 3px; }
.facts, figcaption, .note, small { color: var(--muted); }
.facts { margin: 0; }
.answer { max-width: 64rem; background: var(--panel); border-radius: 10px; padding: 1.5rem 1.75rem;
  margin: 1.75rem 0 1.5rem; }
.answer h2 { border: 0; margin: 0 0 0.5rem; padding: 0; font-size: 0.85rem; color: var(--muted); }
.answer p { margin: 0.6rem 0 0; max-width: 56rem; font-variant-numeric: tabular-nums; }
.answer p:first-of-type { font-size: 1.2rem; line-height: 1.45; margin-top: 0; }
nav { font-size: 0.9rem; }
nav a { margin-right: 1.1rem; display: inline-block; }
.scroll { overflow-x: auto; margin: 0.75rem 0; }
table { border-collapse: collapse; font-size: 0.875rem; line-height: 1.35; font-variant-numeric: tabular-nums; }
th, td { padding: 0.5rem 0.9rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  white-space: nowrap; }
td.wrap { white-space: normal; min-width: 14rem; overflow-wrap: anywhere; }
thead th { font-weight: 600; color: var(--muted); vertical-align: bottom; border-bottom-color: var(--muted); }
thead tr.tests th { border-bottom: 0; color: var(--ink); }
thead tr.tests th[rowspan] { border-bottom: 1px solid var(--muted); }
.main th, .main td { padding: 0.5rem 0.7rem; }
.main thead th { white-space: normal; }
.far { white-space: nowrap; }
.main td.absent { white-space: normal; min-width: 5.5rem; }
.n { text-align: right; }
.group { border-left: 1px solid var(--line); }
td small, th small { display: block; font-size: 0.79rem; font-weight: 400; }
tbody th { font-weight: 500; max-width: 16rem; white-space: normal; overflow-wrap: anywhere; min-width: 9.5rem; }
.main tbody th, .main thead .corner { position: sticky; left: 0; background: var(--paper); z-index: 1; }
.main tr.base th, .main tr.base td { background: var(--panel); }
.main tr.base th { font-weight: 700; }
.absent { color: var(--muted); }
.v { font-weight: 600; } .better { color: var(--better); } .worse { color: var(--worse); }
.none, .unmeasurable { color: var(--muted); font-weight: 500; } .diverged { color: var(--worse); }
figure { margin: 1.5rem 0 3rem; }
.plot { overflow-x: auto; }
.plot svg { display: block; width: 100%; min-width: 38rem; height: auto; }
figcaption { margin-top: 0.6rem; font-size: 0.9rem; }
figcaption b { color: var(--ink); }
.hardest p { margin: 0.75rem 0 0.25rem; }
.pairs { list-style: none; display: flex; flex-wrap: wrap; gap: 0.75rem 1.25rem; margin: 0; padding: 0; }
.pairs li { max-width: 18rem; } .pairs small { display: block; } .pairs img { display: inline-block; width: 56px;
  height: 56px; object-fit: contain; margin-right: 3px; }
details { margin: 0.75rem 0; }
summary { cursor: pointer; color: var(--c1); width: fit-content; }
pre { background: var(--panel); border-radius: 8px; padding: 0.9rem 1.1rem; overflow-x: auto; white-space: pre-wrap;
  overflow-wrap: anywhere; font-size: 0.875rem; }
code, pre { font-family: ui-monospace, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; }
.digest { font-size: 0.8rem; overflow-wrap: anywhere; white-space: normal; min-width: 13rem; }
dl { display: grid; grid-template-columns: minmax(8rem, 13rem) 1fr; gap: 0.55rem 1.5rem; }
dt { font-weight: 600; } dd { margin: 0; }
@media (max-width: 40rem) {
  main { padding: 1.5rem 1rem 3rem; }
  .answer { padding: 1.1rem 1.1rem; } .answer p:first-of-type { font-size: 1.08rem; }
  h1 { font-size: 1.5rem; }
  dl { grid-template-columns: 1fr; gap: 0.15rem; } dd { margin-bottom: 0.8rem; }
  .main tbody th { min-width: 6.5rem; max-width: 8rem; }
  th, td { padding: 0.45rem 0.6rem; }
}
@page { size: A4; margin: 14mm; }
@page wide { size: A4 landscape; margin: 10mm; }
@media print {
  body { font-size: 10pt; }
  main { max-width: none; padding: 0; }
  nav { display: none; }
  h2 { margin-top: 1.5rem; } h2, h3 { break-after: avoid; }
  figure, tr, .answer { break-inside: avoid; }
  .answer, pre { border: 1px solid var(--line); }
  .scroll, .plot { overflow: visible; }
  .plot svg { min-width: 0; }
  table { font-size: 7.5pt; } th, td { padding: 2pt 4pt; }
  .wide { page: wide; }
  .wide table { font-size: 5.6pt; } .wide th, .wide td { padding: 2pt 2.5pt; min-width: 0 !important; }
  .main tbody th, .main thead .corner { position: static; }
  details::details-content { content-visibility: visible; block-size: auto; }
}
"""


def sheet() -> str:
    """The whole style sheet; on paper always the light scheme."""
    return (
        f":root {{ {_variables(0)} {_LIGHT} }}\n"
        f"@media screen and (prefers-color-scheme: dark) {{ :root {{ {_variables(1)} {_DARK} }} }}\n{_RULES}"
    )
