"""Scores and truth -> figures of how well they agree, with intervals by patient."""

from medscan.metrics.image import (
    ImageFigures,
    auroc,
    average_precision,
    calibration_error,
    f1_max,
    image_figures,
    sensitivity_at,
    specificity_at,
)
from medscan.metrics.intervals import Estimate, bootstrap
from medscan.metrics.pixel import PixelCurves

__all__ = [
    "Estimate",
    "ImageFigures",
    "PixelCurves",
    "auroc",
    "average_precision",
    "bootstrap",
    "calibration_error",
    "f1_max",
    "image_figures",
    "sensitivity_at",
    "specificity_at",
]
