"""Exported objects -> a PACS, each once."""

from medscan.sending.run import TABLES, Sent, ledger_beside, send

__all__ = ["TABLES", "Sent", "ledger_beside", "send"]
