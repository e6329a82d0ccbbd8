// One metric of one site: what comes, how sure that is, whether the newest day was normal, whether to trust it.

import { circle, dayBar, describeDay, drawCursor, drawSeries, layOut, plainBar, rangeBar, shareBar } from "./charts.js";
import { acknowledge, askSeries, recentOverview } from "./data.js";
import { addressOf, sayFreshness, sortSites } from "./sites.js";
import { about, addDays, arrow, between, briefly, count, coverageSentence, daysBetween, difference, escape, exact, expectedSentence, expectedWord, fullDay, longDay, median, name, share, shortDay, sum, trustSentence, weekSentence } from "./words.js";

const MIN_DAYS = 28; // behind a share of days, which fewer say nothing about
const RANGES = { 30: "30 days", 90: "90 days", 365: "1 year" };
let range = innerWidth < 600 ? 30 : 90;

function weekOf(series) {
  const past = series.values.slice(-7);
  const whole = past.length === 7 && past.every((value) => value != null);
  const last = whole ? sum(past) / (series.additive ? 1 : 7) : null;
  if (series.week.total) return { ...series.week.total, last };
  return { value: sum(series.week.predictions.map(median)) / 7, lower: null, upper: null, last };
}

function weekCard(series) {
  const week = weekOf(series);
  const band = week.lower == null ? "" : `<small>${between(series, week.lower, week.upper)}</small>`;
  const bar = week.lower == null ? "" : rangeBar(week, week.last);
  return `<section class="card wide"><h2>Next 7 days${series.additive ? "" : ", a day"}</h2><p class="big">${about(series, week.value)} ${band}</p>${bar}<p>${weekSentence(series, week, week.lower == null ? "" : circle)}</p></section>`;
}

const newestUnusual = (series) => series.unusual.find((day) => day.date === series.data_until);

function newestCard(series) {
  const title = series.age_days === 1 ? `Yesterday, ${shortDay(series.data_until)}` : shortDay(series.data_until);
  const day = newestUnusual(series);
  if (day) {
    const isDone = Boolean(day.acknowledged_at);
    const button = isDone ? "" : '<button type="button" id="acknowledge">Acknowledge</button>'; // else the text says who did
    return `<section class="card wide ${isDone ? "" : "alarmed"}"><h2>${title}</h2><p class="big"><span class="alarm arrow" aria-hidden="true">${arrow(day)}</span> Unusually ${day.direction}</p>${rangeBar({ lower: day.lower, value: day.expected, upper: day.upper }, day.value, "dot odd")}<p>${escape(day.text)}</p>${button}</section>`;
  }
  const [value, before, band] = [series.values.at(-1), series.values.at(-8), series.expected[series.data_until]];
  if (band) return `<section class="card wide"><h2>${title}</h2><p class="big">${expectedWord(value, band)}</p>${rangeBar(band, value)}<p>${escape(expectedSentence(series, value, band))}</p></section>`;
  const beside = before == null ? "" : `, ${difference(series, value, before)} the same day a week before`;
  return `<section class="card wide"><h2>${title}</h2><p class="big">Nothing unusual</p><p>${exact(series, value)} ${escape(name(series.metric))}${beside}.</p></section>`;
}

function trustCards(series) {
  const { wape, mae, coverage_80: held, num_cutoffs: days, seasonal_naive: naive } = series.measures;
  if (wape == null || !naive?.mae) return '<section class="card rest"><h2>Typical error, a day</h2><p class="big">Not known yet</p><p>When this version was trained, there were too few days to measure its forecasts on. Until it is trained again, take the band as a guide.</p></section>';
  const most = Math.max(wape, naive.wape);
  const bar = (text, value, kind) => `<span>${text}</span><span>${share(value)}</span>${plainBar(value / most, kind)}`;
  const isLong = held != null && days >= MIN_DAYS;
  const error = `<section class="card ${isLong ? "" : "rest"}"><h2>Typical error, a day</h2><p class="big">${share(wape)}</p><div class="bars">${bar("forecast", wape, "dot ahead")}${bar("same as last week", naive.wape, "other")}</div><p>${trustSentence(1 - mae / naive.mae)} Measured from ${count(days)} ${days === 1 ? "day" : "days"} that the version had not seen.</p></section>`;
  return !isLong ? error : `${error}<section class="card"><h2>Inside the 80% band</h2><p class="big">${count(held * 100)} <small>of 100 days</small></p>${shareBar(held)}<p>${coverageSentence(held)}</p></section>`;
}

