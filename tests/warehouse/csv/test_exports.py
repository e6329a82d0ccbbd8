"""Files in the shape that analytics tools export, with made numbers. The README of the room lists them."""

import re
from pathlib import Path

import pytest

from forecasting.domain import Kind, to_date
from forecasting.errors import DataError, DuplicateDays
from forecasting.settings.loading import load_config
from forecasting.settings.schema import Config
from forecasting.warehouse.csv.observations import CsvSeries, read_csv_panel, read_csv_series
from tests import PROJECT

Read = dict[str, list[float]]
RULE = "# ----------------------------------------\n"
FIRST, SECOND = "2024-01-30", "2024-01-31"


def read_file(folder: Path, content: str | bytes, *settings: str) -> CsvSeries:
    file = folder / "shop.csv"
    file.write_bytes(content.encode() if isinstance(content, str) else content)
    config = load_config(settings, environ={}) if settings else Config()  # which takes a while
    return read_csv_series(file, metrics=config.metrics, data=config.data)


def values(content: CsvSeries) -> Read:
    assert {row.series.site for row in content.observations} == {"shop"}
    return {row.series.metric: row.values.tolist() for row in content.observations}


def dates(content: CsvSeries) -> list[str]:
    [days] = {tuple(map(int, row.days)) for row in content.observations}
    return [str(to_date(day)) for day in days]


def added(content: CsvSeries) -> set[str]:
    """The metrics that have a total."""
    return {row.series.metric for row in content.observations if row.series.additive}


def refusal(folder: Path, text: str, *settings: str, error: type[DataError] = DataError) -> str:
    with pytest.raises(error) as raised:
        read_file(folder, text, *settings)
    return str(raised.value).replace(str(folder / "shop.csv"), "{file}")


