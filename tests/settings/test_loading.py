"""Settings: what wins, what is refused, and in which words."""

import datetime as dt
import hashlib
import os
import traceback
from pathlib import Path
from types import ModuleType

import pytest

from forecasting.commands import backtest, forecast, pretrain, serve, train
from forecasting.domain import ALL_DAYS, MASKABLE, Kind, Missing, Right, Scaling, Unit, Verdict, check_version
from forecasting.errors import InvalidVersion, SettingError
from forecasting.settings.command_line import COMMANDS_OWN, describe_settings
from forecasting.settings.env_file import HOME
from forecasting.settings.environment import DATABASE_VARIABLES
from forecasting.settings.keys import list_settings
from forecasting.settings.loading import VARIABLES, load_config
from forecasting.settings.older_keys import FIXED
from forecasting.settings.schema import CACHE_DATABASE, Config
from tests import PROJECT

ALERTS = ("ALERT_URLS", "ALERT_WEBHOOK", "ALERT_WEBHOOK_SECRET")


def load(*settings: str, **environ: str) -> Config:
    return load_config(settings, environ=environ)


def test_documented_defaults() -> None:
    config = load()
    assert (config.model.sequence_length, config.model.prediction_horizon) == (7, 7)
    assert (config.training.epochs, config.training.batch_size, config.training.learning_rate) == (100, 32, 0.001)
    assert (config.data.days_back, config.version_to_train) == (60, "v1.0.0")
    assert (config.serving.port, config.model_dir, config.debug) == (5000, Path("model_store"), False)


def test_documented_command_line_is_taken_to_the_letter() -> None:
    flags = "--sequence-length 7 --prediction-horizon 7 --model-version v1.10 --days-back 90 --epochs 3 --batch-size 16"
    config, _ = train.COMMAND.parse([*flags.split(), "--learning-rate", "0.01"])
    assert config.version_to_train == "v1.10"
    assert (config.data.days_back, config.training.epochs, config.training.batch_size) == (90, 3, 16)
    assert config.training.learning_rate == 0.01


def test_later_sources_win(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("serving: {port: 1111}\ntraining: {epochs: 7, seed: 3}\n")
    config = load_config(["training.epochs=9"], files=[file], environ={"PORT": "2222"})
    assert (config.serving.port, config.training.epochs, config.training.seed) == (2222, 9, 3)


def test_dotenv_lies_below_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".env").write_text("PORT=1111\nMODEL_DIR=from_file\n")
    monkeypatch.setenv("TRAFFIC_FORECASTER_HOME", str(tmp_path))
    monkeypatch.setenv("PORT", "2222")
    monkeypatch.delenv("MODEL_DIR", raising=False)
    config = load_config()
    assert (config.serving.port, config.model_dir) == (2222, tmp_path / "from_file")


@pytest.mark.parametrize("version", ["1.10", "v1.10", "007", "1e3"])
def test_versions_stay_text(version: str) -> None:
    assert load(f"model_version={version}").version_to_train == version
    assert load(MODEL_VERSION=version).model_version == version


def test_number_as_version_in_yaml_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text("model_version: 1.10\n")
    with pytest.raises(SettingError) as refusal:
        load_config(files=[file], environ={})
    assert str(refusal.value) == (
        f"model_version in {file} is 1.1, but is text: write it in quotes, or 1.10 becomes 1.1."
    )