function nextDays(series) {
  const rows = series.month.predictions.slice(0, 7);
  const [least, most] = [Math.min(...rows.map((row) => row.lower)), Math.max(...rows.map((row) => row.upper))];
  const row = (day) => `<tr><th scope="row">${shortDay(day.date)}</th><td class="bar-cell">${dayBar(day, least, most)}</td><td class="value">${about(series, median(day))}<small>${between(series, day.lower, day.upper)}</small></td></tr>`;
  return `<section class="card"><h2>Next 7 days</h2><p><small>Expected ${escape(name(series.metric))}, and the 80% band</small></p><table class="days"><thead class="unseen"><tr><th scope="col">Day</th><th scope="col">Band</th><th scope="col">Expected</th></tr></thead><tbody>${rows.map(row).join("")}</tbody></table></section>`;
}

function chartCard(series) {
  const mean = sum(series.month.predictions.map(median)) / series.month.predictions.length;
  const buttons = Object.entries(RANGES).map(([days, text]) => `<button type="button" data-range="${days}" aria-pressed="${range === Number(days)}">${text}</button>`);
  return `<section class="card" id="chart"><div class="row"><h2>Next ${series.month.predictions.length} days: about ${about(series, mean)} ${escape(name(series.metric))}${series.kind === "count" ? " a day" : ""}</h2><div class="ranges last" role="group" aria-label="Days shown">${buttons.join("")}</div><button type="button" id="as-table" aria-pressed="false">Table</button></div>
    <p id="readout"></p><div id="plot" role="slider" tabindex="0" aria-label="Days of ${escape(name(series.metric))}"></div><div class="table" tabindex="0" role="region" aria-label="All days as a table" hidden></div>
    <ul class="legend"><li><svg aria-hidden="true"><path class="history" d="M0 5H20"/></svg>what came</li><li><svg aria-hidden="true"><rect class="band" width="20" height="10"/><path class="forecast" d="M0 5H20"/></svg>forecast, 80% band</li><li><svg aria-hidden="true"><rect class="expected" width="20" height="10"/></svg>expected the day before</li><li><svg aria-hidden="true" viewBox="0 0 20 10"><path class="unusual" d="M4 9H16L10 0Z"/></svg>unusual</li><li><svg aria-hidden="true"><rect class="hatched" width="20" height="10"/></svg>no data</li></ul></section>`;
}

function table(series) {
  const past = series.values.map((value, i) => [addDays(series.data_until, i + 1 - series.values.length), value]).reverse();
  const row = (day, value, band) => `<tr><th scope="row">${fullDay(day)}</th><td class="value">${value}</td><td class="value">${band}</td></tr>`;
  const ahead = [...series.month.predictions].reverse().map((each) => row(each.date, about(series, median(each)), between(series, each.lower, each.upper)));
  const known = past.map(([day, value]) => row(day, value == null ? "no data" : exact(series, value), escape(series.left_out[day] ?? "")));
  return `<table class="plain"><thead><tr><th scope="col">Day</th><th scope="col">Value</th><th scope="col">80% band, or why it is left out</th></tr></thead><tbody>${[...ahead, ...known].join("")}</tbody></table>`;
}

function readOut(series, plot, day) {
  if (day > 0) return `<b>${shortDay(plot.ahead[day - 1].date)}</b>: ${describeDay(series, plot.ahead[day - 1])}`;
  const date = addDays(series.data_until, day);
  const value = plot.value(day);
  const unusual = series.unusual.find((each) => each.date === date);
  const band = series.expected[date];
  const expected = band ? ` ${between(series, band.lower, band.upper)} ${series.kind === "count" ? "were" : "was"} expected the day before.` : "";
  const odd = unusual ? ` <span class="alarm">Unusual: ${briefly(series, unusual)}; ${about(series, unusual.expected)} expected.</span>` : "";
  const left = series.left_out[date] ? ` Left out of forecasts: ${escape(series.left_out[date])}.` : "";
  return `<b>${shortDay(date)}</b>: ${value == null ? "no data" : `${exact(series, value)} ${escape(name(series.metric))}`}.${unusual ? odd : expected}${left}`;
}

