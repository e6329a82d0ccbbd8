// Charts as strings of SVG. Each says nothing by itself: the text beside it does.

import { about, addDays, axisLabel, briefly, daysBetween, median, month, plainDay } from "./words.js";

const round = (value) => Math.round(value * 10) / 10;

// Points of which some are unknown: the line is broken there.
function line(points) {
  let pen = "M";
  let path = "";
  for (const [x, y] of points) {
    if (y == null) pen = "M";
    else {
      path += `${pen}${round(x)} ${round(y)}`;
      pen = "L";
    }
  }
  return path;
}

function area(xs, lows, highs) {
  const upper = xs.map((x, i) => `${round(x)} ${round(highs[i])}`);
  const lower = xs.map((x, i) => `${round(x)} ${round(lows[i])}`).reverse();
  return `M${[...upper, ...lower].join("L")}Z`;
}

function triangle(x, y, direction, size = 6) {
  const tip = direction === "high" ? -size : size;
  return `M${round(x - size)} ${round(y - 0.8 * tip)}H${round(x + size)}L${round(x)} ${round(y + 0.9 * tip)}Z`;
}

const hatch = '<defs><pattern id="hatch" width="5" height="5" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><path class="hatch" d="M0 0V5"/></pattern></defs>';
export const circle = '<svg class="key" viewBox="0 0 12 12" aria-hidden="true"><circle class="ring" cx="6" cy="6" r="5"/></svg>';

// Values around the scale's ends: counts from 0, rates from below their lowest.
function scale(series, values) {
  const known = values.filter((value) => value != null);
  const top = Math.max(...known, 0) * 1.08 || 1;
  const least = Math.min(...known, top);
  return { top, bottom: series.kind === "count" ? 0 : Math.max(least - (top - least) * 0.15, Math.min(least, 0)) };
}

// A newest day that is left out of forecasts, as half a day is, is shown where it was unusual.
function withNewest(site) {
  return site.unusual && site.values.at(-1) == null ? [...site.values.slice(0, -1), site.unusual.value] : site.values;
}

// 42 days and 7 ahead.
export function spark(site, width = 284, height = 56) {
  const { predictions } = site;
  const values = withNewest(site);
  if (!values.length) return `<svg viewBox="0 0 ${width} ${height}" aria-hidden="true"><path class="axis" d="M0 ${height - 1}H${width}"/></svg>`;
  const lows = predictions.map((row) => row.lower);
  const highs = predictions.map((row) => row.upper);
  const { top, bottom } = scale(site, [...values, ...lows, ...highs]);
  const x = (i) => 2 + ((i + 42 - values.length) / 48) * (width - 4);
  const y = (value) => (value == null ? null : height - 3 - ((value - bottom) / (top - bottom)) * (height - 9));
  const last = values.length - 1;
  const xs = [last, ...predictions.map((_, i) => last + 1 + i)].map(x);
  const ahead = (ends) => [y(site.values[last]) ?? y(ends[0]), ...ends.map(y)];
  const fan = predictions.length ? `<path class="band" d="${area(xs, ahead(lows), ahead(highs))}"/><path class="forecast" d="${line(ahead(predictions.map(median)).map((value, i) => [xs[i], value]))}"/>` : "";
  const mark = site.unusual ? `<path class="unusual" d="${triangle(x(last), y(values[last]), site.unusual.direction)}"/>` : "";
  return `<svg viewBox="0 0 ${width} ${height}" preserveAspectRatio="none" aria-hidden="true"><path class="gridline" d="M0 ${height - 2.5}H${width}"/>${fan}<path class="history" d="${line(values.map((value, i) => [x(i), y(value)]))}"/>${mark}</svg>`;
}

function ticks({ bottom, top }) {
  const rough = (top - bottom) / 4.2;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((factor) => factor * power).find((each) => each >= rough);
  const first = Math.ceil(bottom / step);
  return Array.from({ length: Math.floor(top / step) - first + 1 }, (_, i) => (first + i) * step);
}