@pytest.mark.parametrize(
    ("version", "reason"),
    [
        ("../x", "cannot be a folder's name"),
        ("a/b", "cannot be a folder's name"),
        (".hidden", "cannot be a folder's name"),
        ("v1..0", "cannot be a folder's name"),
        ("", "cannot be a folder's name"),
        ("v" * 65, "cannot be a folder's name"),
        ("v1\n", "cannot be a folder's name"),
        ("base", "is reserved"),
        ("v1.previous", "is reserved"),
    ],
)
def test_version_that_is_no_name_is_refused(version: str, reason: str) -> None:
    with pytest.raises(InvalidVersion, match=reason):
        check_version(version)


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (
            "model.sequence_lenght=7",
            "There is no setting 'model.sequence_lenght' (in the command line). Did you mean model.sequence_length?",
        ),
        (
            "epochs=3",
            "There is no setting 'epochs' (in the command line). Did you mean training.epochs?",
        ),
        (
            "zzz=3",
            "There is no setting 'zzz' (in the command line). --help-all lists them all.",
        ),
        ("training.epochs", "'training.epochs' is not a setting. Write key=value, such as training.epochs=50."),
        ("training.epochs=x", "training.epochs in the command line is 'x', but must be a whole number."),
        ("training.epochs=0", "training.epochs (--epochs) is 0; it must be at least 1."),
        ("data.missing=drop", "data.missing in the command line is 'drop', but must be zero or mask."),
        ("data.days_back=29", "data.days_back (--days-back) is 29; it must be at least 30."),
        (
            "data.timezone=Mars/Phobos",
            "data.timezone is 'Mars/Phobos', which is not an IANA time zone. Use a name such as Europe/Paris or UTC.",
        ),
        (
            "training.learning_rate=0",
            "training.learning_rate (--learning-rate) is 0.0; it must be above 0 and below 1.",
        ),
        ("serving.deadline_seconds=0", "serving.deadline_seconds is 0.0; it must be above 0."),
        ("serving.deadline_seconds=nan", "serving.deadline_seconds is nan; it must be above 0."),
        ("serving.batch_size=0", "serving.batch_size is 0; it must be at least 1."),
        ("serving.max_age_days=-5", "serving.max_age_days is -5; it must be at least 0."),
        (
            "training.accelerator=foo",
            "training.accelerator in the command line is 'foo', but must be auto or cpu or gpu.",
        ),
        ("model_version=???", "model_version in the command line is '???', which is not a value."),
        ("forecast.days_ahead=0", "forecast.days_ahead (--days-ahead) is 0; it must be 1 to 30."),
        ("verdicts.outage_level=0", "verdicts.outage_level is 0.0; it must be above 0."),
        ("verdicts.bot_factor=1", "verdicts.bot_factor is 1.0; it must be above 1."),
        ("verdicts.bot_factor=nan", "verdicts.bot_factor is nan; it must be above 1."),
        ("verdicts.partial_hours=1", "verdicts.partial_hours is 1; it must be 2 to 24."),
        (
            "verdicts.breaks=visits=May",
            "verdicts.breaks has 'visits=May', which is not a day. Write visits=2024-05-01, or 2024-05-01 for every "
            "metric.",
        ),
        (
            "verdicts.breaks==2024-05-01",
            "verdicts.breaks has '=2024-05-01', which is not a day. Write visits=2024-05-01, or 2024-05-01 for every "
            "metric.",
        ),
        (
            "verdicts.masked=bots",
            "verdicts.masked names 'bots'; it may name outage, partial, bot, definition_break.",
        ),
        ("process.rank=1", "process.rank in the command line: torchrun says which of how many processes this is."),
        (
            "serving.torchserve_ports=8080,8081",
            "serving.torchserve_ports is 8080,8081; it must be 0, for any free ports, or 5 ports from 0 to 65535: "
            "inference, management, metrics, grpc_inference, grpc_management.",
        ),
        (
            "serving.torchserve_ports=http",
            "serving.torchserve_ports in the command line is ['http'], but must be a list of whole numbers, such as "
            "8080,8081.",
        ),
        ("serving.port=70000", "serving.port (--port) is 70000; it must be 0 to 65535."),
        ("guard.max_connections=0", "guard.max_connections is 0; it must be at least 1."),
        ("guard.request_seconds=inf", "guard.request_seconds is inf; it must be above 0."),
        (
            "guard.requests_per_second=-1",
            "guard.requests_per_second is -1.0; it must be at least 0.",
        ),
        (
            "guard.hosts=http://forecasts.example",
            "guard.hosts has 'http://forecasts.example'. Write the name alone, such as forecasts.example.",
        ),
        (
            "guard.cors_origins=*",
            "guard.cors_origins has '*'. Write each as a browser sends it: scheme and name in lower case, without a "
            "path, such as https://dashboard.example.",
        ),
        (
            "guard.cors_origins=https://dashboard.example/",
            "guard.cors_origins has 'https://dashboard.example/'. Write each as a browser sends it: scheme and name "
            "in lower case, without a path, such as https://dashboard.example.",
        ),
        (
            "api_keys=me:admin:hunter2hunter2hunter2",
            "api_keys in the command line: API keys come from the environment alone. "
            "Set API_KEYS=name:right:key,name:right:key, or write it in .env.",
        ),
        (
            "database.password=hunter2",
            "database.password in the command line: where the database is, and its password, come from the "
            "environment alone. Set DB_HOST, DB_PORT, DB_NAME, DB_USER and DB_PASSWORD, or write them in .env.",
        ),
    ],
)
def test_bad_setting_is_refused_with_what_to_do(setting: str, text: str) -> None:
    with pytest.raises(SettingError) as refusal:
        load(setting)
    assert str(refusal.value) == text


