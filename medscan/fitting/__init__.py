"""Shots -> a detector."""

from medscan.fitting.calibrate import patient_folds
from medscan.fitting.course import Moment, Tell
from medscan.fitting.gate import set_gate
from medscan.fitting.held import NO_STACKS, NormalStacks
from medscan.fitting.refit import find_shots, labels_of, refit_detector, renamed, unjudged
from medscan.fitting.run import (
    SHOTS,
    FitOptions,
    check_options,
    check_tiles,
    chosen_settings,
    fingerprint,
    fit,
    fit_shots,
    load_backbone,
)
from medscan.fitting.text import detector_line
from medscan.fitting.train import scores

__all__ = [
    "NO_STACKS",
    "SHOTS",
    "FitOptions",
    "Moment",
    "NormalStacks",
    "Tell",
    "check_options",
    "check_tiles",
    "chosen_settings",
    "detector_line",
    "find_shots",
    "fingerprint",
    "fit",
    "fit_shots",
    "labels_of",
    "load_backbone",
    "patient_folds",
    "refit_detector",
    "renamed",
    "scores",
    "set_gate",
    "unjudged",
]
