"""How PostgreSQL would run a query: what it reads, and by which conditions."""

import datetime as dt
import json
from collections.abc import Iterator, Sequence
from typing import Any

from forecasting.settings.schema import DatabaseConfig
from forecasting.warehouse.connection import OwnConnection
from forecasting.warehouse.queries import load_query
from tests.warehouse.sources.asking import ask

Node = dict[str, Any]  # Any: what PostgreSQL tells about a step


def explain(
    config: DatabaseConfig, name: str, keys: Sequence[str], first: str, until: str, timezone: str, *further: str
) -> list[Node]:
    """The steps of the plan of sql/sources/<name>.sql."""
    values = (list(keys), dt.date.fromisoformat(first), dt.date.fromisoformat(until), timezone, *further)
    return explain_query(config, f"sources/{name}", *values)


def explain_sites(config: DatabaseConfig, name: str) -> list[Node]:
    """The steps of the plan of sql/sources/<name>_sites.sql, which is run to count the rows read."""
    return explain_query(config, f"sources/{name}_sites", analyze=True)


def explain_query(
    config: DatabaseConfig, name: str, *values: Any, before: str = "", analyze: bool = False
) -> list[Node]:
    """The steps of the plan of sql/<name>.sql, after the query `before` in the same transaction."""

    async def run(connection: OwnConnection) -> str:
        if before:
            await connection.fetch(load_query(before))
        options = "format json, analyze" if analyze else "format json"
        plan: str = await connection.fetchval(f"explain ({options}) {load_query(name)}", *values)
        return plan

    (plan,) = json.loads(ask(config, run))
    return list(_walk(plan["Plan"]))


def read_tables(nodes: Sequence[Node]) -> set[str]:
    return {node["Relation Name"] for node in nodes if "Relation Name" in node and node.get("Actual Loops", 1)}


def _walk(node: Node) -> Iterator[Node]:
    yield node
    for child in node.get("Plans", []):
        yield from _walk(child)