function bindChart(main, series) {
  const [plotted, spoken] = [main.querySelector("#plot"), main.querySelector("#readout")];
  const hint = matchMedia("(pointer: coarse)").matches ? "Touch a day to read it." : "Point at a day, or use the arrow keys.";
  let plot;
  let day = null;
  const hide = () => {
    day = null;
    spoken.innerHTML = `<span class="muted">${hint}</span>`;
    plotted.setAttribute("aria-valuenow", 0);
    plotted.setAttribute("aria-valuetext", hint);
    plotted.querySelector("#cursor").innerHTML = "";
  };
  const draw = () => {
    plot = layOut(series, Math.max(280, plotted.clientWidth), range);
    plotted.innerHTML = drawSeries(series, plot);
    plotted.setAttribute("aria-valuemin", plot.first);
    plotted.setAttribute("aria-valuemax", plot.last);
    hide();
  };
  const show = (wanted) => {
    day = Math.max(plot.first, Math.min(plot.last, wanted));
    spoken.innerHTML = readOut(series, plot, day);
    plotted.setAttribute("aria-valuenow", day);
    plotted.setAttribute("aria-valuetext", spoken.textContent);
    plotted.querySelector("#cursor").innerHTML = drawCursor(plot, day);
  };
  const point = (event) => show(Math.round(plot.first + (event.clientX - plotted.getBoundingClientRect().left - plot.left) / (plot.x(1) - plot.x(0))));
  plotted.addEventListener("pointermove", point);
  plotted.addEventListener("pointerdown", point);
  plotted.addEventListener("pointerleave", (event) => event.pointerType === "mouse" && hide());
  plotted.addEventListener("blur", hide);
  plotted.addEventListener("keydown", (event) => {
    const steps = { ArrowLeft: -1, ArrowDown: -1, ArrowRight: 1, ArrowUp: 1, PageUp: -7, PageDown: 7, Home: -Infinity, End: Infinity };
    if (!(event.key in steps)) return;
    event.preventDefault();
    show(day == null && Number.isFinite(steps[event.key]) ? 0 : (day ?? 0) + steps[event.key]);
  });
  for (const button of main.querySelectorAll("[data-range]")) {
    button.addEventListener("click", () => {
      range = Number(button.dataset.range);
      for (const other of main.querySelectorAll("[data-range]")) other.setAttribute("aria-pressed", other === button);
      draw();
    });
  }
  bindTable(main, series);
  draw();
  new ResizeObserver(() => plotted.isConnected && plotted.clientWidth && plotted.clientWidth !== plot.width && draw()).observe(plotted);
}

function bindTable(main, series) {
  const [button, place] = [main.querySelector("#as-table"), main.querySelector(".table")];
  button.addEventListener("click", () => {
    place.hidden = !place.hidden;
    if (!place.hidden && !place.innerHTML) place.innerHTML = table(series);
    button.setAttribute("aria-pressed", !place.hidden);
    for (const hidden of main.querySelectorAll("#plot, #readout, .legend")) hidden.hidden = !place.hidden;
  });
}

function header(series, sites) {
  const place = sites.findIndex((site) => site.site === series.site);
  const link = (site, text, mark) => (site ? `<a href="${escape(addressOf(site))}" ${mark}>${text}</a>` : "");
  const tabs = series.metrics.map((metric) => `<a href="${escape(addressOf({ site: series.site, metric }))}" ${metric === series.metric ? 'aria-current="page"' : ""}>${escape(name(metric))}</a>`);
  const [before, after] = [sites[place - 1], sites[place + 1]];
  return `<nav class="crumb row" aria-label="Sites"><a href="#/">All sites</a><span class="last"></span>${link(before, `← ${escape(before?.site)}`, 'rel="prev"')}${link(after, `${escape(after?.site)} →`, 'rel="next"')}</nav><h1>${escape(series.site)}</h1>${tabs.length > 1 ? `<nav class="metrics" aria-label="Metrics">${tabs.join("")}</nav>` : '<div class="metrics"></div>'}`;
}

function notice(site) {
  return site?.is_late ? `No new data since ${longDay(site.data_until)}. Forecasts start from that day, so they are less sure than usual. Check that the analytics database is filled.` : "";
}

export async function showSite(main, site, metric) {
  const [known, overview] = await Promise.all([askSeries(site, metric), recentOverview()]);
  const sites = sortSites(overview.sites);
  const mine = sites.find((each) => each.site === known.site);
  const today = mine?.data_until ? addDays(mine.data_until, mine.age_days) : null;
  const series = { ...known, age_days: today ? daysBetween(known.data_until, today) : null };
  main.innerHTML = `${header(series, sites)}<div class="cards">${weekCard(series)}${newestCard(series)}${trustCards(series)}</div><div class="two">${chartCard(series)}${nextDays(series)}</div>`;
  bindChart(main, series);
  main.querySelector("#acknowledge")?.addEventListener("click", async (event) => {
    event.target.disabled = true;
    await acknowledge(newestUnusual(series).id);
    await showSite(main, site, metric);
  });
  return { title: `${series.site}, ${name(series.metric)}`, notice: notice(mine), freshness: sayFreshness(sites), state: JSON.stringify([series.data_until, series.unusual.length]) };
}
