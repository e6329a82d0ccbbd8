// Numbers, dates and sentences, in the reader's language where the browser knows how.

const language = new URLSearchParams(location.search).get("lang") || navigator.language || "en";
const number = (options) => new Intl.NumberFormat(language, options).format;
const date = (options) => {
  const format = new Intl.DateTimeFormat(language, { timeZone: "UTC", ...options }).format;
  return (text) => format(new Date(`${text}T00:00:00Z`));
};

const whole = number({ maximumFractionDigits: 0 });
const threeDigits = number({ maximumSignificantDigits: 3 });
const oneDigit = number({ maximumFractionDigits: 1 });
const percent = number({ style: "percent" });
const percentOneDigit = number({ style: "percent", minimumFractionDigits: 1, maximumFractionDigits: 1 });
const compact = number({ notation: "compact", maximumSignificantDigits: 3 });

export const shortDay = date({ weekday: "short", day: "numeric", month: "short" });
export const longDay = date({ weekday: "long", day: "numeric", month: "long" });
export const fullDay = date({ weekday: "long", day: "numeric", month: "long", year: "numeric" });
export const plainDay = date({ day: "numeric", month: "short" });
export const month = date({ month: "short" });
export const count = whole;
export const share = percentOneDigit;

const escapes = { "&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;", "'": "&#39;" };
export const escape = (text) => String(text).replace(/[&<>"']/g, (character) => escapes[character]);
export const name = (metric) => metric.replaceAll("_", " ");

export function addDays(day, number) {
  return new Date(Date.parse(`${day}T00:00:00Z`) + number * 864e5).toISOString().slice(0, 10);
}
export const daysBetween = (first, last) => Math.round((Date.parse(last) - Date.parse(first)) / 864e5);

// Counts have all their digits, forecasts three.
const isPercent = (series) => series.kind === "rate" && !series.values.some((value) => value > 1.5);
export const exact = (series, value) =>
  isPercent(series) ? percentOneDigit(value) : series.kind === "count" ? whole(value) : threeDigits(value);
export const about = (series, value) => (isPercent(series) ? percentOneDigit(value) : threeDigits(value));
export const axisLabel = (series, value) => (isPercent(series) ? percent(value) : value < 1e4 ? threeDigits(value) : compact(value));
export const between = (series, low, high) => `${about(series, low)} to ${about(series, high)}`;

function points(series, difference) {
  return `${oneDigit(Math.abs(difference) * (isPercent(series) ? 100 : 1))} points`;
}

export function difference(series, value, expected) {
  const side = value > expected ? "above" : "below";
  if (series.kind === "rate") return `${points(series, value - expected)} ${side}`;
  const ratio = value / Math.max(expected, 1);
  if (ratio >= 2) return `${ratio < 10 ? oneDigit(ratio) : whole(ratio)} times`;
  return `${percent(Math.abs(ratio - 1))} ${side}`;
}

export function briefly(series, day) {
  const side = day.direction;
  if (day.value === 0) return "no traffic";
  if (series.kind === "rate") return `${points(series, day.value - day.expected)} ${side}`;
  const ratio = day.value / Math.max(day.expected, 1);
  if (ratio >= 2) return `${ratio < 10 ? oneDigit(ratio) : whole(ratio)}× usual`;
  return `${percent(Math.abs(ratio - 1))} ${side}`;
}

export const arrow = (day) => (day.direction === "high" ? "▲" : "▼");

// "Yesterday" only if it was.
export const newestDay = (site) => (site.age_days === 1 ? "Yesterday" : plainDay(site.data_until));

export const needsLook = (site) => Boolean(!site.data_until || site.is_late || site.error || (site.unusual && !site.unusual.acknowledged_at));

export function tileSentence(site) {
  if (!site.data_until) return site.error ?? "No data has come yet";
  if (site.is_late) return `No data since ${longDay(site.data_until)}`;
  if (site.unusual && !site.unusual.acknowledged_at) return `${arrow(site.unusual)} ${newestDay(site)} ${briefly(site, site.unusual)}`;
  if (site.error) return site.error;
  const { value, lower, upper, last } = site.week;
  if (last == null) return "Last week has days without data";
  if (Math.abs(value / last - 1) < 0.02) return "About the same as last week";
  const likely = lower != null && (last < lower || last > upper) ? "Likely " : "";
  return `${likely}${difference(site, value, last).replace(/ times$/, " times that of")} last week`;
}

export function weekSentence(series, { value, lower, upper, last }, circle) {
  if (last == null) return "Last week has days without data, so there is nothing to compare it with.";
  const before = `last week’s ${circle}${exact(series, last)}`;
  if (Math.abs(value / last - 1) < 0.02) return `About the same as ${before}.`;
  const change = `${difference(series, value, last)} ${before}`;
  if (lower == null) return `${change}.`;
  return `${change}, ${last < lower || last > upper ? "and the same again is unlikely" : "though the same again is possible"}.`;
}

const isInside = (value, { lower, upper }) => value >= lower && value <= upper;

export function expectedWord(value, band) {
  if (isInside(value, band)) return "As expected";
  return value > band.upper ? "A little high" : "A little low";
}

export function expectedSentence(series, value, band) {
  const were = series.kind === "count" ? "were" : "was";
  const came = `${exact(series, value)} ${name(series.metric)}`;
  if (isInside(value, band)) return `${came}; ${between(series, band.lower, band.upper)} ${were} expected.`;
  return `${came}, ${difference(series, value, band.value)} the expected ${about(series, band.value)}. One day in ten is this far off; nothing to do.`;
}

export function trustSentence(gain) {
  if (gain > 0.03) return `${percent(gain)} closer than “same as last week”.`;
  return gain > -0.03 ? "No closer than “same as last week”." : "“Same as last week” is closer at present.";
}

export function coverageSentence(held) {
  if (Math.abs(held - 0.8) <= 0.06) return "80 were promised: the band can be trusted.";
  return held > 0.8 ? "80 were promised: a little wider than needed." : "80 were promised: too narrow, so expect surprises.";
}

export const sum = (values) => values.reduce((total, value) => total + value, 0);
export const median = (row) => row.predicted_value ?? row.predicted_visits;
