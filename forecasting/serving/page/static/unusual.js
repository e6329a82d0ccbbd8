// Unusual days of all sites, newest first; each can be acknowledged.

import { acknowledge, askUnusual } from "./data.js";
import { addressOf } from "./sites.js";
import { addDays, arrow, count, escape, fullDay, name } from "./words.js";

const WORDS = { low: "Low", medium: "Medium", high: "High" };
let sensitivity = "medium";

// One message a site, day and direction: all its metrics.
function join(days) {
  const messages = new Map();
  for (const day of days) {
    const key = JSON.stringify([day.date, day.site, day.direction]);
    const known = messages.get(key);
    if (!known || Math.abs(day.score) > Math.abs(known.score)) messages.set(key, day);
  }
  return [...messages.values()];
}

function item(day) {
  const button = day.acknowledged_at ? "" : `<button type="button" data-id="${day.id}">Acknowledge</button>`; // else the text says who did
  return `<li class="${day.acknowledged_at ? "done" : ""}"><span class="${day.acknowledged_at ? "" : "alarm"}" aria-hidden="true">${arrow(day)}</span><p><a href="${escape(addressOf(day))}">${escape(day.site)}</a> <small>${escape(name(day.metric))}, unusually ${day.direction}</small><br>${escape(day.text)}</p>${button}</li>`;
}

function list(messages) {
  const days = [...new Set(messages.map((each) => each.date))];
  return days.map((day) => `<section><h2 class="day">${fullDay(day)}</h2><ul class="list">${messages.filter((each) => each.date === day).map(item).join("")}</ul></section>`).join("");
}

export async function showUnusual(main) {
  const today = new Date().toISOString().slice(0, 10);
  const since = addDays(today, -365);
  const { anomalies } = await askUnusual({ since, sensitivity });
  const messages = join(anomalies.filter((day) => !day.withdrawn_at));
  const buttons = Object.entries(WORDS).map(([value, text]) => `<button type="button" data-sensitivity="${value}" aria-pressed="${value === sensitivity}">${text}</button>`);
  const sentence = messages.length ? `${count(messages.length)} ${messages.length === 1 ? "message" : "messages"} in the past year` : "Nothing in the past year at this setting";
  main.innerHTML = `<h1>Unusual days</h1><p class="muted">${sentence}. Days are judged once they are over.</p><div class="tools row"><div class="ranges" role="group" aria-label="Sensitivity">${buttons.join("")}</div></div>${list(messages)}`;
  for (const button of main.querySelectorAll("[data-sensitivity]")) {
    button.addEventListener("click", async () => {
      sensitivity = button.dataset.sensitivity;
      await showUnusual(main);
      main.querySelector(`[data-sensitivity="${sensitivity}"]`).focus();
    });
  }
  for (const button of main.querySelectorAll("[data-id]")) {
    button.addEventListener("click", async () => {
      button.disabled = true;
      await acknowledge(button.dataset.id);
      await showUnusual(main);
    });
  }
  return { title: "Unusual days", state: JSON.stringify(messages.map((each) => each.id)) };
}