def test_breaks_are_of_a_metric_or_of_all(tmp_path: Path) -> None:
    setting = "verdicts.breaks=visits=2024-05-01,2023-01-31, visits = 2022-02-03"
    verdicts = load(setting).verdicts
    assert verdicts.break_dates("visits") == [dt.date(2024, 5, 1), dt.date(2023, 1, 31), dt.date(2022, 2, 3)]
    assert verdicts.break_dates("views") == [dt.date(2023, 1, 31)]
    file = tmp_path / "mine.yaml"
    file.write_text("verdicts: {breaks: [2024-05-01], masked: []}\n")
    verdicts = load_config(files=[file], environ={}).verdicts
    assert (verdicts.break_dates("views"), verdicts.masked) == ([dt.date(2024, 5, 1)], [])


def test_verdicts_that_can_be_masked_are_verdicts() -> None:
    assert load().verdicts.masked == list(MASKABLE)
    assert set(MASKABLE) < set(Verdict.__members__)


def test_reference_to_nothing_is_refused() -> None:
    with pytest.raises(SettingError, match="A setting cannot be worked out: Interpolation key 'x' not found"):
        load(MODEL_DIR="/tmp/${x}")


def test_missing_and_broken_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=f"There is no configuration file {tmp_path}/none.yaml"):
        load_config(files=[tmp_path / "none.yaml"], environ={})
    broken = tmp_path / "broken.yaml"
    for content in (b"a: [1,\n", b"\xff\xfe\x00"):
        broken.write_bytes(content)
        with pytest.raises(SettingError, match=rf"{broken} cannot be read as yaml"):
            load_config(files=[broken], environ={})


def test_a_metric_of_any_name_can_be_described() -> None:
    config = load("metrics.sales.kind=other", "metrics.bounce_rate.unit=percent", "data.metrics=sales,page_visits")
    assert config.metrics["sales"].kind is Kind.other
    assert (config.metrics["bounce_rate"].kind, config.metrics["bounce_rate"].unit) == (Kind.rate, Unit.percent)
    assert config.data.metrics == ["sales", "page_visits"]
    assert config.metrics["unique_visitors"].additive is False


def test_embedded_database_only_with_none_of_the_five_set(tmp_path: Path) -> None:
    assert load().database.embedded
    assert load(TRAFFIC_PGDATA=str(tmp_path)).database.pgdata == tmp_path
    for variable, value in {"DB_HOST": "h", "DB_PORT": "1", "DB_NAME": "n", "DB_USER": "u", "DB_PASSWORD": "p"}.items():
        assert not load(**{variable: value}).database.embedded, variable
    documented = load(DB_HOST="db").database
    assert (documented.port, documented.name, documented.user, documented.password) == (
        5432,
        "siteanalytics",
        "postgres",
        "password",
    )


