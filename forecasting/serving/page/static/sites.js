// All sites: those that need a look first, then by size.

import { spark } from "./charts.js";
import { askOverview } from "./data.js";
import { about, count, escape, longDay, name, needsLook, sum, tileSentence } from "./words.js";

export const addressOf = (site) => `#/site/${encodeURIComponent(site.site)}/${encodeURIComponent(site.metric)}`;

// Unusual ones by their score, then those without new data, then those without any.
function urgency(site) {
  if (site.unusual && !site.unusual.acknowledged_at) return 1000 + Math.abs(site.unusual.score);
  if (!site.data_until) return 700;
  return needsLook(site) ? 800 : 0;
}

export function sortSites(sites) {
  const size = (site) => sum(site.values.filter((value) => value != null));
  const keys = new Map(sites.map((site) => [site, [urgency(site), size(site)]]));
  return [...sites].sort((a, b) => keys.get(b)[0] - keys.get(a)[0] || keys.get(b)[1] - keys.get(a)[1]);
}

export function sayFreshness(sites) {
  const newest = sites.map((site) => site.data_until).filter(Boolean).sort().at(-1);
  return newest ? `Data until ${longDay(newest)}` : "";
}

function tile(site) {
  const unit = site.additive ? "next 7 days" : "a day, next 7 days";
  const number = site.week ? about(site, site.week.value) : "–";
  const alarm = needsLook(site) ? " alarm" : "";
  return `<li><a class="tile" href="${escape(addressOf(site))}"><h3 title="${escape(site.site)}">${escape(site.site)}<small>${escape(name(site.metric))}</small></h3><p class="number">${number}<small>${unit}</small></p>${spark(site)}<p class="why${alarm}">${escape(tileSentence(site))}</p></a></li>`;
}

function section(title, sites) {
  return sites.length ? `<section><h2>${title} <span class="muted">${count(sites.length)}</span></h2><ul class="tiles">${sites.map(tile).join("")}</ul></section>` : "";
}

function headline(urgent, sites) {
  const by = (direction) => urgent.filter((site) => site.unusual && !site.is_late && site.unusual.direction === direction).length;
  const [low, high] = [by("low"), by("high")];
  const silent = urgent.filter((site) => !site.data_until || site.is_late).length;
  const others = urgent.length - low - high - silent;
  const parts = [low && `${count(low)} unusually low`, high && `${count(high)} unusually high`, silent && `${count(silent)} without new data`, others && `${count(others)} not forecast`];
  const calm = sites.length - urgent.length;
  const title = urgent.length ? `${count(urgent.length)} of ${count(sites.length)} ${sites.length === 1 ? "site needs" : "sites need"} a look` : sites.length === 1 ? "Your site looks usual" : "All sites look usual";
  const listed = parts.filter(Boolean).join(", ");
  const rest = calm && listed ? ` The other ${count(calm)} ${calm === 1 ? "looks" : "look"} usual.` : "";
  return `<h1>${title}</h1><p class="muted">The newest day of each: ${listed || "nothing unusual"}.${rest}</p>`;
}

export async function showSites(main) {
  const { sites, num_sites } = await askOverview();
  if (!sites.length) return { title: "No sites yet", empty: ["No sites yet", "The version that is served has no site that the source still has. Train a new version."] };
  const sorted = sortSites(sites);
  const urgent = sorted.filter(needsLook);
  const calm = sorted.filter((site) => !needsLook(site));
  const more = num_sites > sites.length ? `<p class="muted">The first ${count(sites.length)} of ${count(num_sites)} sites are shown.</p>` : "";
  main.innerHTML = `${headline(urgent, sorted)}${more}
    <div class="tools row"><label class="unseen" for="find">Find a site</label><input id="find" type="search" placeholder="Find a site ( / )" autocomplete="off">
    <ul class="legend last"><li><svg aria-hidden="true"><path class="history" d="M0 5H20"/></svg>last 6 weeks</li><li><svg aria-hidden="true"><rect class="band" width="20" height="10"/><path class="forecast" d="M0 5H20"/></svg>next 7 days, 80% band</li></ul></div>
    ${section("Need a look", urgent)}${section("Usual", calm)}`;
  main.querySelector("#find").addEventListener("input", (event) => find(main, event.target.value));
  return { title: "Sites", freshness: sayFreshness(sites), state: JSON.stringify(sites.map((site) => [site.site, site.data_until])) };
}

function find(main, text) {
  let number = 0;
  for (const item of main.querySelectorAll(".tiles li")) {
    item.hidden = !item.querySelector("h3").textContent.toLowerCase().includes(text.toLowerCase());
    number += !item.hidden;
  }
  document.querySelector("#spoken").textContent = `${count(number)} ${number === 1 ? "site" : "sites"}`;
}
