// Keeps the page as the node is, by server-sent events; see doc.go of package page for what they are. Names, tags and
// messages come from others: they become text, never markup.
import { Mesh, rates } from "./draw.js";

const $ = (id) => document.getElementById(id);
const field = (object, path) => path.split(".").reduce((o, key) => o?.[key], object);

function element(kind, text, className) {
  const e = document.createElement(kind);
  if (text !== undefined) e.textContent = text;
  if (className) e.className = className;
  return e;
}

// How a value is written.
const whole = new Intl.NumberFormat("en");
const digits = (v) => new Intl.NumberFormat("en", { maximumSignificantDigits: 3 }).format(v);
const as = {
  text: (v) => v,
  count: (v) => whole.format(v),
  rate: (v) => (v < 100 ? digits(v) : whole.format(Math.round(v))),
  bytes(v) {
    for (const unit of ["B", "KiB", "MiB", "GiB"]) {
      if (v < 1024) return `${digits(v)} ${unit}`;
      v /= 1024;
    }
    return `${digits(v)} TiB`;
  },
  seconds(v) {
    if (v < 1e-3) return `${digits(v * 1e6)} µs`;
    if (v < 1) return `${digits(v * 1e3)} ms`;
    return v < 120 ? `${digits(v)} s` : v < 7200 ? `${Math.round(v / 60)} min` : `${Math.round(v / 3600)} h`;
  },
};
const roundTrip = (v) => (v === null ? "" : as.seconds(v));
const clock = (time) => new Date(time).toLocaleTimeString("en-GB");

const state = {}; // the last of each part of /api/
const mesh = new Mesh($("mesh"));

const show = {
  status(s) {
    document.title = `${s.node} · ${s.mesh}`;
    for (const e of document.querySelectorAll("[data-api]")) {
      const value = field(s, e.dataset.api) ?? null;
      e.dataset.value = value ?? "";
      e.textContent = value === null ? "–" : as[e.dataset.as ?? "count"](value);
    }
    document.body.classList.toggle("is-relay", s.as_relay !== null);
    $("relay").textContent = s.self ? ", of which it is the relay" : s.relay ? `, relay ${s.relay}` : ", without a relay: looking for one";
    $("tile-relay").textContent = s.self ? "this node is the relay" : s.relay || "there is no relay";
    $("not-relay").hidden = s.as_relay !== null;
    $("not-relay").textContent = `What is dropped at the relay only the relay knows${s.relay ? `: see the page of ${s.relay}, if it serves one` : ""}.`;
    $("problems").hidden = s.problems.length === 0;
    $("problems").replaceChildren(...s.problems.map((p) => element("li", p)));
    fill($("inbox-bar"), s.inbox.bytes, s.inbox.limit_bytes);
  },

  nodes({ list, more }) {
    mesh.draw(list, roundTrip);
    $("nodes").tBodies[0].replaceChildren(...list.map(nodeRow));
    $("more-nodes").hidden = more === 0;
    $("more-nodes").textContent = `and ${whole.format(more)} more`;
    const groups = new Set(list.flatMap((n) => n.groups));
    const names = [...list.filter((n) => !n.self).map((n) => n.name), ...[...groups].sort().map((g) => "@" + g), "@"];
    $("names").replaceChildren(...names.map((name) => Object.assign(element("option"), { value: name })));
  },

  streams({ list, more }) {
    $("streams").hidden = list.length === 0;
    $("streams").tBodies[0].replaceChildren(...list.map(streamRow));
    $("more-streams").hidden = more === 0;
    $("more-streams").textContent = `and ${whole.format(more)} more`;
  },

  reigns(list) {
    $("reigns").replaceChildren(...list.toReversed().map(reignRow));
  },

  log(list) {
    $("log").replaceChildren(...list.toReversed().map(eventRow));
  },

  history(list) {
    rates($("rates"), list, Date.parse(state.status.time));
  },
};

function fill(bar, value, most) {
  const part = most > 0 ? Math.min(1, value / most) : 0;
  bar.firstElementChild.style.width = `${(part * 100).toFixed(1)}%`;
  bar.setAttribute("aria-valuemax", most);
  bar.setAttribute("aria-valuenow", Math.min(value, most));
}

