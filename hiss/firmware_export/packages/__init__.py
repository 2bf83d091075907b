"""Exported models as drop-in packages: what Arduino, PlatformIO, CMake and Zephyr expect around the same sources."""

from __future__ import annotations

from hiss.firmware_export.packages.package import About, Package, make_package
from hiss.firmware_export.packages.write import KINDS, export_package, package_texts

__all__ = ["KINDS", "About", "Package", "export_package", "make_package", "package_texts"]
