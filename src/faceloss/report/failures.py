"""What went wrong or is missing: runs that stopped, runs not run yet, files that were refused."""

from collections import Counter

from faceloss.report import answer
from faceloss.report.markup import Child, head, numeric, row, table, tag
from faceloss.report.records import Records
from faceloss.report.words import count, plural


def failures(records: Records) -> list[Child]:
    """Refused files with reasons and counts; runs that stopped, with reason; runs that are missing."""
    parts: list[Child] = []
    bad = [run for run in records.runs.values() if run.status != "finished"]
    if bad:
        header = head("Loss", *numeric("Seed"), "What happened", *numeric("Epochs done"), "Reason")
        body = [
            row(
                r.label, tag("td", str(r.seed), class_="n"), r.status, tag("td", count(r.epochs_done), class_="n"),
                tag("td", r.reason or "no reason recorded", class_="wrap"),
            )
            for r in bad
        ]  # fmt: skip
        parts += [tag("h3", "Runs that did not finish"), table(header, body, name="Runs that did not finish")]
    else:
        parts.append(tag("p", "No run diverged, collapsed or failed." if records.runs else "No run has been recorded."))
    if records.missing:
        parts.append(tag("h3", "Runs that are missing"))
        parts.append(tag("p", answer.missing(records)))
        waiting = Counter(label for label, _ in records.missing)
        parts.append(tag("ul", [tag("li", f"{label}: {plural(n, 'run')}") for label, n in waiting.items()]))
    reasons = [(data, reason, n) for data in records.data for reason, n in data.reasons.items() if n]
    if reasons:
        header = head("Role", "Data", *numeric("Files"), "Reason")
        body = [
            row(d.role, d.name, tag("td", count(n), class_="n"), tag("td", reason, class_="wrap"))
            for d, reason, n in reasons
        ]
        parts += [tag("h3", "Files that were refused"), table(header, body, name="Files that were refused")]
        files = [(d.role, *f[:2]) for d in records.data for f in d.refused_files if len(f) > 1]
        if files:
            header = head("Role", "File", "Reason")
            body = [row(role, tag("td", f, class_="wrap"), tag("td", why, class_="wrap")) for role, f, why in files]
            listing = table(header, body, name="Names of refused files")
            parts.append(tag("details", tag("summary", f"Names of {plural(len(files), 'file')}"), listing))
    elif records.data:
        refused = sum(data.refused for data in records.data)
        parts.append(tag("p", f"{plural(refused, 'file')} refused." if refused else "No file was refused."))
    if records.unknown:
        named = ", ".join(f"{kind} ({n})" for kind, n in sorted(records.unknown.items()))
        parts.append(tag("p", f"Records of a kind that this page does not show: {named}."))
    return parts