def test_without_a_home_folder_the_embedded_server_needs_a_place(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """As in a container whose user id has no account."""
    monkeypatch.delenv("HOME", raising=False)
    monkeypatch.setattr(os, "getuid", lambda: 2**31 - 2)
    with pytest.raises(SettingError) as refusal:
        load()
    assert str(refusal.value) == (
        "There is no home folder for the embedded PostgreSQL: HOME is not set, and this user has no account. Set "
        "TRAFFIC_PGDATA to a folder for it, or DB_HOST to use your own server."
    )
    assert load(TRAFFIC_PGDATA=str(tmp_path)).database.pgdata == tmp_path
    assert load(DB_HOST="db").database.pgdata == Path()


def test_password_never_shows() -> None:
    assert "hunter2" not in repr(load(DB_PASSWORD="hunter2"))


def test_source_and_cache_may_be_in_other_databases() -> None:
    config = load(
        SOURCE_URL="postgresql://reader:hun%40ter%2F2@replica.example:6432/umami%20db",
        CACHE_URL="postgres://localhost/own",
        DB_HOST="db",
        DB_USER="writer",
    )
    source, own = config.source_database, config.cache_database
    assert source is not None
    assert own is not None
    parts = (source.embedded, source.host, source.port, source.name, source.user, source.password)
    assert parts == (False, "replica.example", 6432, "umami db", "reader", "hun@ter/2")
    assert (own.embedded, own.host, own.port, own.name) == (False, "localhost", 5432, "own")
    assert (config.database.host, config.database.user) == ("db", "writer")
    unset = load(SOURCE_URL="")
    assert (unset.source_database, unset.cache_database) == (None, None)


def test_a_url_may_name_a_socket_or_the_embedded_server(tmp_path: Path) -> None:
    socket = load(SOURCE_URL="postgresql:///umami?host=/var/run/postgresql").source_database
    assert socket is not None
    assert (socket.host, socket.name, socket.embedded) == ("/var/run/postgresql", "umami", False)
    own = load(CACHE_URL="embedded", DB_HOST="db", TRAFFIC_PGDATA=str(tmp_path)).cache_database
    assert own is not None
    assert (own.embedded, own.pgdata) == (True, tmp_path)
    assert own.name.startswith(CACHE_DATABASE)


@pytest.mark.parametrize("variable", ["SOURCE_URL", "CACHE_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "mysql://reader:hunter2@host/umami",
        "reader:hunter2@host/umami",
        "postgresql://reader:hunter2@host:54x2/umami",
        "postgresql://reader:hunter2@host:99999/umami",
        "postgresql://reader:hunter2@host",
        "postgresql://reader:hunter2@host/",
        "postgresql://reader:hunter2@[host/umami",
        "postgresql://reader:hun/ter2@host/umami",
        "postgresql://reader:hun#ter2@host/umami",
        "postgresql://reader:hun?ter2@host/umami",
    ],
)
def test_a_bad_url_is_refused_without_its_password(variable: str, url: str) -> None:
    with pytest.raises(SettingError) as refusal:
        load(**{variable: url})
    form = f"{variable} is not a PostgreSQL URL. Write it as postgresql://user:password@host:5432/database, and in the "
    assert str(refusal.value).startswith(form)
    shown = "".join(traceback.format_exception(refusal.value))
    assert "ter2" not in shown
    assert "hun" not in shown


def test_an_unknown_parameter_of_a_url_is_named() -> None:
    with pytest.raises(SettingError) as refusal:
        load(SOURCE_URL="postgresql://reader:hunter2@host/umami?sslmode=require&sslkey=x")
    assert str(refusal.value) == "SOURCE_URL has the parameter sslkey, which is not supported. Remove it."


def test_passwords_of_urls_never_show() -> None:
    config = load(SOURCE_URL="postgresql://a:hunter2@h/d", CACHE_URL="postgresql://a:hunter3@h/d")
    assert "hunter" not in repr(config)


def test_urls_say_where_the_source_and_the_cache_are(tmp_path: Path) -> None:
    config = load(
        TRAFFIC_PGDATA=str(tmp_path), SOURCE_URL="postgres://me:p%40s%2Fs%25@replica:5433/um%61mi", CACHE_URL="embedded"
    )
    source, cache = config.source_database, config.cache_database
    assert source is not None
    assert cache is not None
    assert (source.host, source.port, source.name, source.user) == ("replica", 5433, "umami", "me")
    assert (source.password, source.embedded) == ("p@s/s%", False)
    assert (cache.pgdata, cache.embedded) == (tmp_path, True)
    assert (load().source_database, load().cache_database) == (None, None)
    socket = load(SOURCE_URL="postgresql:///umami?host=/run/postgresql").source_database
    assert socket is not None
    assert (socket.host, socket.name) == ("/run/postgresql", "umami")


def test_databases_do_not_share_what_the_embedded_postgresql_keeps_of_them() -> None:
    names = []
    for name in ("a", "b"):
        of_url = load(SOURCE_URL=f"postgresql://host/{name}", CACHE_URL="embedded").cache_database
        of_variables = load(DB_HOST="host", DB_NAME=name, CACHE_URL="embedded").cache_database
        assert of_url == of_variables
        assert of_url is not None
        names.append(of_url.name)
    assert names[0] != names[1]


@pytest.mark.parametrize(
    "url",
    [
        "mysql://me:hunter2@replica/umami",
        "postgresql://me:hunter2@replica",
        "postgresql://me:hunter2@replica:5x/umami",
        "postgresql://[::1/umami",
        "postgresql://me:a@b/hunter2@replica/umami",  # the password's own characters, as they are
        "postgresql://me:hunter2#b@replica/umami",
        "embedded",
    ],
)
def test_bad_url_is_refused_without_showing_it(url: str) -> None:
    with pytest.raises(SettingError) as error:
        load(SOURCE_URL=url)
    assert str(error.value) == (
        "SOURCE_URL is not a PostgreSQL URL. Write it as postgresql://user:password@host:5432/database, and in the "
        "user and the password % as %25, @ as %40, : as %3A, / as %2F, ? as %3F, # as %23."
    )


def test_encryption_is_as_the_url_says() -> None:
    source = load(SOURCE_URL="postgresql://me@replica/umami?sslmode=require").source_database
    assert source is not None
    assert source.sslmode == "require"
    with pytest.raises(SettingError) as refusal:
        load(CACHE_URL="postgresql://me@replica/umami?sslmode=always")
    assert str(refusal.value) == (
        "CACHE_URL has sslmode=always; it must be disable, allow, prefer, require, verify-ca, verify-full."
    )


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("schema=umami&connection_limit=1&pool_timeout=0&pgbouncer=true", {"schema": "umami"}),  # Prisma's
        ("sslmode=require&channel_binding=prefer", {"sslmode": "require"}),
        ("sslmode=require&options=endpoint%3Dep-cool-1", {"sslmode": "require", "options": "endpoint=ep-cool-1"}),
        ("sslmode=require&supa=base-pooler.x&connect_timeout=15&application_name=web", {"sslmode": "require"}),
    ],
)
def test_urls_as_hosters_write_them(query: str, expected: dict[str, str]) -> None:
    source = load(SOURCE_URL=f"postgres://me@pooler.example:6543/umami?{query}").source_database
    assert source is not None
    values = {"sslmode": source.sslmode, "schema": source.schema, "options": source.options}
    assert {name: value for name, value in values.items() if value} == expected


