"""The table of what passed and what did not."""

from driver import Results

MARK = {"ok": "ok", "not ok": "RED", "skip": "-", None: "?"}
REASON_WIDTH = 260


def reds(results: Results, refused: set[tuple[str, str]]) -> list[tuple[str, str]]:
    """What works without the pooler and not with it, and is not known to be refused."""
    found = []
    for (driver, target, scenario), (verdict, _) in results.answers.items():
        direct = results.answers.get((driver, "direct", scenario), ("ok", ""))[0]
        if target == "pooler" and verdict == "not ok" and direct == "ok" and (driver, scenario) not in refused:
            found.append((driver, scenario))
    return found


def table(results: Results, drivers: list[str], targets: list[str], scenarios: list[str]) -> str:
    """A row for each driver with passed/tried for each target; then what is red or skipped, and why."""
    lines = [f"{'driver':<16}" + "".join(f"{target:>12}" for target in targets) + "   version"]
    for driver in drivers:
        if driver in results.not_installed:
            lines.append(f"{driver:<16}   {results.not_installed[driver]}")
            continue
        counts = "".join(f"{count(results, driver, target):>12}" for target in targets)
        lines.append(f"{driver:<16}{counts}   {results.versions.get(driver, '?')}")
    for driver in drivers:
        lines += differences(results, driver, targets, scenarios)
    return "\n".join(lines)


def count(results: Results, driver: str, target: str) -> str:
    verdicts = [answer[0] for (who, where, _), answer in results.answers.items() if (who, where) == (driver, target)]
    return f"{verdicts.count('ok')}/{len(verdicts) - verdicts.count('skip')}"


def differences(results: Results, driver: str, targets: list[str], scenarios: list[str]) -> list[str]:
    """What is not ok everywhere, those scenarios together that have the same reasons."""
    alike: dict[str, list[str]] = {}
    for scenario in scenarios:
        answers = {target: results.answers.get((driver, target, scenario), (None, "")) for target in targets}
        if text := difference(answers):
            alike.setdefault(text, []).append(scenario)
    return [f"\n{driver}: {', '.join(names)}: {text}" for text, names in alike.items()]


def difference(answers: dict[str, tuple[str | None, str]]) -> str:
    if all(verdict != "not ok" for verdict, _ in answers.values()):
        return next((f"skipped: {why}" for verdict, why in answers.values() if verdict == "skip"), "")
    marks = ", ".join(f"{target} {MARK[verdict]}" for target, (verdict, _) in answers.items())
    reasons = {target: why[:REASON_WIDTH] for target, (verdict, why) in answers.items() if verdict == "not ok"}
    return "\n".join([marks, *(f"    {target}: {why}" for target, why in reasons.items())])