# By tool: the file, its values by metric, and the metrics whose days add up. Every file is of 30 and 31 January 2024.
EXPORTS: dict[str, tuple[str | bytes, Read, set[str]]] = {
    "Google Analytics 4": (
        f"{RULE}# Reports snapshot\n# Account: Shop\n# Property: shop.example\n{RULE}#\n# All Users\n"
        "# Start date: 20240130\n# End date: 20240131\nNth day,Active users\n0000,120\n0001,80\n",
        {"unique_visitors": [120, 80]},
        set(),
    ),
    "Universal Analytics": (
        f"{RULE}# All Web Site Data\n# Audience Overview\n# 20240130-20240131\n{RULE}\nDay Index,Pageviews\n"
        '1/30/24,"1,205"\n1/31/24,784\n,"1,989"\n',
        {"page_visits": [1205, 784]},
        {"page_visits"},
    ),
    "Google Search Console": (
        "Date,Clicks,Impressions,CTR,Position\n2024-01-31,10,300,3.33%,12\n2024-01-30,12,345,3.48%,13.1\n",
        {"clicks": [12, 10], "impressions": [345, 300], "ctr": [0.0348, 0.0333], "position": [13.1, 12]},
        {"clicks", "impressions"},
    ),
    "Plausible": (
        "date,visitors,pageviews,visits,views_per_visit,bounce_rate,visit_duration\n"
        "2024-01-30,10,25,12,2.08,42,90\n2024-01-31,14,31,16,1.94,100,61\n",
        {
            "unique_visitors": [10, 14], "page_visits": [25, 31], "visits": [12, 16], "views_per_visit": [2.08, 1.94],
            "bounce_rate": [0.42, 1], "visit_duration": [90, 61],
        },
        {"page_visits", "visits"},
    ),
    "Matomo": (
        "Date,Unique visitors,Visits,Actions,Bounce Rate,Avg. Visit Duration (in seconds)\n"
        '2024-01-30,25,40,"1,242",30%,11 min 2s\n"Wed, Jan 31, 2024",20,30,100,50%,00:01:00\n',
        {
            "unique_visitors": [25, 20], "visits": [40, 30], "actions": [1242, 100], "bounce_rate": [0.3, 0.5],
            "visit_duration": [662, 60],
        },
        {"visits", "actions"},
    ),
    "Umami": (
        "x,y\n2024-01-30 00:00:00,120\n2024-01-31 00:00:00,80\n",
        {"y": [120, 80]},
        set(),
    ),
    "Cloudflare": (
        "date,requests,pageViews,uniques,bytes\n2024-01-30T00:00:00Z,5000,400,90,123456789\n"
        "2024-01-31T00:00:00Z,4000,300,80,98765432\n",
        {"requests": [5000, 4000], "pageviews": [400, 300], "uniques": [90, 80], "bytes": [123456789, 98765432]},
        {"requests", "pageviews", "bytes"},
    ),
    "Fathom": (
        "Date,Views,Uniques,Visits,Avg. time on site,Bounce rate\n2024-01-30,120,50,60,1m 23s,45%\n"
        "2024-01-31,80,40,45,0:00:28,50%\n",
        {
            "views": [120, 80], "uniques": [50, 40], "visits": [60, 45], "avg_time_on_site": [83, 28],
            "bounce_rate": [0.45, 0.5],
        },
        {"views", "visits"},
    ),
    "Simple Analytics": (
        "date,pageviews,visitors\n2024-01-30,120,50\n2024-01-31,80,40\n",
        {"pageviews": [120, 80], "visitors": [50, 40]},
        {"pageviews"},
    ),
    "Jetpack": (
        '"period","views","visitors","likes","comments"\n"2024-01-30","120","50","3","1"\n"2024-01-31","80","40","0","2"\n',
        {"views": [120, 80], "visitors": [50, 40], "likes": [3, 0], "comments": [1, 2]},
        {"views", "likes", "comments"},
    ),
    "LinkedIn": (
        '"Aggregated metrics of the page Shop, 01/30/2024 to 01/31/2024"\n'
        "Date,Impressions (total),Unique impressions (organic),Clicks (total),Engagement rate (total)\n"
        "01/30/2024,1200,800,12,0.0145\n01/31/2024,900,700,9,0.0123\n",
        {
            "impressions_total": [1200, 900], "unique_impressions_organic": [800, 700], "clicks_total": [12, 9],
            "engagement_rate_total": [0.0145, 0.0123],
        },
        {"impressions_total", "clicks_total"},
    ),
    "Meta": (
        'sep=,\n"Facebook visits"\n"Date","Primary"\n"2024-01-30T00:00:00","12"\n"2024-01-31T00:00:00","9"\n\n'
        '"Reach"\n"Date","Primary"\n"2024-01-30T00:00:00","500"\n"2024-01-31T00:00:00","450"\n'.encode("utf-16"),
        {"facebook_visits": [12, 9], "reach": [500, 450]},
        {"facebook_visits"},
    ),
    "YouTube": (
        "Date,Views,Watch time (hours),Subscribers,Average view duration,Impressions click-through rate (%)\n"
        "Total,200,21.25,2,0:02:10,4.5\n2024-01-30,120,12.5,-1,0:02:05,4.1\n2024-01-31,80,8.75,3,0:02:15,5.25\n",
        {
            "views": [120, 80], "watch_time_hours": [12.5, 8.75], "subscribers": [-1, 3],
            "average_view_duration": [125, 135], "impressions_click_through_rate": [0.041, 0.0525],
        },
        {"views", "watch_time_hours"},
    ),
    "GitHub": (
        "timestamp,count,uniques\n2024-01-30T00:00:00Z,120,50\n2024-01-31T00:00:00Z,80,40\n",
        {"count": [120, 80], "uniques": [50, 40]},
        {"count"},
    ),
    "Wikimedia": (
        "Date,Cat,Main_Page\n2024-01-30,12345,5000000\n2024-01-31,11999,4900000\n",
        {"cat": [12345, 11999], "main_page": [5000000, 4900000]},
        set(),
    ),
    "Wikimedia's API": (
        "project,article,granularity,timestamp,access,agent,views\nen.wikipedia,Cat,daily,2024013000,all-access,user,500\n"
        "en.wikipedia,Cat,daily,2024013100,all-access,user,600\n",
        {"views": [500, 600]},
        {"views"},
    ),
    "a WordPress plugin": (
        "_date,total_views,unique_views\n2024-01-30,120,50\n2024-01-31,80,40\n",
        {"total_views": [120, 80], "unique_views": [50, 40]},
        {"total_views"},
    ),
    "Nixtla's data frames": ("unique_id,ds,y\nshop,2024-01-30,5\nshop,2024-01-31,6\n", {"y": [5, 6]}, set()),
    "a data frame with its index": (",ds,y\n0,2024-01-30,5\n1,2024-01-31,6\n", {"y": [5, 6]}, set()),
}  # fmt: skip


