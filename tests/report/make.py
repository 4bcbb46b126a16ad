"""Results files made with code: phantoms with a hot spot, and whatever a test changes in them."""

import json
from dataclasses import replace

import numpy as np

from medscan.report.colours import Scale
from medscan.results import (
    Mark,
    Results,
    RunInfo,
    StackResult,
    State,
    StudyResult,
    publish,
    write_part,
)

SIZE, PATCH = 96, 8
GRID = SIZE // PATCH

DETECTOR = {
    "name": "brain-flair",
    "hash": "d" * 64,
    "method": "mvfa",
    "backbone": "local-dir:medscan-mini",
    "backbone_hash": "b" * 64,
    "domain": "BRAIN FLAIR MR",
    "window": "auto",
    "threshold": 0.6,
    "target_fpr": 0.05,
    "provisional": False,
    "licence": "CC BY 4.0",
    "normals": [0.1, 0.2, 0.3, 0.4, 0.5],
    "map_low": 0.2,
    "map_high": 0.5,
}


def scale():
    """The colour scale of `DETECTOR`."""
    return Scale.of(DETECTOR)


def phantom(size=SIZE, spot=None):
    """An ellipse of soft tissue with two dark holes, uint8 (size, size, 1), and a bright spot."""
    y, x = np.mgrid[:size, :size] / (size - 1) * 2 - 1
    image = np.where((x / 0.75) ** 2 + (y / 0.9) ** 2 < 1, 110.0, 0.0)
    image += np.where(
        ((x / 0.75) ** 2 + (y / 0.9) ** 2 < 1) & (np.hypot(x / 0.66, y / 0.8) > 1), 90, 0
    )
    for side in (-0.18, 0.18):
        image[((x - side) / 0.1) ** 2 + (y / 0.3) ** 2 < 1] = 40
    image += 8 * np.sin(17 * x) * np.cos(23 * y) * (image > 0)
    if spot is not None:
        image += 110 * np.exp(-((x - spot[0]) ** 2 + (y - spot[1]) ** 2) / 0.02) * (image > 0)
    return np.clip(image, 0, 255).astype(np.uint8)[..., None]


def heatmap(peak, spot=(0.35, -0.3), grid=GRID):
    """float16 (grid, grid) of noise with a hot spot of height `peak`."""
    y, x = (np.mgrid[:grid, :grid] + 0.5) / grid * 2 - 1
    noise = 0.2 + 0.05 * np.sin(5 * x + 3 * y)
    return (noise + peak * np.exp(-(np.hypot(x - spot[0], y - spot[1]) ** 2) / 0.06)).astype(
        np.float16
    )


def stack(key="s1", peak=0.7, n=24, *, pictures=3, size=SIZE, grid=GRID, **info):
    """A stack whose scores rise to `peak` in the middle; its ends are background."""
    place = np.arange(n)
    score = (0.25 + (peak - 0.25) * np.exp(-((place - n / 2) ** 2) / 12)).astype(np.float32)
    state = np.full(n, State.SCORED, np.uint8)
    if n > 4:
        state[[0, -1]] = State.BACKGROUND
        score[[0, -1]] = np.nan
    maps = np.stack([heatmap(max(s - 0.25, 0), grid=grid) for s in np.nan_to_num(score)])
    maps[state != State.SCORED] = 0
    top = np.argsort(-np.nan_to_num(score), kind="stable")[:pictures].astype(np.int32)
    shown = [phantom(size, (0.35, -0.3) if score[i] > 0.5 else None) for i in top]
    facts = {
        "SeriesInstanceUID": "1.2.3." + key.strip("s"),
        "modality": "MR",
        "body_part": "BRAIN",
        "sequence": "FLAIR",
        "plane": "axial",
        "kind": "dicom",
        "detector": "brain-flair",
        "detector_hash": "d" * 64,
        "method": "mvfa",
        "threshold": 0.6,
        "slice_threshold": 0.5,
        "provisional": False,
        "rows": 192,
        "columns": 160,
        "patch": size // grid,
        "size": size,
        "orientation": [1.0, 0.0, 0.0, 0.0, 1.0, 0.0],
        "pixel_spacing": [1.0, 1.0],
        "origin": [-80.0, -96.0, -20.0],
        "slice_spacing": 3.0,
        "notes": [],
        "thumbnails": "kept" if pictures else "withheld: may carry burned-in text",
        "seconds": 1.25,
    }
    step = 192 / grid
    to_pixel = np.array([[step, 0, step / 2 - 0.5 - 16], [0, step, step / 2 - 0.5]])
    return StackResult(
        key=key,
        info=facts | info,
        score=float(np.nanmax(score)),
        percentile=80.0,
        slice_score=score,
        state=state,
        heatmap=maps,
        path=[f"study/{key}/{i:03d}.dcm" for i in place],
        sop_instance_uid=[f"1.2.3.4.{i}" for i in place],
        frame=np.zeros(n, np.int32),
        position_mm=-20.0 + 3.0 * place,
        grid_to_pixel=np.repeat(to_pixel[None], n, 0),
        thumbnail=np.stack(shown) if shown else np.zeros((0, size, size, 1), np.uint8),
        thumbnail_index=top,
    )