def test_channel_binding_that_is_demanded_is_told_to_be_missing(caplog: pytest.LogCaptureFixture) -> None:
    load(SOURCE_URL="postgresql://me@ep.example/umami?sslmode=require&channel_binding=require")
    assert [record.getMessage() for record in caplog.records] == [
        "SOURCE_URL has channel_binding=require, which is not supported here: the connection is made without it. "
        "sslmode=verify-full checks the server instead"
    ]
    with pytest.raises(SettingError) as refusal:
        load(SOURCE_URL="postgresql://me@ep.example/umami?channel_binding=always")
    assert str(refusal.value) == "SOURCE_URL has channel_binding=always; it must be disable, prefer, require."


def test_the_schema_of_the_source_is_a_setting_or_in_its_url() -> None:
    url = "postgresql://me@replica/umami?schema=stats"
    assert load(SOURCE_URL=url).read_from.schema == "stats"
    assert load("data.schema=stats", SOURCE_URL=url).read_from.schema == "stats"
    of_setting = load("data.schema=stats", DB_HOST="db")
    assert (of_setting.read_from.schema, of_setting.kept_in.schema) == ("stats", None)
    assert load(DB_HOST="db").read_from.schema is None
    with pytest.raises(SettingError) as refusal:
        load("data.schema=other", SOURCE_URL=url)
    assert str(refusal.value) == "data.schema is other, but SOURCE_URL has schema=stats. Remove one of them."


@pytest.mark.parametrize("key", ["training.seed", "pretraining.seed"])
@pytest.mark.parametrize("value", [2**63, 10**400, -1])
def test_a_seed_that_is_no_seed(key: str, value: int) -> None:
    with pytest.raises(SettingError) as refusal:
        load(f"{key}={value}")
    assert str(refusal.value) == f"{key} is {value}; it must be 0 to 9223372036854775807."


@pytest.mark.parametrize(
    ("setting", "named"),
    [("data.timezone=", "data.timezone"), ("data.timezones=blog=", "data.timezones for the site 'blog'")],
)
def test_an_empty_time_zone(setting: str, named: str) -> None:
    with pytest.raises(SettingError) as refusal:
        load(setting)
    assert str(refusal.value) == (
        f"{named} is '', which is not an IANA time zone. Use a name such as Europe/Paris or UTC."
    )