@pytest.mark.parametrize("tool", EXPORTS)
def test_exports(tmp_path: Path, tool: str) -> None:
    file, expected, additive = EXPORTS[tool]
    content = read_file(tmp_path, file)
    assert {metric: pytest.approx(row, rel=1e-9) for metric, row in expected.items()} == values(content)
    assert dates(content) == [FIRST, SECOND]
    assert added(content) == additive


@pytest.mark.parametrize("zone", ["America/New_York", "Asia/Tokyo"])
def test_days_of_github_are_those_of_utc(tmp_path: Path, zone: str) -> None:
    assert dates(read_file(tmp_path, EXPORTS["GitHub"][0], f"data.timezone={zone}")) == [FIRST, SECOND]


def test_readme_lists_every_tool() -> None:
    readme = (PROJECT / "forecasting" / "warehouse" / "csv" / "README.md").read_text()
    rows = re.findall(r"^\| ([^|`]+) \| `([^|`]+)`", readme, re.MULTILINE)
    assert {name for name, _ in rows} == EXPORTS.keys()
    for name, header in rows:
        file = EXPORTS[name][0]
        text = file.decode("utf-16") if isinstance(file, bytes) else file
        titles = [title.strip().strip("`") for title in header.split(",")]
        assert [title for title in titles if title.lower() not in text.lower()] == []


SNAPSHOT = f"""\
{RULE}# Reports snapshot
{RULE}# Start date: 20240130
# End date: 20240131
Nth day,Active users,New users
0000,120,20
0001,80,8

# Start date: 20240130
# End date: 20240131
Date,Week 0,Week 1
All Users,40,3
Dec 17 - Dec 23,40,3
Dec 24 - Dec 30,35,

# Start date: 20240130
# End date: 20240131
First user source,New users
google,30
(direct),7

# Start date: 20240130
# End date: 20240131
Date,Device category,Sessions
20240130,mobile,60
20240130,desktop,70
20240131,mobile,50

# Start date: 20240130
# End date: 20240131
Nth week,Views
0000,120

# Start date: 20240130
# End date: 20240131
Nth day,Active users
0000,11
0001,12

# Start date: 20240130
# End date: 20240131
Nth day,Views
0000,300
0001,200
"""


def test_tables_that_are_not_by_day_are_skipped_and_reported(tmp_path: Path) -> None:
    content = read_file(tmp_path, SNAPSHOT)
    assert values(content) == {"unique_visitors": [120, 80], "new_users": [20, 8], "page_visits": [300, 200]}
    lines = {
        title: SNAPSHOT[: SNAPSHOT.index(title)].count("\n") + 1 for title in ("Date,Week", "First", "Date,D", "Nth w")
    }
    other = SNAPSHOT[: SNAPSHOT.rindex("Nth day,Active")].count("\n") + 1
    assert list(content.notes) == [
        f"shop.csv: the table on line {lines['Date,Week']}, by 'Date', is not by day, and is skipped",
        f"shop.csv: the table on line {lines['First']}, by 'First user source', is not by day, and is skipped",
        f"shop.csv: the table on line {lines['Nth w']}, by 'Nth week', is not by day, and is skipped",
        f"shop.csv: the table on line {lines['Date,D']}, by 'Date', is not by day, and is skipped",
        f"shop.csv: the table on line {other} has other values of unique_visitors of shop, which are skipped",
    ]


