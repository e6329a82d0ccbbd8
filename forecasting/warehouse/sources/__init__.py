"""Whose tables, or whose file, is read: one module a source, found by its name."""

from importlib import import_module

from forecasting.config import DataConfig, SourceName
from forecasting.warehouse.sources.source import Source


def open_source(data: DataConfig) -> Source:
    """Raises SettingError where the source needs a setting that is missing."""
    module = import_module(f"forecasting.warehouse.sources.{data.source.value}")
    if data.source in (SourceName.siteanalytics, SourceName.query, SourceName.csv):
        opened: Source = module.open_source(data)
    else:
        opened = module.SOURCE
    return opened
