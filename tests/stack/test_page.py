"""The page in Chromium, as people use it, on the running stack."""

import shutil
from collections.abc import Callable, Iterator

import httpx
import numpy as np
import pytest
from selenium.common.exceptions import StaleElementReferenceException
from selenium.webdriver import Chrome, ChromeOptions, ChromeService, Keys
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.ui import WebDriverWait

from scripts.bench.harness import PATIENCE_SECONDS, Process

SITE, METRIC = "siteanalytics", "page_visits"
BROWSER, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(not (BROWSER and DRIVER), reason="needs Debian's chromium and chromium-driver")


@pytest.fixture(scope="module")
def browser() -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = BROWSER or ""
    for argument in ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--lang=en-US"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    chrome = Chrome(options=options, service=ChromeService(DRIVER))
    chrome.set_page_load_timeout(PATIENCE_SECONDS)
    yield chrome
    chrome.quit()


@pytest.fixture
def page(browser: Chrome, served: Process) -> Chrome:
    """On all sites, at the width of a desk."""
    browser.set_window_size(1440, 1000)
    browser.get("about:blank")
    browser.get(f"{served.url}/")
    find(browser, ".tile")
    return browser


def find(browser: Chrome, selector: str) -> WebElement:
    """Once it is there."""
    found: WebElement = WebDriverWait(browser, PATIENCE_SECONDS).until(
        lambda chrome: chrome.find_element(By.CSS_SELECTOR, selector), selector
    )
    return found


def wait_until(browser: Chrome, is_true: Callable[[], bool]) -> None:
    """Whatever view the page replaces meanwhile."""
    WebDriverWait(browser, PATIENCE_SECONDS, ignored_exceptions=[StaleElementReferenceException]).until(
        lambda _: is_true()
    )


def open_site(browser: Chrome) -> None:
    find(browser, ".tile").click()
    find(browser, "#plot svg")


def focus(browser: Chrome) -> str | None:
    """The id of what has the focus."""
    return browser.switch_to.active_element.get_attribute("id")


def press(browser: Chrome, *keys: str) -> None:
    browser.switch_to.active_element.send_keys(*keys)


def test_all_sites_are_on_the_first_view(page: Chrome, http: httpx.Client) -> None:
    [site] = http.get("/overview").json()["sites"]
    tile = find(page, ".tile")
    assert tile.find_element(By.CSS_SELECTOR, "h3").text == f"{SITE}\npage visits"
    shown = tile.find_element(By.CSS_SELECTOR, ".number").text.partition("\n")[0]
    assert int(shown.replace(",", "")) == float(f"{site['week']['value']:.3g}")
    assert page.title == "Sites \N{EN DASH} Traffic forecast"


def test_a_site_shows_the_answers_of_the_routes(page: Chrome, http: httpx.Client) -> None:
    open_site(page)
    assert find(page, "h1").text == SITE
    total = http.get("/predict/page-visits").json()["total"]
    values = [f"{float(f'{total[name]:.3g}'):,.0f}" for name in ("value", "lower", "upper")]
    assert find(page, ".cards .big").text == f"{values[0]} {values[1]} to {values[2]}"
    metrics = [tab.text for tab in page.find_elements(By.CSS_SELECTOR, ".metrics a")]
    [site] = http.get("/sites").json()["sites"]
    assert metrics == [each["metric"].replace("_", " ") for each in site["metrics"]]
    assert find(page, ".metrics [aria-current]").text == "page visits"


def test_every_day_of_the_chart_is_spoken(page: Chrome, http: httpx.Client, sample: dict[str, np.ndarray]) -> None:
    open_site(page)
    rows = http.get("/predict/page-visits", params={"days_ahead": 30}).json()["predictions"]
    plot = find(page, "#plot")
    plot.send_keys(Keys.ARROW_LEFT)
    spoken = plot.get_attribute("aria-valuetext") or ""
    assert spoken.startswith(f"Wed, Aug 19: {sample[METRIC][-1]:,.0f} page visits.")
    plot.send_keys(Keys.END)
    last = rows[-1]
    numbers = [f"{float(f'{last[name]:.3g}'):,.0f}" for name in ("predicted_visits", "lower", "upper")]
    expected = f"Fri, Sep 18: {numbers[0]} expected, 80% between {numbers[1]} and {numbers[2]}"
    assert plot.get_attribute("aria-valuetext") == expected
    plot.send_keys(Keys.HOME)
    assert plot.get_attribute("aria-valuenow") == plot.get_attribute("aria-valuemin") == "-89"


def test_the_table_has_every_day(page: Chrome, sample: dict[str, np.ndarray]) -> None:
    open_site(page)
    find(page, "#as-table").click()
    rows = page.find_elements(By.CSS_SELECTOR, ".table tbody tr")
    assert len(rows) == 365 + 30
    newest = [cell.text for cell in rows[30].find_elements(By.CSS_SELECTOR, "th, td")]
    assert newest[:2] == ["Wednesday, August 19, 2020", f"{sample[METRIC][-1]:,.0f}"]
    assert not find(page, "#plot").is_displayed()


def test_a_year_and_a_month_are_a_press_away(page: Chrome) -> None:
    open_site(page)
    for days in (365, 30):
        find(page, f'[data-range="{days}"]').click()
        assert find(page, "#plot").get_attribute("aria-valuemin") == str(1 - days)


def test_keys_lead_everywhere(page: Chrome) -> None:
    press(page, "2")
    wait_until(page, lambda: find(page, "h1").text == "Unusual days" and focus(page) == "main")
    press(page, "1")
    wait_until(page, lambda: find(page, ".tile").is_displayed() and focus(page) == "main")
    press(page, "/")
    assert focus(page) == "find"
    press(page, "no such site")
    assert find(page, "#spoken").get_attribute("textContent") == "0 sites"
    assert not find(page, ".tile").is_displayed()


def test_a_theme_stays(page: Chrome) -> None:
    for theme in ("light", "dark"):
        press(page, "t")
        assert find(page, "html").get_attribute("data-theme") == theme
    page.refresh()
    assert find(page, "#theme").text == "Theme: dark"
    press(page, "t")
    assert find(page, "#theme").text == "Theme: auto"


def test_unknown_sites_are_named_and_nothing_in_a_name_is_markup(page: Chrome) -> None:
    page.execute_script("location.hash = '#/site/' + encodeURIComponent('<b id=x>') + '/page_visits'")
    text = "There is no site '<b id=x>'"
    wait_until(page, lambda: text in find(page, "#main").text)
    assert page.find_elements(By.CSS_SELECTOR, "#x") == []


def test_nothing_is_wider_than_a_phone(page: Chrome) -> None:
    page.set_window_size(500, 900)  # the narrowest that Chromium has
    for is_site in (False, True):
        if is_site:
            open_site(page)
        assert page.execute_script("return document.documentElement.scrollWidth - innerWidth") <= 0


def test_no_line_in_the_console(page: Chrome) -> None:
    """Nothing failed to load, and nothing was against the page's own policy, in all tests before this one but those of
    an unknown site.
    """
    open_site(page)
    lines = [line["message"] for line in page.get_log("browser")]
    assert [line for line in lines if "/model/info?" not in line and "400" not in line] == []
