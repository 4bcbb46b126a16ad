"""An acceptance test as it is kept: a JSON of all facts, and a page for people."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from medscan.acceptance.choose import Choice
from medscan.acceptance.figures import Figures, Share, percent
from medscan.acceptance.goals import Goal, Goals, Verdict
from medscan.acceptance.observe import Seen
from medscan.acceptance.strata import Stratum, compared
from medscan.detector import Detector
from medscan.files import make_folder, replacing
from medscan.metrics import Estimate
from medscan.report import render
from medscan.schema import finite_or_none

NONE = "\N{EN DASH}"
JSON, PAGE = "acceptance.json", "index.html"
FORMAT = 1


@dataclass(frozen=True, slots=True)
class Acceptance:
    """What an acceptance test found.

    Parameters
    ----------
    detector : Detector
    created, version : str
        When, ISO 8601, UTC, and by which medscan.
    labels, labels_digest : str
        Name of the table of labels, and its SHA-256.
    notes : tuple of str
        What of it was left out.
    who : str
        Who is responsible, if anybody was named.
    goals : Goals
    judged : tuple of Goal
    choice : Choice or None
        What was chosen, if anything was asked for; all figures are then with that threshold.
    verdict : Verdict
    figures : Figures
    strata : tuple of Stratum
    seen : tuple of Seen
    """

    detector: Detector
    created: str
    version: str
    labels: str
    labels_digest: str
    notes: tuple[str, ...]
    who: str
    goals: Goals
    judged: tuple[Goal, ...]
    choice: Choice | None
    verdict: Verdict
    figures: Figures
    strata: tuple[Stratum, ...]
    seen: tuple[Seen, ...]

    @property
    def missed(self) -> list[Seen]:
        """Abnormal studies that were not flagged, lowest score first; those without one last."""
        missed = [one for one in self.seen if one.asked and one.label and not one.right]
        return sorted(missed, key=lambda one: (math.isnan(one.score), one.score, one.key))

    @property
    def sentence(self) -> str:
        """The verdict in a sentence."""
        refused = self.choice is not None and self.choice.refusal
        why = "not accepted: no threshold was chosen" if refused else _VERDICTS[self.verdict]
        return f"{self.detector.name}: {why}"

    @property
    def lines(self) -> list[str]:
        """What was chosen, what was shown of each goal, and what is unlike its shots."""
        chosen = self.choice.sentences if self.choice else ()
        return [*chosen, *(g.sentence for g in self.judged), *self._unlike()]

    def _unlike(self) -> Iterator[str]:
        share = self.figures.unlike_rate
        if share.found:
            yield (
                f"{share.found} of {share.studies} studies are unlike what the detector was fitted "
                "on: they count all the same, but nobody has measured what their scores mean"
            )

    @property
    def accepted(self) -> bool:
        """Whether all was shown that was asked for, and chosen what was to be chosen."""
        refused = self.choice is not None and self.choice.refusal
        return self.verdict is Verdict.ACCEPTED and not refused


_VERDICTS = {
    Verdict.ACCEPTED: "accepted: it reaches what was asked for",
    Verdict.TOO_FEW: "not accepted: these studies do not show what was asked for",
    Verdict.TOO_LOW: "not accepted: it does not reach what was asked for",
}


def write_acceptance(found: Acceptance, folder: Path) -> None:
    """Write `acceptance.json` and `index.html`.

    Raises
    ------
    medscan.errors.DiskError
        If one cannot be written.
    """
    make_folder(folder)
    with replacing(folder / JSON) as aside:
        aside.write_text(json.dumps(plain(found), indent=1, sort_keys=True) + "\n")
    with replacing(folder / PAGE) as aside:
        aside.write_text(render("acceptance.html", _context(found), root=None), "utf-8")


def plain(found: Acceptance) -> dict[str, Any]:
    """All facts as JSON has them; what is undefined is null."""
    calibration, figures = found.detector.calibration, found.figures
    facts = {
        "format": FORMAT,
        "created": found.created,
        "version": found.version,
        "who": found.who or None,
        "detector": {
            "name": found.detector.name,
            "sha256": found.detector.digest,
            "method": found.detector.method,
            "domain": str(found.detector.domain),
            "backbone": found.detector.backbone,
            "backbone_sha256": found.detector.backbone_digest,
            "threshold": calibration.threshold,
            "target_fpr": calibration.target_fpr,
        },
        "labels": {"name": found.labels, "sha256": found.labels_digest, "notes": found.notes},
        "goals": asdict(found.goals),
        "verdict": found.verdict,
        "judged": [
            {
                "what": goal.what,
                "least": goal.least,
                "bound": goal.bound,
                "verdict": goal.verdict,
                "more": goal.more,
                "sentence": goal.sentence,
            }
            for goal in found.judged
        ],
        "choice": _choice(found.choice),
        "figures": {
            "normals": figures.normals,
            "abnormals": figures.abnormals,
            "patients": figures.patients,
            "outside": figures.outside,
            "failed": figures.failed,
            "prevalence": figures.prevalence,
        }
        | {name: asdict(value) for name, value in _estimates(figures).items()},
        "strata": [_stratum(one) for one in found.strata],
        "comparisons": compared(found.strata),
        "studies": [
            {
                name: getattr(one, name)
                for name in ("key", "label", "score", "flagged", "uncertain", "unlike", "asked")
            }
            for one in found.seen
        ],
    }
    finite: dict[str, Any] = finite_or_none(facts)
    return finite


def _choice(choice: Choice | None) -> dict[str, Any] | None:
    if choice is None:
        return None
    names = (f.name for f in fields(choice) if f.name not in ("wish", "confidence"))
    asked = {"rule": choice.wish.rule, "level": choice.wish.level, "confidence": choice.confidence}
    return asked | {name: getattr(choice, name) for name in names}


def _stratum(one: Stratum) -> dict[str, Any]:
    shares = {"sensitivity": one.sensitivity, "specificity": one.specificity}
    return {
        "variable": one.variable,
        "value": one.value,
        "studies": one.studies,
        "patients": one.patients,
        "p_sensitivity": one.p_sensitivity,
        "p_specificity": one.p_specificity,
    } | {name: _share(share) for name, share in shares.items()}


def _share(share: Share) -> dict[str, Any]:
    found = {"found": share.found, "studies": share.studies, "patients": share.patients}
    return found | asdict(share.interval())


def _estimates(figures: Figures) -> dict[str, Estimate]:
    """Figures by their names in the JSON."""
    return {
        "sensitivity": figures.sensitivity.interval(),
        "specificity": figures.specificity.interval(),
        "auroc": figures.auroc,
        "flag_rate": figures.flag_rate.interval(),
        "uncertain_rate": figures.uncertain_rate.interval(),
        "unlike_rate": figures.unlike_rate.interval(),
        "ppv": figures.ppv,
        "npv": figures.npv,
        "expected_flags": figures.expected_flags,
        "seconds_median": figures.seconds_median,
        "seconds_95": figures.seconds_95,
    }


# --- the page -------------------------------------------------------------------------------------


def _context(found: Acceptance) -> dict[str, Any]:
    return {
        "found": found,
        "title": found.sentence,
        "domain": str(found.detector.domain),
        "rows": list(_rows(found.figures)),
        "strata": [_cells(one) for one in found.strata],
        "comparisons": compared(found.strata),
        "confidence": percent(found.goals.confidence),
    }


def _rows(figures: Figures) -> Sequence[tuple[str, str, str, str]]:
    """Figure, value, interval, and what it is of."""
    shares = (
        ("Sensitivity", figures.sensitivity, "abnormal studies flagged or uncertain"),
        ("Specificity", figures.specificity, "normal studies not flagged"),
        ("Flag rate", figures.flag_rate, "labelled studies flagged"),
        ("Uncertain", figures.uncertain_rate, "labelled studies for a person to look at"),
        ("Unlike", figures.unlike_rate, "labelled studies unlike what the detector was fitted on"),
    )
    rows = [
        (name, *_told(share.interval(), percent), f"{share.found} of {share.studies} {what}")
        for name, share, what in shares
    ]
    auroc = _told(figures.auroc, lambda v: f"{v:.3f}")
    rows.append(("AUROC", *auroc, "chance that an abnormal study scores above a normal one"))
    if figures.prevalence is not None:
        at = f"if {percent(figures.prevalence)} of studies are abnormal"
        rows += [
            ("PPV", *_told(figures.ppv, percent), f"flagged studies that are abnormal, {at}"),
            ("NPV", *_told(figures.npv, percent), f"other studies that are normal, {at}"),
            ("Flags to expect", *_told(figures.expected_flags, percent), f"of all studies, {at}"),
        ]
    for name, value in (("median", figures.seconds_median), ("95 %", figures.seconds_95)):
        what = "seconds to score a study, which decides how soon a result is there"
        rows.append((f"Time to result, {name}", *_told(value, lambda v: f"{v:.1f} s"), what))
    return rows


def _told(value: Estimate, form: Any) -> tuple[str, str]:
    """A value and its interval as texts; dashes where they are undefined."""
    texts = [NONE if math.isnan(v) else form(v) for v in (value.value, value.low, value.high)]
    return texts[0], f"{texts[1]} to {texts[2]}"


def _cells(one: Stratum) -> tuple[str, ...]:
    cells = [one.variable, one.value, f"{one.studies} of {one.patients}"]
    for share, p in (
        (one.sensitivity, one.p_sensitivity),
        (one.specificity, one.p_specificity),
    ):
        seen = f"{share.found} of {share.studies}" if share.studies else NONE
        cells += [seen, _told(share.interval(), percent)[1], NONE if math.isnan(p) else f"{p:.3f}"]
    return tuple(cells)
