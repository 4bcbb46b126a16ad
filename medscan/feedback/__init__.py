"""A radiologist's verdicts on results -> shots of a new detector."""

from medscan.feedback.learn import JudgedResults, RefitSummary, choose, learn

__all__ = ["JudgedResults", "RefitSummary", "choose", "learn"]