KEY = "hunter2-hunter2-hunter2"
FORM = (
    "is not name:right:key, such as dashboard:read:KEY. A name has up to 32 letters, digits, dots, hyphens and "
    "underscores; a right is read or admin; commas only separate entries."
)


def test_api_keys_are_kept_as_their_digests() -> None:
    keys = load(API_KEYS=f"dashboard:read:{KEY}, ops:admin:{KEY}:with:colons").api_keys
    assert [(key.name, key.right) for key in keys] == [
        ("dashboard", Right.read),
        ("ops", Right.admin),
    ]
    assert keys[0].digest == hashlib.sha256(KEY.encode()).digest()
    assert keys[1].digest == hashlib.sha256(f"{KEY}:with:colons".encode()).digest()
    assert (load().api_keys, load(API_KEYS=" ").api_keys) == ((), ())


def test_api_keys_never_show() -> None:
    config = load(API_KEYS=f"dashboard:read:{KEY}")
    assert "hunter2" not in repr(config)
    assert hashlib.sha256(KEY.encode()).hexdigest() not in repr(config)
    assert "api_keys" not in describe_settings()


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        (KEY, f"API_KEYS, entry 1, {FORM}"),
        (f"{KEY}:read:dashboard", "API_KEYS, entry 1: the key must be 16 to 256 letters, digits and signs"),
        (f"dashboard:write:{KEY}", f"API_KEYS, entry 1, {FORM}"),
        (f"a b:read:{KEY}", f"API_KEYS, entry 1, {FORM}"),
        (f"a:read:{KEY},", f"API_KEYS, entry 2, {FORM}"),
        (f"a:read:{KEY},b:read:hunter2", "API_KEYS, entry 2: the key must be 16 to 256 letters, digits and signs"),
        (f"a:read:{KEY},hunter2,b:read:{KEY}", f"API_KEYS, entry 2, {FORM}"),
        (
            f"a:read:{KEY},a:read:other-{KEY}",
            "API_KEYS, entry 2, repeats the name or the key of an earlier entry. Give each its own.",
        ),
        (
            f"a:read:{KEY},b:admin:{KEY}",
            "API_KEYS, entry 2, repeats the name or the key of an earlier entry. Give each its own.",
        ),
    ],
)
def test_bad_api_keys_are_refused_without_showing_them(keys: str, text: str) -> None:
    with pytest.raises(SettingError) as refusal:
        load(API_KEYS=keys)
    assert str(refusal.value).startswith(text)
    assert "hunter2" not in "".join(traceback.format_exception(refusal.value))


def test_api_keys_in_a_file_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(f"api_keys: ['a:read:{KEY}']\n")
    with pytest.raises(SettingError) as refusal:
        load_config(files=[file], environ={})
    assert str(refusal.value) == (
        f"api_keys in {file}: API keys come from the environment alone. "
        "Set API_KEYS=name:right:key,name:right:key, or write it in .env."
    )


def test_bad_database_port_is_refused() -> None:
    with pytest.raises(SettingError, match="DB_PORT is 'abc'; a port is a number from 1 to 65535."):
        load(DB_PORT="abc")


def test_torchrun_says_which_process_this_is() -> None:
    assert (load().process.rank, load().process.world_size) == (0, 1)
    process = load(RANK="5", WORLD_SIZE="8", LOCAL_RANK="1", LOCAL_WORLD_SIZE="4").process
    assert (process.rank, process.world_size, process.local_rank, process.num_nodes) == (5, 8, 1, 2)


def test_process_that_cannot_be_is_refused() -> None:
    with pytest.raises(SettingError) as refusal:
        load(RANK="2", WORLD_SIZE="2")
    assert str(refusal.value) == (
        "RANK, WORLD_SIZE, LOCAL_RANK and LOCAL_WORLD_SIZE are {'rank': '2', 'world_size': '2'}, which is "
        "impossible. Start with torchrun, which sets them, or unset all four."
    )


def test_documented_design_is_one_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    config = load_config(files=[Path("configs/documented.yaml")], environ={})  # found from any folder
    assert config.model.scaling is Scaling.minmax
    assert config.data.metrics == ["page_visits"]
    assert config.data.missing is Missing.zero


def test_env_example_names_every_variable() -> None:
    text = (PROJECT / "env.example").read_text()
    variables = {*VARIABLES, *DATABASE_VARIABLES, "DB_PASSWORD", "TRAFFIC_PGDATA", "API_KEYS", *ALERTS, HOME}
    assert {name for name in variables if f"# {name}=" not in text} == set()


