"""Explain which detector a study goes to: what its headers say, and each detector's answer."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from medscan import results
from medscan.archive import ArchiveFile, Outcome, Pseudonyms, Series, Stack, Study
from medscan.errors import UsageError
from medscan.inspect.forecast import forecast_pseudonyms, ledgers
from medscan.options import ScanOptions
from medscan.planning import Survey, Walk, check, survey_archive, walk
from medscan.routing import Route, Trial, route
from medscan.text import printable

IsMeant = Callable[[ArchiveFile], bool]


def explain(options: ScanOptions, name: str) -> dict[str, Any]:
    """Explain the studies that a name stands for, without scanning or writing anything.

    Parameters
    ----------
    options : ScanOptions
    name : str
        Key or StudyInstanceUID of a study, SeriesInstanceUID, file or folder, as it is or as the
        results show it.

    Returns
    -------
    dict
        `studies`: key, UID and stacks of each, with what their headers say and each detector's
        answer. `set_aside`: [path, reason, detail] of files that belong to no study.

    Raises
    ------
    UsageError
        If it stands for nothing in the archive.
    """
    check(options)
    pseudonyms, survey = _survey(options, name)
    is_meant = _test(name, pseudonyms)
    studies = [
        found
        for study in survey.catalogue.studies
        if (found := _study(study, options, name, is_meant))["stacks"]
    ]
    aside = [
        [pseudonyms.path(o.file.path), str(o.reason), pseudonyms.outcome(o).detail]
        for o in survey.catalogue.set_aside
        if is_meant(o.file) or name in (o.study, o.series)
    ]
    if not studies and not aside:
        raise UsageError(
            f"--explain {printable(name, 80)}: no study and no file of the archive is named so"
        )
    return {"studies": studies, "set_aside": aside}


def _survey(options: ScanOptions, name: str) -> tuple[Pseudonyms, Survey]:
    """Survey the archives; of a file or folder that exists, its own folder is enough."""
    inputs, outputs = options.inputs, options.outputs
    old = results.readable(outputs.out)
    pseudonyms = forecast_pseudonyms(options, old.run().key_fingerprint if old else "")
    walked = walk(inputs, outputs)
    place = Path(name)
    if place.exists():
        folder = (place if place.is_dir() else place.parent).resolve()
        files = [item for item in walked.files if _file(item).full.is_relative_to(folder)]
        walked = Walk(files, walked.begun_ns)
    with ledgers(inputs, outputs) as (cache, ledger):
        survey = survey_archive(
            inputs,
            pseudonyms,
            options.identity,
            walked=walked,
            cache=cache,
            find_work=ledger.work,
            workers=options.compute.workers,
        )
    return pseudonyms, survey


def _file(item: ArchiveFile | Outcome) -> ArchiveFile:
    return item.file if isinstance(item, Outcome) else item


def _test(name: str, pseudonyms: Pseudonyms) -> IsMeant:
    """Return a function that tells whether a file is the named one, or lies in the folder."""
    place = Path(name).resolve() if Path(name).exists() else None

    def is_meant(file: ArchiveFile) -> bool:
        if place is not None and file.full.is_relative_to(place):
            return True
        return any(
            path == name or path.startswith(f"{name}/")
            for path in (file.path, pseudonyms.path(file.path))
        )

    return is_meant


def _study(study: Study, options: ScanOptions, name: str, is_meant: IsMeant) -> dict[str, Any]:
    whole = name in (study.key, study.uid)
    stacks = [
        _stack(series, stack, options)
        for series in study.series
        for stack in series.stacks
        if whole or name == series.uid or any(is_meant(frame.file) for frame in stack.frames)
    ]
    return {"key": study.key, "study_instance_uid": study.uid, "stacks": stacks}


def _stack(series: Series, stack: Stack, options: ScanOptions) -> dict[str, Any]:
    inputs = options.inputs
    detectors = [d for _, d in inputs.detectors]
    found = route(stack, detectors, named=inputs.named, left_out=inputs.left_out)
    return {
        "stack": stack.key,
        "series_instance_uid": series.uid,
        "series_number": series.number,
        "kind": str(stack.kind),
        "frames": len(stack.frames),
        "plane": str(stack.plane or ""),
        "says": dict(stack.facts),
        "answers": [_answer(trial) for trial in found.trials],
        "scored_by": found.detector.name if found.detector else "",
        "assumed": list(found.assumed),
        "why": "" if found.detector else _why(found),
    }


def _why(found: Route) -> str:
    return found.why() or "there is no detector"


def _answer(trial: Trial) -> dict[str, Any]:
    return {
        "detector": trial.detector.name,
        "domain": str(trial.detector.domain),
        "answer": str(trial.answer),
        "findings": [
            {"part": f.part, "wanted": f.wanted, "answer": str(f.answer), "because": f.because}
            for f in trial.findings
        ],
    }


def explanation_lines(explained: dict[str, Any]) -> Iterator[str]:
    """Yield what `explain` found, as lines for a terminal."""
    for study in explained["studies"]:
        yield f"study {study['key']} {printable(study['study_instance_uid'], 64)}".rstrip()
        for stack in study["stacks"]:
            yield from _stack_lines(stack)
    for path, reason, detail in explained["set_aside"]:
        yield printable(f"file {path}: {reason} ({detail})" if detail else f"file {path}: {reason}")


def _stack_lines(stack: dict[str, Any]) -> Iterator[str]:
    number = "" if stack["series_number"] is None else f" of series {stack['series_number']}"
    shape = f"{stack['kind']}, frames: {stack['frames']}, plane: {stack['plane'] or 'unknown'}"
    yield f"  stack {stack['stack']}{number} ({shape})"
    said = "; ".join(f"{keyword} {value}" for keyword, value in stack["says"].items())
    yield printable(f"    it says: {said or 'nothing'}", 2000)
    for answer in stack["answers"]:
        yield f"    {answer['detector']}, for {answer['domain']}: {answer['answer']}"
        for finding in answer["findings"]:
            because = f", {finding['because']}" * bool(finding["because"])
            wanted = f" {finding['wanted']}" * bool(finding["wanted"])
            yield printable(f"      {finding['part']}{wanted}: {finding['answer']}{because}")
    yield printable(f"    -> {_outcome(stack)}")


def _outcome(stack: dict[str, Any]) -> str:
    if not stack["scored_by"]:
        return f"not scored: {stack['why']}"
    assumed = f", assumed: {', '.join(stack['assumed'])}" * bool(stack["assumed"])
    return f"scored by {stack['scored_by']}{assumed}"