// Where days and values lie. Day 0 is the newest, 1 the first ahead.
export function layOut(series, width, range) {
  const narrow = width < 560;
  const height = narrow ? 280 : 360;
  const past = series.values.slice(-range);
  const ahead = series.month.predictions;
  const first = 1 - past.length;
  const pad = { left: narrow ? 38 : 46, right: narrow ? 32 : 40, top: 26, bottom: 26 };
  const ends = scale(series, [...past, ...ahead.map((row) => row.upper), ...(series.kind === "count" ? [] : ahead.map((row) => row.lower))]);
  const right = width - pad.right;
  const floor = height - pad.bottom;
  return {
    narrow, width, height, right, floor, past, ahead, first, ends, range, top: pad.top, left: pad.left, last: ahead.length,
    x: (day) => pad.left + ((day - first) / (ahead.length - first)) * (right - pad.left),
    y: (value) => (value == null ? null : Math.max(pad.top, Math.min(floor, floor - ((value - ends.bottom) / (ends.top - ends.bottom)) * (floor - pad.top)))),
    value: (day) => (day > 0 ? median(ahead[day - 1]) : series.values.at(day - 1)),
  };
}

function drawGrid(series, plot) {
  return ticks(plot.ends).map((tick) => {
    const y = round(plot.y(tick));
    return `<path class="gridline" d="M${plot.left} ${y}H${plot.right}"/><text x="${plot.left - 8}" y="${y + 4}" text-anchor="end">${axisLabel(series, tick)}</text>`;
  });
}

function drawDays(series, plot) {
  const parts = [];
  for (let day = plot.first; day <= plot.last; day++) {
    const date = addDays(series.data_until, day);
    const x = round(plot.x(day));
    if (date.endsWith("-01")) parts.push(`<path class="axis" d="M${x} ${plot.floor}v6"/><text x="${x}" y="${plot.floor + 18}">${month(date)}</text>`);
    else if (date.endsWith("-15") && plot.range <= 30) parts.push(`<text x="${x}" y="${plot.floor + 18}">${plainDay(date)}</text>`);
    else if (plot.range < 365 && new Date(date).getUTCDay() === 1) parts.push(`<path class="axis" d="M${x} ${plot.floor}v3"/>`);
  }
  return parts;
}

function drawGaps(plot) {
  const width = plot.x(1) - plot.x(0);
  const column = (day) => `<rect class="hatched" x="${round(plot.x(day) - width / 2)}" y="${plot.top}" width="${round(width)}" height="${plot.floor - plot.top}"/>`;
  return plot.past.map((value, i) => (value == null ? column(plot.first + i) : ""));
}

// What was forecast the day before, where that was kept: a tint behind the line, broken where it is missing.
function drawExpected(series, plot) {
  const runs = [];
  for (let day = plot.first; day <= 0; day++) {
    const band = series.expected[addDays(series.data_until, day)];
    if (!band) continue;
    if (runs.at(-1)?.at(-1).day !== day - 1) runs.push([]);
    runs.at(-1).push({ day, ...band });
  }
  const ends = (run, name) => run.map((each) => plot.y(each[name]));
  return runs.filter((run) => run.length > 1).map((run) => `<path class="expected" d="${area(run.map((each) => plot.x(each.day)), ends(run, "lower"), ends(run, "upper"))}"/>`);
}

function drawFan(plot) {
  const isLeftOut = plot.value(0) == null;
  const xs = [0, ...plot.ahead.map((_, i) => i + 1)].map(plot.x);
  const from = (read) => [plot.y(isLeftOut ? read(plot.ahead[0]) : plot.value(0)), ...plot.ahead.map((row) => plot.y(read(row)))];
  const medians = from(median).map((y, i) => [xs[i], y]);
  const highs = from((row) => row.upper);
  return `<path class="band" d="${area(xs, from((row) => row.lower), highs)}"/><path class="forecast" d="${line(medians)}"/><text class="percent" x="${plot.right + 5}" y="${round(highs.at(-1) + 4)}">80%</text>`;
}

