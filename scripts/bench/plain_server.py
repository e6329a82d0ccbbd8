"""The model in a plain FastAPI process, as one would write it without TorchServe, for bench_serving.py to compare.

Requests are those that TorchServe gets. They carry the history, so it needs no database; it has no cache, no keys and
no log.
"""

import argparse
import datetime as dt
import json
import math
import socket
from pathlib import Path
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel

KINDS = {"count": 0, "rate": 1, "other": 2}
EPOCH = dt.date(1970, 1, 1)


class Instance(BaseModel):
    history: list[float | None]
    first_day: dt.date
    kind: str = "count"
    band_scale: list[float]


class PredictRequest(BaseModel):
    instances: list[Instance]
    days_ahead: int


def create_app(program: Path) -> FastAPI:
    torch.set_num_threads(1)  # more are slower for a model of this size
    model = torch.export.load(program).module()
    card = json.loads((program.parent / "model.json").read_text(encoding="utf-8"))
    context_length, horizon = card["context_length"], max(7, card["model"]["direct_days"])
    app = FastAPI()

    @app.post("/predict")
    async def predict(request: PredictRequest) -> dict[str, Any]:  # `def`, a thread for each request, is slower
        instances = request.instances
        missing = [context_length - len(instance.history) for instance in instances]  # days before a young site began
        histories = [
            [math.nan] * num_before + [math.nan if value is None else value for value in instance.history]
            for num_before, instance in zip(missing, instances, strict=True)
        ]
        first_days = [
            (instance.first_day - EPOCH).days - num_before
            for num_before, instance in zip(missing, instances, strict=True)
        ]
        scales = [instance.band_scale + [1.0] * (horizon - request.days_ahead) for instance in instances]
        with torch.inference_mode():
            quantiles = model(
                torch.tensor(histories),
                torch.tensor(first_days),
                torch.tensor([KINDS[instance.kind] for instance in instances]),
                torch.tensor(scales),
            )
        return {"quantiles": quantiles[:, : request.days_ahead].tolist()}

    return app


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=Path, help="the exported model: model.pt2 of a version")
    parser.add_argument("--port", type=int, default=0, help="0: a free one (%(default)s)")
    arguments = parser.parse_args()
    app = create_app(arguments.program)
    with socket.create_server(("127.0.0.1", arguments.port), backlog=2048) as listener:
        print(f"served on http://127.0.0.1:{listener.getsockname()[1]}", flush=True)
        uvicorn.Server(uvicorn.Config(app, log_level="warning", access_log=False)).run(sockets=[listener])


if __name__ == "__main__":
    main()