def uid(key):
    """A valid StudyInstanceUID for the key of a study."""
    return f"1.2.840.{int(key.encode().hex(), 16)}"


def study(key, stacks=(), **info):
    """A study of stacks; without any it was not scored."""
    facts = {
        "StudyInstanceUID": uid(key),
        "date": "20240131",
        "modality": "MR",
        "patient": "p-1f2e3d",
        "path": f"site/{key}",
        "slices": int(sum((s.state == State.SCORED).sum() for s in stacks)),
        "skipped": [] if stacks else [["series 1.2.3.9", "out-of-scope"]],
    }
    facts |= info
    known = [s for s in stacks if not np.isnan(s.score)]
    worst = max(known, key=lambda s: s.score, default=None)
    return StudyResult(
        key=key,
        info=facts,
        score=worst.score if worst else float("nan"),
        percentile=worst.percentile if worst else float("nan"),
        flagged=any(s.flagged for s in known),
        stacks=tuple(stacks),
        mark=Mark(skipped=json.dumps(facts["skipped"]) if facts["skipped"] else ""),
    )


def run(**changes):
    """What the file says of itself."""
    facts = RunInfo(
        created="2026-01-02T03:04:05+00:00",
        command="medscan scan site --detector brain-flair.safetensors",
        aggregation="stack: mean of the top 5 % of its slices; study: maximum of its stacks",
        detectors=[DETECTOR],
        counts={"files": 60, "scanned": 50, "skipped": 8, "failed": 2},
        version="0.1.0",
        failures=[
            ("site/a/broken.dcm", "read", "truncated", "site/a/broken.dcm: pixels end at byte 9"),
            ("site/b/odd.dcm", "read", "corrupt", "site/b/odd.dcm: rows is 0"),
        ],
        skipped=[("site/readme.txt", "not-an-image")] * 7 + [("site/scout.dcm", "localizer")],
        seconds=6.0,
        slices=12,
    )
    return replace(facts, **changes)


def results(folder, studies, info=None, name="results.h5"):
    """A results file of these studies."""
    parts = []
    for number, one in enumerate(studies):
        parts.append(folder / f"{number}.part.h5")
        write_part(parts[-1], one)
    publish(folder / name, info or run(), parts)
    for part in parts:
        part.unlink()
    return Results(folder / name)


def few_studies():
    """A night's worth: flagged, not flagged, withheld pictures, provisional, not scored."""
    return [
        study("aaa", [stack("s1", 0.95), stack("s2", 0.4, 12, plane="sagittal")]),
        study("bbb", [stack("s1", 0.66, 9, pictures=0)], modality="US"),
        study("ccc", [stack("s1", 0.45, provisional=True)], date=""),
        study("ddd", [stack("s1", 0.35, 1)]),
        study("eee", patient=""),
    ]
