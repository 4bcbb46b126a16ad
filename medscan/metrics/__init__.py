"""Scores and truth -> figures of how well they agree, with intervals by patient."""

from medscan.metrics.delong import delong, delong_p_value
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
from medscan.metrics.intervals import Estimate, bootstrap, difference, resampled
from medscan.metrics.pixel import PixelCurves, PixelStatistic

__all__ = [
    "Estimate",
    "ImageFigures",
    "PixelCurves",
    "PixelStatistic",
    "auroc",
    "average_precision",
    "bootstrap",
    "calibration_error",
    "delong",
    "delong_p_value",
    "difference",
    "f1_max",
    "image_figures",
    "resampled",
    "sensitivity_at",
    "specificity_at",
]
