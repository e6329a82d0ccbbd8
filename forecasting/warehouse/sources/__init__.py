"""The analytics tools, queries and files that can be read: one module per source, found by its name."""

from importlib import import_module

from forecasting.domain import SourceName
from forecasting.settings.schema import DataConfig
from forecasting.warehouse.queries import Connection
from forecasting.warehouse.sources.source import Source

WITH_SETTINGS = (SourceName.query, SourceName.csv, SourceName.parquet)


async def open_source(data: DataConfig, connection: Connection) -> Source:
    """Raises SettingError if the source needs a setting that is missing."""
    if data.source is SourceName.siteanalytics:
        from forecasting.warehouse.sources import siteanalytics

        return await siteanalytics.open_source(data, connection)
    name = SourceName.csv if data.source.is_file else data.source
    module = import_module(f"forecasting.warehouse.sources.{name.value}")
    source: Source = module.open_source(data) if data.source in WITH_SETTINGS else module.SOURCE
    return source
