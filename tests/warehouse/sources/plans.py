"""How PostgreSQL would run a source's query: what it reads, and by which conditions."""

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from typing import Any

from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import OwnConnection
from forecasting.warehouse.queries import load_query
from tests.warehouse.sources.asking import ask

Node = dict[str, Any]  # Any: what PostgreSQL says of a step


def explain(
    config: DatabaseConfig, name: str, keys: Sequence[str], first: str, until: str, timezone: str, *further: str
) -> list[Node]:
    """The steps of the plan of sql/sources/<name>.sql."""
    values = (list(keys), dt.date.fromisoformat(first), dt.date.fromisoformat(until), timezone, *further)
    return _explain(config, name, *values)


def explain_sites(config: DatabaseConfig, name: str) -> list[Node]:
    """The steps of the plan of sql/sources/<name>_sites.sql, run, so that they say what they read."""
    return _explain(config, f"{name}_sites", analyze=True)


def read_tables(nodes: Sequence[Node]) -> set[str]:
    return {node["Relation Name"] for node in nodes if "Relation Name" in node and node.get("Actual Loops", 1)}


def _explain(config: DatabaseConfig, name: str, *values: Any, analyze: bool = False) -> list[Node]:
    async def run(connection: OwnConnection) -> str:
        options = "format json, analyze" if analyze else "format json"
        found: str = await connection.fetchval(f"explain ({options}) {load_query(f'sources/{name}')}", *values)
        return found

    (found,) = json.loads(ask(config, run))
    return list(_walk(found["Plan"]))


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", []):
        yield from _walk(child)
