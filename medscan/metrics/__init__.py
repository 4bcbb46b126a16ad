"""Scores and truth -> figures of how well they agree, with intervals by patient."""

from medscan.metrics.bounds import allowed, exact, fewest, lower, needed, worth
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
    weighted_auroc,
)
from medscan.metrics.intervals import (
    Estimate,
    bootstrap,
    difference,
    group_counts,
    percentiles,
    resampled,
)
from medscan.metrics.lesions import RATES, LesionCurve
from medscan.metrics.pixel import PixelCurves, PixelStatistic

__all__ = [
    "RATES",
    "Estimate",
    "ImageFigures",
    "LesionCurve",
    "PixelCurves",
    "PixelStatistic",
    "allowed",
    "auroc",
    "average_precision",
    "bootstrap",
    "calibration_error",
    "delong",
    "delong_p_value",
    "difference",
    "exact",
    "f1_max",
    "fewest",
    "group_counts",
    "image_figures",
    "lower",
    "needed",
    "percentiles",
    "resampled",
    "sensitivity_at",
    "specificity_at",
    "weighted_auroc",
    "worth",
]