def test_tables_of_other_days_of_a_series_are_joined(tmp_path: Path) -> None:
    head = "# Start date: 202401{0}\n# End date: 202401{1}\nNth day,Active users\n"
    text = f"{RULE}{RULE}{head.format(30, 31)}0000,5\n0001,6\n\n{head.format(29, 30)}0000,4\n0001,5\n"
    content = read_file(tmp_path, text)
    assert read_file(tmp_path, text.replace(",5\n", ",\n")).notes == []  # unmeasured in both
    assert (values(content), dates(content)) == ({"unique_visitors": [4, 5, 6]}, ["2024-01-29", FIRST, SECOND])
    assert content.notes == []
    other = read_file(tmp_path, text.replace("0001,5", "0001,7"))
    assert values(other) == {"unique_visitors": [5, 6]}
    assert len(other.notes) == 1


def test_file_of_such_tables_alone_is_refused(tmp_path: Path) -> None:
    text = f"{RULE}# Retention\n{RULE}# Start date: 20231217\n# End date: 20231230\nDate,Week 0\nDec 17 - Dec 23,40\n"
    assert refusal(tmp_path, text).startswith("{file} has no table by day, only by 'Date'. Export one row per day")


def test_notes_of_a_file_are_those_of_its_panel(tmp_path: Path) -> None:
    file = tmp_path / "shop.csv"
    rows = "".join(f"{day:04d},{day + 100}\n" for day in range(31))
    head = f"{RULE}# Start date: 20240101\n# End date: 20240131\n"
    file.write_text(f"{head}Nth day,Views\n{rows}\n{head}Country,Views\nFrance,30\n")
    panel = read_csv_panel(file, Config())
    assert panel.notes == ("shop.csv: the table on line 40, by 'Country', is not by day, and is skipped",)


@pytest.mark.parametrize(
    ("start", "end", "day", "users", "metric"),
    [
        ("Start date", "End date", "Nth day", "Active users", "unique_visitors"),
        ("Startdatum", "Enddatum", "N-ter Tag", "Aktive Nutzer", "unique_visitors"),
        ("Fecha de inicio", "Fecha de finalización", "Día N", "Usuarios activos", "unique_visitors"),
        ("Date de début", "Date de fin", "Jour N", "Utilisateurs actifs", "unique_visitors"),
        ("Data di inizio", "Data di fine", "Giorno N", "Utenti attivi", "unique_visitors"),
        ("Data de início", "Data de término", "Dia N", "Usuários ativos", "unique_visitors"),
        ("Begindatum", "Einddatum", "Dag N", "Actieve gebruikers", "unique_visitors"),
        ("開始日", "終了日", "N 日目", "アクティブ ユーザー", "アクティブ_ユーザー"),
        ("Дата начала", "Дата окончания", "Порядковый номер дня", "Активные пользователи", "активные_пользователи"),
    ],
)
def test_google_analytics_in_other_languages(
    tmp_path: Path, start: str, end: str, day: str, users: str, metric: str
) -> None:
    dated = f"# {start}: 20240130\n# {end}: 20240131\n"
    text = f"{RULE}# Report\n{RULE}{dated}{day},{users}\n0000,120\n0001,80\n\n{dated}Country,{users}\nFrance,30\n"
    content = read_file(tmp_path, text)
    assert values(content) == {metric: [120, 80]}
    assert dates(content) == [FIRST, SECOND]
    assert added(content) == set()
    assert list(content.notes) == ["shop.csv: the table on line 12, by 'Country', is not by day, and is skipped"]


