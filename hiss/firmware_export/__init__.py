"""Program -> files for firmware: C99 with a small fixed runtime."""

from __future__ import annotations

from hiss.firmware_export.export import CExport, export_c

__all__ = ["CExport", "export_c"]