function nodeRow(n) {
  const row = element("tr");
  const name = element("td", n.name, "name");
  for (const word of [n.relay && "relay", n.self && "this node", n.role !== "auto" && n.role].filter(Boolean)) name.append(element("small", word));
  const state = element("td");
  state.append(element("span", n.state, `state ${n.state}`));
  const groups = element("td"), tags = element("td");
  groups.append(...n.groups.map((g) => element("span", "@" + g, "chip")));
  tags.append(...Object.entries(n.tags).map(([key, value]) => element("span", `${key}=${value}`, "chip")));
  const time = element("td", n.self ? "" : roundTrip(n.round_trip_seconds) || "–", "number");
  row.append(name, state, time, groups, tags, element("td", n.addr, "muted"));
  row.dataset.name = n.name;
  return row;
}

function streamRow(s) {
  const row = element("tr");
  const name = element("td", s.name, "name");
  if (s.absent) name.append(element("small", "not here"));
  const level = element("td"), bar = element("div", undefined, "bar");
  bar.setAttribute("role", "meter");
  bar.setAttribute("aria-label", `in flight to ${s.name}`);
  bar.setAttribute("aria-valuemin", 0);
  bar.append(element("i"));
  fill(bar, s.in_flight_bytes, s.window_bytes);
  level.append(element("small", as.bytes(s.in_flight_bytes) + (s.window_bytes > 0 ? ` of ${as.bytes(s.window_bytes)}` : ", none granted")), bar);
  row.append(name, element("td", whole.format(s.messages), "number"), element("td", as.bytes(s.bytes), "number"), level);
  return row;
}

function reignRow(r) {
  const item = element("li"), text = element("span");
  text.append(element("b", r.relay));
  if (r.self) text.append(" (this node)");
  if (r.term) text.append(`, reign number ${r.term}`);
  if (r.gap_seconds !== null) text.append(`, after ${as.seconds(r.gap_seconds)} without a relay`);
  text.append(r.until ? `; until ${clock(r.until)}${r.reason ? `: ${r.reason}` : ""}` : "; now");
  item.append(element("time", clock(r.since)), text);
  return item;
}

function eventRow(e) {
  const item = element("li");
  item.append(element("time", clock(e.time)), element("span", e.text, e.kind));
  return item;
}

// take puts a part of the state into force.
function take(part, value) {
  state[part] = value;
  show[part](value);
}

const on = {
  whole(w) {
    for (const part of ["status", "nodes", "streams", "reigns", "log", "history"]) take(part, w[part]);
  },
  status(s) {
    take("status", s);
    if (s.rated_at !== state.history.at(-1)?.time) take("history", [...state.history, { time: s.rated_at, ...s.rates }].slice(-300));
  },
  nodes: (n) => take("nodes", n),
  streams: (s) => take("streams", s),
  reigns: (r) => take("reigns", r),
  log: (e) => take("log", [...state.log, e].slice(-200)),
};

let source, again;

function connect() {
  disconnect();
  source = new EventSource("api/events");
  for (const [kind, f] of Object.entries(on)) source.addEventListener(kind, (e) => f(JSON.parse(e.data)));
  source.onopen = () => live(true);
  source.onerror = () => {
    live(false);
    if (source.readyState === EventSource.CLOSED) again = setTimeout(connect, 3000);
  };
}

function disconnect() {
  clearTimeout(again);
  source?.close();
}

function live(yes) {
  $("live").textContent = yes ? "live" : "not connected, trying again";
  $("live").classList.toggle("on", yes);
  document.body.classList.toggle("stale", !yes);
}

// A page that nobody sees is not kept current: it gets the whole again when it is looked at.
document.addEventListener("visibilitychange", () => (document.hidden ? disconnect() : connect()));
addEventListener("resize", () => {
  if (state.status) for (const part of ["nodes", "history"]) show[part](state[part]);
});

$("send").addEventListener("submit", async (event) => {
  event.preventDefault();
  const form = event.target, button = form.querySelector("button"), outcome = $("outcome");
  button.disabled = true;
  try {
    const body = JSON.stringify({ to: form.to.value.trim(), text: form.text.value });
    const answer = await fetch("api/send", { method: "POST", headers: { "Content-Type": "application/json" }, body });
    const result = answer.headers.get("Content-Type") === "application/json" ? await answer.json() : { outcome: "failed", text: await answer.text() };
    outcome.textContent = `${result.outcome}: ${result.text}`;
    outcome.className = result.outcome;
    if (result.outcome !== "failed") form.text.value = "";
  } catch {
    outcome.textContent = "failed: the node does not answer";
    outcome.className = "failed";
  }
  button.disabled = false;
  form.text.focus();
});

connect();
