"""Inspect a scan from outside: what it would do, whether it can run, whether its results hold."""

from medscan.inspect.doctor import Health, examine
from medscan.inspect.explain import explain, explanation_lines
from medscan.inspect.forecast import Forecast, forecast_scan
from medscan.inspect.locate import Place, locate_files, named_places
from medscan.inspect.shards import ShardForecast, ShardForecasts, forecast_shards
from medscan.inspect.text import health_lines, verification_lines
from medscan.inspect.verify import Verification, verify_results

__all__ = [
    "Forecast",
    "Health",
    "Place",
    "ShardForecast",
    "ShardForecasts",
    "Verification",
    "examine",
    "explain",
    "explanation_lines",
    "forecast_scan",
    "forecast_shards",
    "health_lines",
    "locate_files",
    "named_places",
    "verification_lines",
    "verify_results",
]
