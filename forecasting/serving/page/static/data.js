// What the page asks the server for. The key of a server that wants one stays in memory: a new tab asks again.

const RECENT_MS = 60_000;
const root = document.documentElement.dataset.root;
let key = "";

export class Refused extends Error {
  constructor(status, detail) {
    super(detail);
    this.status = status;
  }
}

export const hasKey = () => key !== "";

export function useKey(text) {
  key = text.trim();
}

export async function ask(path, { query = {}, body } = {}) {
  const given = Object.entries(query).filter(([, value]) => value != null);
  const headers = { Accept: "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  if (body) headers["Content-Type"] = "application/json";
  const options = { method: body ? "POST" : "GET", headers, body: body && JSON.stringify(body) };
  let response;
  try {
    response = await fetch(`${root}${path}${given.length ? `?${new URLSearchParams(given)}` : ""}`, options);
  } catch {
    throw new Refused(0, "The server does not answer.");
  }
  const answer = await response.json().catch(() => ({}));
  if (!response.ok) throw new Refused(response.status, answer.detail ?? `The server answered ${response.status}.`);
  return answer;
}

let overview = { askedAt: -Infinity };

export async function askOverview() {
  const answer = await ask("/overview", { query: { limit: 1000 } });
  overview = { answer, askedAt: Date.now() };
  return answer;
}

// For a site's neighbours, which need not be read again with each metric that one looks at.
export const recentOverview = () => (Date.now() - overview.askedAt < RECENT_MS ? overview.answer : askOverview());

export const askUnusual = (query) => ask("/anomalies", { query: { limit: 1000, ...query } });

export const acknowledge = (id) => ask(`/anomalies/${id}/acknowledge`, { body: {} });

export async function askSeries(site, metric) {
  const forecast = (days_ahead) => ask("/predict", { body: { site, metric, days_ahead } });
  const [history, week, month, { sites }, { series }] = await Promise.all([
    ask("/history", { query: { site, metric, days: 365 } }),
    forecast(7),
    forecast(30),
    ask("/sites", { query: { site } }),
    ask("/model/info", { query: { site, metric } }),
  ]);
  const unusual = await askUnusual({ site, metric, since: history.first_date, until: history.data_until });
  return {
    ...history,
    metrics: sites[0].metrics.map((each) => each.metric),
    measures: series[0].metrics,
    week,
    month,
    unusual: unusual.anomalies.filter((day) => !day.withdrawn_at),
  };
}
