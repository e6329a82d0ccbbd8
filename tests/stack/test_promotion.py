"""POST /model/promote on the running stack: another version answers, and nobody who asks meanwhile gets less."""

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from threading import Barrier, Event
from typing import Any

import httpx
import pytest

from forecasting import PredictionService
from forecasting.artifact import PROGRAM, find_promoted, hash_file, load_artifact
from forecasting.lifecycle.registry import Registry
from forecasting.settings.schema import Config, DatabaseConfig
from scripts.bench.harness import PATIENCE_SECONDS, Place, Process
from tests.full_disk import full_disk
from tests.waiting import becomes, get, get_until

from .conftest import PATIENT

FIRST = "v1.10"
ADMIN, READER = ({"X-API-Key": f"{who}-key-of-enough-letters"} for who in ("admin", "reader"))
KEYS = "admin:admin:admin-key-of-enough-letters,reader:read:reader-key-of-enough-letters"
PREDICT = "/predict/page-visits"
CUT_OFF = "9f2c51d0a7e3b846"


@dataclass
class Store:
    """A copy of the trained version's, with others beside it, which nobody had to train."""

    folder: Path

    @property
    def series(self) -> list[dict[str, Any]]:
        """In the first one's card."""
        cards: list[dict[str, Any]] = json.loads((self.folder / FIRST / "model.json").read_text())["series"]
        return cards

    def add(self, version: str, **changed: Any) -> None:
        """Like the first one, but with another card."""
        shutil.copytree(self.folder / FIRST, self.folder / version, dirs_exist_ok=True)
        card = self.folder / version / "model.json"
        card.write_text(json.dumps({**json.loads(card.read_text()), "version": version, **changed}))

    def widen(self, version: str, factor: float) -> None:
        """Bands so many times as wide as those of the first: no version answers as another does."""
        wide = [{**card, "band_scale": [factor * scale for scale in card["band_scale"]]} for card in self.series]
        self.add(version, series=wide)

    def spoil(self, version: str) -> None:
        """Whole, by its card, but its program is none."""
        self.add(version)
        program = self.folder / version / PROGRAM
        program.write_bytes(b"no program")
        hashes = load_artifact(self.folder, FIRST).card.hashes
        self.add(version, hashes={**hashes, PROGRAM: hash_file(program)})
        program.write_bytes(b"no program")


@pytest.fixture(scope="module")
def store(place: Place, tmp_path_factory: pytest.TempPathFactory) -> Store:
    folder = tmp_path_factory.mktemp("promotion") / "store"
    shutil.copytree(place.store / FIRST, folder / FIRST)
    return Store(folder)


@pytest.fixture(scope="module")
def serving(place: Place, store: Store) -> Iterator[Process]:
    """scripts/serve.py on the first version, since there is no other yet. The server before it was killed while it
    promoted a version.
    """
    with subprocess.Popen([sys.executable, "-c", "pass"]) as ended:
        pass
    (store.folder / f".promoting.{ended.pid}").write_text(json.dumps({"promotion_id": CUT_OFF, "version": "v7"}))
    own = Place(store.folder.parent, {**place.environment, "MODEL_DIR": str(store.folder), "API_KEYS": KEYS})
    with own.serve(*PATIENT, "guard.requests_per_second=0") as process:
        assert process.url
        yield process


def promote(process: Process, version: str, *, key: dict[str, str] = ADMIN, **options: bool) -> httpx.Response:
    body = {"version": version, **options}
    return httpx.post(f"{process.url}/model/promote", json=body, headers=key, timeout=PATIENCE_SECONDS)


def problems(process: Process) -> list[str]:
    health = get(f"{process.url}/health", headers=ADMIN).json()
    assert health["status"] == ("degraded" if health["problems"] else "healthy")
    return health["problems"]


def follow(process: Process, accepted: httpx.Response) -> dict[str, Any]:
    """What a promotion has come to, however long it takes."""
    assert accepted.status_code == 202, accepted.text
    promotion = accepted.json()
    assert promotion["follow"] == f"/model/promote/{promotion['id']}"
    while promotion["status"] in {"queued", "running"}:
        answer = get(f"{process.url}{promotion['follow']}?wait=10", headers=ADMIN)
        assert answer.status_code == 200, answer.text
        promotion = answer.json()
    return promotion


def ask(process: Process) -> dict[str, Any]:
    answer = get(process.url + PREDICT, headers=READER)
    assert answer.status_code == 200, answer.text
    return {name: value for name, value in answer.json().items() if name != "prediction_date"}


def truth(store: Store, embedded: DatabaseConfig, version: str | None) -> dict[str, Any]:
    """By the program in this process."""
    config = Config(database=embedded, model_dir=store.folder)
    with PredictionService(replace(config, model_version=version)) as service:
        return {name: value for name, value in service.predict_page_visits().items() if name != "prediction_date"}