def test_every_setting_says_what_it_is() -> None:
    settings = list(list_settings())
    assert len(settings) > 30
    assert [key for key, declared, _ in settings if not declared.metadata.get("help")] == []
    assert "model.hidden_size" in describe_settings()


def test_settings_that_all_commands_share_stay_few() -> None:
    assert len(list(list_settings(without=COMMANDS_OWN))) <= 80


def test_torchserves_ports_are_one_setting(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert load().serving.each_torchserve_port == {
        "inference": 8080, "management": 8081, "grpc_inference": 7070, "grpc_management": 7071,
    }  # fmt: skip
    assert set(load("serving.torchserve_ports=0").serving.each_torchserve_port.values()) == {0}
    config, _ = serve.COMMAND.parse(["serving.metrics_port=9", "serving.grpc_management_port=0"])
    assert config.serving.torchserve_ports == [8080, 8081, 9, 7070, 0]
    assert capsys.readouterr().err.splitlines() == [
        f"serving.{name}_port in the command line is one of serving.torchserve_ports now."
        for name in ("metrics", "grpc_management")
    ]


OLDER = """
training: {model_version: trained}
serving: {model_version: served}
backtest: {model: base, horizon: 9}
forecast: {model: forecasting}
"""


@pytest.mark.parametrize(
    ("command", "version"),
    [(train, "trained"), (serve, "served"), (backtest, "base"), (forecast, "forecasting"), (pretrain, None)],
)
def test_older_keys_work_for_their_own_command_and_name_the_new_one(
    command: ModuleType, version: str | None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "mine.yaml"
    file.write_text(OLDER)
    config, _ = command.COMMAND.parse(["--config", str(file)])
    assert (config.model_version, config.backtest.days_ahead) == (version, 9)
    lines = capsys.readouterr().err.splitlines()
    assert f"backtest.horizon in {file} is called backtest.days_ahead now." in lines
    for key in ("training.model_version", "serving.model_version", "backtest.model", "forecast.model"):
        line = f"{key} in {file} is called model_version now (--model-version)."
        ignored = line + " This command does not read the old key."
        assert (ignored if key not in command.COMMAND.version_from else line) in lines
    assert len(lines) == 5


def test_variable_of_the_served_version_changes_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    """Else training would overwrite the version that is served."""
    monkeypatch.setenv("MODEL_VERSION", "v7")
    assert train.COMMAND.parse([])[0].version_to_train == "v1.0.0"
    assert backtest.COMMAND.parse([])[0].model_version is None
    assert serve.COMMAND.parse([])[0].model_version == "v7"
    assert forecast.COMMAND.parse([])[0].model_version == "v7"
    assert load_config().model_version == "v7"
    assert serve.COMMAND.parse(["--model-version", "v8"])[0].model_version == "v8"


@pytest.mark.parametrize("command", [backtest, forecast])
def test_model_is_another_word_for_model_version(command: ModuleType) -> None:
    assert command.COMMAND.parse(["--model", "base"])[0].model_version == "base"


def test_backtests_days_ahead_have_their_documented_flag() -> None:
    for flag in ("--horizon", "--days-ahead"):
        assert backtest.COMMAND.parse([flag, "14"])[0].backtest.days_ahead == 14


def test_base_cannot_be_trained_as_a_version() -> None:
    with pytest.raises(InvalidVersion, match="Version 'base' is reserved"):
        train.COMMAND.parse(["--model-version", "base"])[0].version_to_train  # noqa: B018


@pytest.mark.parametrize("key", FIXED)
def test_key_that_is_fixed_by_now_is_refused_with_its_reason(key: str) -> None:
    with pytest.raises(SettingError) as refusal:
        load(f"{key}=1")
    assert str(refusal.value) == f"{key} in the command line is no longer a setting. {FIXED[key]} Remove it."


def test_all_days_are_a_number_of_days() -> None:
    config = load("data.days_back=all")
    assert config.data.days_back == ALL_DAYS
    assert config.days_to_read is None
    assert load("data.days_back=90").days_to_read == 90 + load().model.context_length
    with pytest.raises(SettingError) as caught:
        load("data.days_back=every")
    assert str(caught.value) == "data.days_back in the command line is 'every', but must be a whole number."
