"""What `medscan fit` and `medscan refit` share: options, a check and a progress bar."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from medscan.cli.options import INPUT, OUTPUT, option
from medscan.errors import UsageError

CALIBRATION = "Calibration"

Licence = Annotated[str, option(INPUT, "Licence of the data, recorded in the detector.")]
Folds = Annotated[int, option(CALIBRATION, "Cross-validation folds; 0: do not calibrate.")]
DetectorFile = Annotated[Path, option(OUTPUT, "Detector file to write.")]
NEW = Path("detector.safetensors")


def check_out(out: Path) -> None:
    """Refuse a detector file that could not be written, before any work is done for it.

    Raises
    ------
    UsageError
    """
    if not out.parent.is_dir() or out.is_dir() or out.is_symlink():
        raise UsageError(f"--out {out}: its folder must exist and it must be a regular file")


def epoch_bar(stage: str) -> Any:
    """Return what to call after each epoch of a stage: a bar on a terminal, silence elsewhere."""
    from tqdm import tqdm

    state: dict[str, Any] = {}

    def show(epoch: int, epochs: int, loss: float) -> None:
        if epoch == 1 or "bar" not in state:
            state["bar"] = tqdm(total=epochs, desc=stage, unit="epoch", disable=None, leave=False)
        bar = state["bar"]
        bar.set_postfix(loss=f"{loss:.3f}", refresh=False)
        bar.update(1)
        if epoch == epochs:
            bar.close()
            del state["bar"]

    return show