def test_weeks_counted_in_another_language_are_no_days(tmp_path: Path) -> None:
    dated = "# Fecha de inicio: 20240101\n# Fecha de finalización: 20240131\n"
    weeks = "".join(f"{week:04d},{week}\n" for week in range(5))
    text = f"{RULE}{RULE}{dated}Semana N,Vistas\n{weeks}\n{dated}Día N,Vistas\n0000,7\n0030,9\n"
    content = read_file(tmp_path, text)
    assert values(content) == {"page_visits": [7, 9]}
    assert dates(content) == ["2024-01-01", "2024-01-31"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Fecha,Clics\n30/01/2024,12\n31/01/2024,10\n", {"clics": [12, 10]}),
        ('Jour,Vues\n30/01/2024,"1 205"\n31/01/2024,784\n', {"vues": [1205, 784]}),
        ("Datum;Sitzungen\n30.01.2024;1.205.300\n31.01.2024;784\n", {"sitzungen": [1205300, 784]}),
        ("Datum,Aktive Nutzer\n30.01.2024,1.205\n31.01.2024,784\n", {"unique_visitors": [1205, 784]}),
        ("Data,Utenti attivi\n30 gennaio 2024,12\n31 gennaio 2024,10\n", {"unique_visitors": [12, 10]}),
        ("日付,表示回数\n2024年1月30日,7\n2024年1月31日,8\n", {"表示回数": [7, 8]}),
        (
            'Datum,Klicks,Impressionen,CTR,Position\n30.01.2024,12,345,"3,48%","13,1"\n31.01.2024,10,300,"3,33 %",12\n',
            EXPORTS["Google Search Console"][1],
        ),
        (  # words that no list has: the share is that of clicks and impressions
            'Data,Kliknięcia,Wyświetlenia,CTR,Pozycja\n2024-01-30,12,345,"3,48%","13,1"\n2024-01-31,10,300,"3,33%",12\n',
            EXPORTS["Google Search Console"][1],
        ),
        (  # without the comments
            "Índice de días,Número de visitas a páginas\n30/01/24,1.205\n31/01/24,784\n,1.989\n",
            {"page_visits": [1205, 784]},
        ),
        (
            f"{RULE}# Alle\n# 20240130-20240131\n{RULE}\nTagesindex,Nutzer\n30.01.24,1.205\n31.01.24,784\n,1.989\n",
            {"unique_visitors": [1205, 784]},
        ),
    ],
)
def test_headers_dates_and_numbers_of_other_languages(tmp_path: Path, text: str, expected: Read) -> None:
    content = read_file(tmp_path, text)
    assert {metric: pytest.approx(row) for metric, row in expected.items()} == values(content)
    assert dates(content) == [FIRST, SECOND]


def test_five_columns_whose_share_is_another_keep_their_names(tmp_path: Path) -> None:
    content = read_file(tmp_path, "Date,Opens,Sent,Opened,Score\n2024-01-30,12,345,5%,1\n2024-01-31,10,300,6%,2\n")
    assert list(values(content)) == ["opens", "sent", "opened", "score"]


ROWS = "2024-01-30{0}5\n2024-01-31{0}6\n"


@pytest.mark.parametrize(
    "text",
    [
        "sep=,\ndate,views\n" + ROWS.format(","),
        '"sep=;"\ndate;views\n' + ROWS.format(";"),
        "sep=|\ndate|views\n" + ROWS.format("|"),
        "Traffic of the shop\n\ndate,views\n" + ROWS.format(","),
        "Traffic of the shop, exported by hand\nLast 2 days\ndate;views\n" + ROWS.format(";"),
        "Report,Shop\nFrom,2024-01-30\n\nDay\tViews\n" + ROWS.format("\t"),
        "Date|Views\n" + ROWS.format("|"),
        "Pages\nPage,Views\n/,9\n/a,2\n\nDays\nDay,Views\n" + ROWS.format(","),
        "Day,Views\n" + ROWS.format(",") + "\nPages\nPage,Views\n/,9\n/a,2\n",
        "# by hand\nDate,Views\n" + ROWS.format(",") + "Total,11\n",
        "Views,Date\n5,2024-01-30\n6,2024-01-31\n",
        "When,Views\n" + ROWS.format(","),
        "Views,When\n5,30 Jan 2024\n6,31 Jan 2024\n",
        ",date,views\n0,2024-01-30,5\n1,2024-01-31,6\n",
        "Unnamed: 0,date,views\n17,2024-01-30,5\n18,2024-01-31,6\n",
        "id,date,views\n8,2024-01-30,5\n9,2024-01-31,6\n",
        'date, views\n"2024-01-30", "5"\n"2024-01-31", "6"\n',
        "#,date,views\n1,2024-01-30,5\n2,2024-01-31,6\n",
        "date,weekday,views\n2024-01-30,Tue,5\n2024-01-31,Wed,6\n",
        "date,views\n01/30/2024,5\n01/31/2024,6\n",
        "date,views\n1/30/24,5\n1/31/24,6\n",
        'date,views\n"Jan 30, 2024",5\n"Jan 31, 2024",6\n',
    ],
)
def test_headers_that_people_have(tmp_path: Path, text: str) -> None:
    content = read_file(tmp_path, text)
    assert values(content) == {"views": [5, 6]}
    assert dates(content) == [FIRST, SECOND]


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-16-le", "utf-16-be"])
def test_encodings_with_a_mark_and_without(tmp_path: Path, encoding: str) -> None:
    content = read_file(tmp_path, ("sep=;\nÜber uns\nDatum;Aufrufe\n" + ROWS.format(";")).encode(encoding))
    assert values(content) == {"aufrufe": [5, 6]}


