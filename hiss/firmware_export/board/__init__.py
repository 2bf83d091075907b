"""A model on a board that a computer checks: it answers samples over a small protocol (hiss_board.h)."""

from __future__ import annotations

from hiss.firmware_export.board.contract import Contract, contract_of
from hiss.firmware_export.board.texts import board_texts, host_text

__all__ = ["Contract", "board_texts", "contract_of", "host_text"]
