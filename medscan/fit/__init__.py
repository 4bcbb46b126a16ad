"""Shots -> a detector."""

from medscan.fit.course import Moment, Tell
from medscan.fit.refit import find_shots, labels_of, refit_detector, renamed, unjudged
from medscan.fit.run import FitOptions, fingerprint, fit
from medscan.fit.text import detector_line
from medscan.fit.train import scores

__all__ = [
    "FitOptions",
    "Moment",
    "Tell",
    "detector_line",
    "find_shots",
    "fingerprint",
    "fit",
    "labels_of",
    "refit_detector",
    "renamed",
    "scores",
    "unjudged",
]