def test_column_of_words_is_reported(tmp_path: Path) -> None:
    content = read_file(tmp_path, "date,weekday,views\n2024-01-30,Tue,5\n2024-01-31,Wed,6\n")
    assert list(content.notes) == ["shop.csv: columns without a metric are ignored: weekday"]


def test_bad_cell_in_a_column_of_numbers_is_refused_wherever_it_is(tmp_path: Path) -> None:
    assert refusal(tmp_path, "date,things\n2024-01-30,Tue\n2024-01-31,6\n") == (
        "{file}, line 2: 'Tue' in column 'things' is not a number. Write it as 1234.5, or leave it empty."
    )


MUDDLE = "Moment;Wert;Ort;Art;Note\n2024-01-30;5;shop;a;1\n2024-01-31;6;shop;a;2\n"


def test_columns_that_nothing_can_guess_are_named(tmp_path: Path) -> None:
    for columns in ("date=Moment,value=Wert,series=Ort", "day=1,value=2,site=3", "date=moment,wert=Wert,site=ort"):
        content = read_file(tmp_path, MUDDLE, f"data.columns={columns}")
        assert (values(content), dates(content)) == ({"wert": [5, 6]}, [FIRST, SECOND])
    content = read_file(tmp_path, MUDDLE, "data.columns=date=Moment,page_visits=Wert,grades=Note")
    assert values(content) == {"page_visits": [5, 6], "grades": [1, 2]}
    content = read_file(tmp_path, MUDDLE, "data.columns=date=Moment,metric=Art,value=Wert,site=Ort")
    assert values(content) == {"a": [5, 6]}
    content = read_file(tmp_path, "2024-01-30,5\n2024-01-31,6\n", "data.columns=date=1,page_visits=2")
    assert (values(content), dates(content)) == ({"page_visits": [5, 6]}, [FIRST, SECOND])


def test_named_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path, MUDDLE, "data.columns=date=Zeit,value=Wert") == (
        "{file}, line 1: data.columns names 'Zeit', but the columns are Moment, Wert, Ort, Art, Note."
    )


def test_several_rows_of_one_day_in_a_single_table_are_refused(tmp_path: Path) -> None:
    text = "date,device,views\n2024-01-30,mobile,5\n2024-01-30,desktop,6\n"
    assert refusal(tmp_path, text, error=DuplicateDays) == (
        "{file}, line 3: views of shop has a second value for 2024-01-30; the first is on line 2. Keep one row per "
        "day. The columns device are ignored: export by day only."
    )


def test_position_is_a_mean_and_clicks_a_count(tmp_path: Path) -> None:
    content = read_file(tmp_path, EXPORTS["Google Search Console"][0])
    kinds = {row.series.metric: row.series.kind for row in content.observations}
    assert kinds == {"clicks": Kind.count, "impressions": Kind.count, "ctr": Kind.rate, "position": Kind.other}