// A leader to a free row: high days at the top, low ones at the bottom; a label where there is room.
function drawUnusual(series, plot) {
  const taken = { high: Infinity, low: Infinity };
  return series.unusual.map((unusual) => {
    const day = daysBetween(series.data_until, unusual.date);
    if (day < plot.first || plot.value(day) == null) return "";
    const [x, y] = [round(plot.x(day)), round(plot.y(plot.value(day)))];
    const mark = `<path class="unusual" d="${triangle(x, y, unusual.direction)}"/>`;
    if (plot.range >= 365 || taken[unusual.direction] - x < 110) return mark;
    taken[unusual.direction] = x;
    const isHigh = unusual.direction === "high";
    const row = isHigh ? plot.top - 4 : plot.floor - 8;
    const toLeft = x > plot.left + 120;
    return `<path class="leader" d="M${x} ${isHigh ? row - 8 : row + 4}V${isHigh ? y - 8 : y + 8}"/><text class="label" x="${x + (toLeft ? -6 : 6)}" y="${row}" text-anchor="${toLeft ? "end" : "start"}">${plainDay(unusual.date)}: ${briefly(series, unusual)}</text>${mark}`;
  });
}

export function drawSeries(series, plot) {
  const edge = round(plot.x(0.5));
  const past = plot.past.map((value, i) => [plot.x(plot.first + i), plot.y(value)]);
  return [
    `<svg viewBox="0 0 ${plot.width} ${plot.height}" height="${plot.height}" aria-hidden="true">${hatch}`,
    ...drawGrid(series, plot),
    ...drawGaps(plot),
    ...drawExpected(series, plot),
    drawFan(plot),
    `<path class="now" d="M${edge} ${plot.top - 6}V${plot.floor}"/><path class="axis" d="M${plot.left} ${plot.floor}H${plot.right}"/>`,
    ...drawDays(series, plot),
    `<path class="history" d="${line(past)}"/>`,
    ...drawUnusual(series, plot),
    '<g id="cursor"></g></svg>',
  ].join("");
}

export function drawCursor(plot, day) {
  const x = round(plot.x(day));
  const value = plot.value(day);
  const dot = value == null ? "" : `<circle class="dot ${day > 0 ? "ahead" : ""}" cx="${x}" cy="${round(plot.y(value))}" r="4"/>`;
  return `<path class="cursor" d="M${x} ${plot.top}V${plot.floor}"/>${dot}`;
}

// In percent of the width, so that circles stay round.
export function rangeBar({ lower, value, upper }, other, kind = "ring") {
  const least = Math.min(lower, other ?? lower);
  const most = Math.max(upper, other ?? upper);
  const x = (at) => round(3 + ((at - least) / (most - least || 1)) * 94);
  const ring = other == null ? "" : `<circle class="${kind}" cx="${x(other)}%" cy="14" r="5"/>`;
  return `<svg aria-hidden="true"><rect class="band" x="${x(lower)}%" y="9" width="${round(x(upper) - x(lower))}%" height="10" rx="5"/><line class="forecast" x1="${x(value)}%" x2="${x(value)}%" y1="5" y2="23"/>${ring}</svg>`;
}

export function shareBar(share) {
  return `<svg aria-hidden="true"><rect class="band" y="9" width="100%" height="10" rx="5"/><rect class="dot ahead" y="9" width="${round(share * 100)}%" height="10" rx="5"/><line class="promise" x1="80%" x2="80%" y1="4" y2="24"/></svg>`;
}

export function plainBar(share, kind) {
  return `<svg viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true"><rect class="${kind}" width="${round(share * 100)}" height="8"/></svg>`;
}

// A row of the list of days; one scale for all rows.
export function dayBar(row, least, most) {
  const x = (value) => round(4 + ((value - least) / (most - least || 1)) * 92);
  return `<svg aria-hidden="true"><line class="gridline" x2="100%" y1="6" y2="6"/><rect class="band" x="${x(row.lower)}%" y="1" width="${round(x(row.upper) - x(row.lower))}%" height="10" rx="5"/><circle class="dot ahead" cx="${x(median(row))}%" cy="6" r="4"/></svg>`;
}

export const describeDay = (series, row) => `${about(series, median(row))} expected, 80% between ${about(series, row.lower)} and ${about(series, row.upper)}`;
