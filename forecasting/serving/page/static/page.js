// Which view an address shows, keys, the theme, and what happens when something fails.

import { Refused, hasKey, useKey } from "./data.js";
import { showSite } from "./site.js";
import { showSites } from "./sites.js";
import { showUnusual } from "./unusual.js";
import { escape } from "./words.js";

const REFRESH_MS = 60_000;
const THEMES = ["auto", "light", "dark"];
const find = (selector) => document.querySelector(selector);
const main = find("#main");
let shown = 0; // counts the views, so that a slow one does not replace a newer one
let state = "";

function choose() {
  const [, view, ...names] = location.hash.replace(/^#/, "").split("/");
  if (view === "site") return (place) => showSite(place, ...names.map(decodeURIComponent));
  return view === "unusual" ? showUnusual : showSites;
}

function showEmpty(title, text, form = "") {
  main.innerHTML = `<section class="card empty"><h1>${escape(title)}</h1><p>${escape(text)}</p>${form}</section>`;
}

function askForKey(refused) {
  const text = hasKey() ? refused.message : "The server wants an API key. It stays in this tab’s memory only.";
  showEmpty("This page needs a key", text, '<form id="sign-in"><label class="unseen" for="key">API key</label><input id="key" type="password" autocomplete="current-password" required><button>Open</button></form>');
  find("#sign-in").addEventListener("submit", (event) => {
    event.preventDefault();
    useKey(find("#key").value);
    show();
  });
  find("#key").focus();
}

function explain(error) {
  if (!(error instanceof Refused)) throw error;
  if (error.status === 401) askForKey(error);
  else if (error.status === 400 || error.status === 404) showEmpty("Not found", error.message, '<p><a href="#/">All sites</a></p>');
  else showEmpty("New forecasts can’t be made right now", `${error.message} The page tries again every minute.`);
}

async function show({ quiet = false } = {}) {
  const number = ++shown;
  const place = quiet ? main.cloneNode(false) : main;
  if (!quiet) mark();
  try {
    const view = await choose()(place);
    if (number !== shown) return;
    if (view.empty) showEmpty(...view.empty);
    else if (quiet && view.state !== state) return show();
    state = view.state;
    document.title = `${view.title} – Traffic forecast`;
    find("#notice").textContent = view.notice ?? "";
    if (view.freshness) find("#freshness").textContent = view.freshness;
  } catch (error) {
    if (number !== shown) return;
    if (quiet && error instanceof Refused) find("#notice").textContent = `${error.message} You see what was known before; the page tries again every minute.`;
    else explain(error);
  }
}

function mark() {
  const path = location.hash.startsWith("#/unusual") ? "#/unusual" : "#/";
  for (const link of document.querySelectorAll(".bar nav a")) {
    if (link.getAttribute("href") === path) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
}

function setTheme(theme) {
  localStorage.theme = theme;
  if (theme === "auto") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  find("#theme").textContent = `Theme: ${theme}`;
}

const nextTheme = () => setTheme(THEMES[(THEMES.indexOf(localStorage.theme ?? "auto") + 1) % THEMES.length]);

const KEYS = {
  "/": () => find("#find")?.focus(),
  1: () => (location.hash = "#/"),
  2: () => (location.hash = "#/unusual"),
  "[": () => find('[rel="prev"]')?.click(),
  "]": () => find('[rel="next"]')?.click(),
  a: () => find("#acknowledge")?.click(),
  t: nextTheme,
  "?": () => find("#keys").showModal(),
};

addEventListener("keydown", (event) => {
  const isTyping = event.target.matches("input:not([type=checkbox]), select, textarea");
  if (isTyping || event.ctrlKey || event.metaKey || event.altKey || !find("#letters").checked) return;
  const act = KEYS[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
});
addEventListener("hashchange", async () => {
  await show();
  main.focus({ preventScroll: true });
  scrollTo(0, 0);
});
addEventListener("unhandledrejection", (event) => {
  if (!(event.reason instanceof Refused)) return;
  event.preventDefault();
  find("#notice").textContent = event.reason.message;
});
find("#theme").addEventListener("click", nextTheme);
find("#help").addEventListener("click", KEYS["?"]);
find("#letters").addEventListener("change", () => (localStorage.letters = find("#letters").checked));
find("#letters").checked = localStorage.letters !== "false";
setTheme(THEMES.includes(localStorage.theme) ? localStorage.theme : "auto");
setInterval(() => document.visibilityState === "visible" && show({ quiet: true }), REFRESH_MS);
show();