def is_near(answer: dict[str, Any], expected: dict[str, Any]) -> bool:
    """float32's last digits differ between batch sizes: a median near .5 is rounded either way."""
    same = {name for name in expected if name not in {"predictions", "total", "total_predicted_visits"}}
    ends = [
        abs(row[end] - other[end]) <= 1
        for row, other in zip(answer["predictions"], expected["predictions"], strict=True)
        for end in ("predicted_visits", "lower", "upper")
    ]
    return all(answer[name] == expected[name] for name in same) and all(ends)


def test_start_tells_of_a_promotion_that_was_cut_off(serving: Process, store: Store) -> None:
    failure = "Version v7 was not promoted: The server ended first. Promote it again."
    assert f"{failure} (promotion {CUT_OFF})" in serving.text
    assert problems(serving) == [failure]
    promotion = get(f"{serving.url}/model/promote/{CUT_OFF}", headers=ADMIN).json()
    assert (promotion["version"], promotion["status"], promotion["reason"]) == (
        "v7", "failed", "The server ended first. Promote it again.",
    )  # fmt: skip
    assert not list(store.folder.glob(".promoting.*"))


def test_promoted_version_answers_and_no_request_is_lost(
    serving: Process, store: Store, embedded: DatabaseConfig
) -> None:
    store.widen("v2", 2.0)
    before, promoted, all_asking = ask(serving), Event(), Barrier(4, timeout=PATIENCE_SECONDS)

    def ask_on() -> list[tuple[str, float]]:
        seen = []
        with httpx.Client(base_url=serving.url, headers=READER, timeout=PATIENCE_SECONDS) as client:
            days, num_more = 0, 50
            while num_more:
                num_more -= promoted.is_set()
                days = days % 30 + 1  # cached answers and new ones
                answer = client.get(PREDICT, params={"days_ahead": days})
                assert answer.status_code == 200, answer.text
                seen.append((answer.json()["model_version"], answer.json()["predictions"][0]["upper"]))
                if len(seen) == 1:
                    all_asking.wait()
        return seen

    with ThreadPoolExecutor(5) as pool:
        asking = [pool.submit(ask_on) for _ in range(3)]
        all_asking.wait()
        accepted, refused = sorted(
            pool.map(promote, [serving] * 2, ["v2"] * 2), key=lambda response: response.status_code
        )
        promotion = follow(serving, accepted)
        after = ask(serving)
        promoted.set()
        seen = [answers.result() for answers in asking]
    assert promotion == {**accepted.json(), "version": "v2", "status": "promoted", "reason": None}
    assert refused.status_code == 409
    assert refused.json()["detail"] == (
        f"Version v2 is being promoted right now. Follow it at {promotion['follow']}, and try again when it has "
        "finished."
    )
    for answers in seen:
        assert [version for version, _ in groupby(version for version, _ in answers)] == [FIRST, "v2"]
    # No answer mixes two versions: each one's first band is its own.
    bands = {
        version: {upper for answers in seen for answered_by, upper in answers if answered_by == version}
        for version in (FIRST, "v2")
    }
    assert all(max(uppers) - min(uppers) <= 1 for uppers in bands.values())
    assert min(bands["v2"]) > max(bands[FIRST])
    assert problems(serving) == []
    assert f"version v2 is served (promotion {promotion['id']})" in serving.text
    assert is_near(before, truth(store, embedded, FIRST))
    assert is_near(after, truth(store, embedded, "v2"))
    assert get(f"{serving.url}/model/info", headers=READER).json()["model_version"] == "v2"
    assert becomes(lambda: len(serving.children("ModelServer")) == 1)
    assert becomes(lambda: get(f"{serving.url}/ready").json() == {"ready": True})


def test_full_disk_fails_the_promotion_and_leaves_nothing(serving: Process, store: Store) -> None:
    before, files = ask(serving), sorted(store.folder.iterdir())
    with full_disk(serving.process.pid):
        promotion = follow(serving, promote(serving, before["model_version"]))
        failure = f"Version {before['model_version']} was not promoted: {promotion['reason']}"
        assert failure in problems(serving)
        assert ask(serving) == before
    assert promotion["status"] == "failed"
    assert promotion["reason"] == (
        f"There is no room for {store.folder}/.promoting.{serving.process.pid} (File too large). Make room, or set "
        "MODEL_DIR to another place."
    )
    assert sorted(store.folder.iterdir()) == files


