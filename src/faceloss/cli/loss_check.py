"""``faceloss losses check``: what every loss must do, asked of one; thin, the checks are in ``faceloss.checks``."""

import json
from typing import Any

import click

from faceloss.errors import BadInput


def check_loss(name: str, given: dict[str, Any], as_json: bool) -> int:
    """Run all checks on the loss ``name`` with the hyperparameters ``given``, in every setting; print what they say.

    Returns the exit code: 0 all hold, 1 something fails.

    Raises:
        BadInput: there is no such loss, or it cannot be built.
    """
    from faceloss import checks
    from faceloss.progress import Progress

    cases = list(checks.cases(name, given))
    for case in cases:
        try:
            case.loss()
        except (TypeError, ValueError) as error:
            raise BadInput(f"{case.name}: {error}") from error
    progress = Progress()
    todo = [(case, check) for case in cases for check in checks.applicable(case)]
    rows = []
    for number, (case, check) in enumerate(todo):
        progress(f"{case.name}: {check.__name__}", number, len(todo))
        sentence, asked = checks.failure(check, case), (check.__doc__ or "").splitlines()[0]
        row = {"setting": case.name, "check": check.__name__, "holds": not sentence, "asked": asked}
        rows.append(row | {"sentence": sentence})
    failed = [row for row in rows if row["sentence"]]
    settings = f"{len(cases)} setting{'s' * (len(cases) > 1)}"
    progress.say(f"checked {name} in {settings}")
    click.echo(json.dumps(rows, indent=1) if as_json else _sheet(rows))
    if not as_json:
        found = f"{len(failed)} of {len(rows)} checks fail" if failed else f"all {len(rows)} checks hold"
        click.echo(f"\n{name}: {found}, in {settings}.")
    return 1 if failed else 0


def _sheet(rows: list[dict[str, object]]) -> str:
    lines: list[str] = []
    setting = None
    for row in rows:
        if row["setting"] != setting:
            setting = row["setting"]
            lines.append(f"{setting}")
        said = f"pass  {row['check']}: {row['asked']}" if row["holds"] else f"FAIL  {row['check']}: {row['sentence']}"
        lines.append(f"  {said}")
    return "\n".join(lines)