def test_version_that_was_trained_again_is_promoted_again_and_holds_after_a_restart(
    serving: Process, store: Store, embedded: DatabaseConfig
) -> None:
    """It was trained on fewer series, so that it is refused unless it is forced. The promotion before it failed."""
    wide, promoted = ask(serving), find_promoted(store.folder)
    store.add("v2", series=store.series[:2])
    assert ask(serving) == wide  # what is served does not change by itself
    lost = sorted(f"{card['metric']} of {card['site']}" for card in store.series[2:])
    refusal = promote(serving, "v2")
    assert refusal.status_code == 409
    assert refusal.json()["detail"] == (
        f"Version v2 cannot forecast 2 of the 4 series that version v2 forecasts: {', '.join(lost)}. Train it on them "
        'too, or promote it all the same with "force": true.'
    )
    assert (ask(serving), find_promoted(store.folder)) == (wide, promoted)
    assert follow(serving, promote(serving, "v2", force=True))["status"] == "promoted"
    assert problems(serving) == []
    body = {"metric": store.series[2]["metric"]}
    assert httpx.post(f"{serving.url}/predict", json=body, headers=READER, timeout=PATIENCE_SECONDS).status_code == 400
    narrow = ask(serving)
    assert narrow["predictions"][0]["upper"] < wide["predictions"][0]["upper"]
    assert becomes(lambda: len(serving.children("ModelServer")) == 1)
    [java] = serving.children("ModelServer")
    java.kill()
    url = f"{serving.url}{PREDICT}?days_ahead=29"
    assert get_until(url, headers=READER).json()["predictions"][:7] == narrow["predictions"]
    assert find_promoted(store.folder) == "v2"
    assert is_near(narrow, truth(store, embedded, None))  # as whoever starts now loads it


@pytest.mark.parametrize(
    ("version", "status", "detail"),
    [
        ("v9", 400, "There is no version v9 in {store} (there: "),
        ("../v2", 400, "Version '../v2' cannot be a folder's name."),
        ("torn", 409, "{store}/torn/model.pt2 is not the file that model.json describes. "),
    ],
)
def test_version_that_cannot_be_served_is_refused_at_once(
    serving: Process, store: Store, version: str, status: int, detail: str
) -> None:
    store.add("torn")
    (store.folder / "torn" / PROGRAM).write_bytes(b"torn")
    before, promoted = ask(serving), find_promoted(store.folder)
    answer = promote(serving, version)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"].startswith(detail.format(store=store.folder))
    assert (ask(serving), find_promoted(store.folder)) == (before, promoted)


@pytest.mark.parametrize(
    ("version", "status", "reason", "logged"),
    [
        (
            "spoilt", "failed",
            "TorchServe could not start with version spoilt. The server's log says why.",
            (
                "TorchServe's workers fail again and again.\nIts worker printed:\n",
                "ValueError: The model in this archive cannot be loaded: ",
            ),
        ),
        ("elsewhere", "refused", "There is no metric 'clicks'. Metrics: ", ()),
    ],
)  # fmt: skip
def test_version_that_turns_out_not_to_work_changes_nothing(
    serving: Process, store: Store, version: str, status: str, reason: str, logged: tuple[str, ...]
) -> None:
    store.spoil("spoilt")
    store.add("elsewhere", series=[{**store.series[0], "metric": "clicks"}])
    before, promoted = ask(serving), find_promoted(store.folder)
    promotion = follow(serving, promote(serving, version, force=True))
    assert promotion["status"] == status
    assert promotion["reason"].startswith(reason)
    failure = f"Version {version} was not promoted: {promotion['reason']}"
    for text in (*logged, f"{failure} (promotion {promotion['id']})"):
        assert text in serving.text
    assert problems(serving) == [failure]
    assert get(f"{serving.url}/ready").json()["ready"] is True
    assert get(f"{serving.url}/health").json()["problems"] == ["The last promotion of a version failed."]  # no key
    assert (ask(serving), find_promoted(store.folder)) == (before, promoted)
    assert becomes(lambda: len(serving.children("ModelServer")) == 1)


def test_only_an_admin_promotes_and_any_key_follows(serving: Process) -> None:
    assert promote(serving, FIRST, key=READER).status_code == 403
    assert promote(serving, FIRST, key={}).status_code == 401
    follow_path = f"{serving.url}/model/promote/nobody-has-this-id"
    assert get(follow_path).status_code == 401
    unknown = get(follow_path, headers=READER)
    assert (unknown.status_code, unknown.json()["detail"]) == (
        404,
        "There is no promotion 'nobody-has-this-id'. Only the last 50 since serving started are remembered; "
        "GET /model/info says which version is served.",
    )


def test_a_roll_back_in_the_store_is_followed(serving: Process, store: Store) -> None:
    """As scripts/models.py rollback does it, which names no version."""
    served = ask(serving)["model_version"]
    previous = Registry(store.folder).roll_back()
    assert previous != served
    assert becomes(lambda: ask(serving)["model_version"] == previous)
    assert f"version {previous} was promoted in {store.folder}" in serving.text
    assert find_promoted(store.folder) == previous
    assert problems(serving) == []


def test_end_leaves_nothing_of_a_promotion(serving: Process, store: Store) -> None:
    """It takes place as a whole, or not at all, and then a note for the next start is left."""
    store.widen("v5", 2.0)
    before = find_promoted(store.folder)
    assert promote(serving, "v5").status_code == 202
    assert becomes(lambda: len(serving.children("ModelServer")) == 2)
    children = serving.children()
    assert serving.end() == 0
    promoted = find_promoted(store.folder)
    assert promoted in {before, "v5"}
    assert len(list(store.folder.glob(".promoting.*"))) == (promoted == before)
    assert not [child for child in children if child.is_running()]
