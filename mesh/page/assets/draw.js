// The two drawings: the mesh, and messages a second. Names come from others: they become text, never markup.

const reduced = matchMedia("(prefers-reduced-motion: reduce)");

export function svg(kind, attributes = {}, text) {
  const e = document.createElementNS("http://www.w3.org/2000/svg", kind);
  for (const [key, value] of Object.entries(attributes)) e.setAttribute(key, value);
  if (text !== undefined) e.textContent = text;
  return e;
}

// short leaves out the middle of a long name: names often differ at their ends.
function short(text) {
  const letters = [...text];
  return letters.length > 13 ? letters.slice(0, 7).join("") + "…" + letters.slice(-5).join("") : text;
}

// spread gives n places on an ellipse, equally far from each other along it, the first at the top.
function spread(n, cx, cy, rx, ry) {
  const steps = 720, at = (i) => {
    const a = (i / steps) * 2 * Math.PI - Math.PI / 2;
    return [cx + rx * Math.cos(a), cy + ry * Math.sin(a)];
  };
  const way = [0];
  for (let i = 1; i <= steps; i++) {
    const [x, y] = at(i), [u, v] = at(i - 1);
    way.push(way[i - 1] + Math.hypot(x - u, y - v));
  }
  const places = [];
  for (let k = 0, i = 0; k < n; k++) {
    while (way[i] < (k / n) * way[steps]) i++;
    places.push(at(i));
  }
  return places;
}

const round = (rx, ry) => Math.PI * (3 * (rx + ry) - Math.sqrt((3 * rx + ry) * (rx + 3 * ry))); // an ellipse, nearly

// layout gives places to n nodes around the relay: on as few rings as leave room for their names, or if that is not
// possible as dots, and to as many of them as there is room for.
function layout(n, width, height) {
  const rx = width / 2 - 52, ry = (height - 78) / 2, inner = 0.34, middle = [width / 2, 22 + ry]; // the names are below
  const most = 1 + Math.floor(((1 - inner) * Math.min(rx, ry)) / 18);
  let fit;
  for (const [room, rings, named] of [[84, Math.min(rx, ry) < 150 ? 1 : 2, true], [26, most, false], [18, most, false]]) {
    for (let k = 1; k <= rings; k++) {
      const scales = Array.from({ length: k }, (_, r) => 1 - (r * (1 - inner)) / Math.max(k - 1, 2));
      const space = scales.map((s) => Math.max(1, Math.floor(round(rx * s, ry * s) / room)));
      fit = { scales, space, named, sum: space.reduce((a, b) => a + b) };
      if (fit.sum >= n) break;
    }
    if (fit.sum >= n) break;
  }
  const places = [], count = Math.min(n, fit.sum);
  fit.scales.forEach((s, r) => {
    const last = r === fit.scales.length - 1, here = last ? count - places.length : Math.min(count - places.length, Math.ceil((count * fit.space[r]) / fit.sum));
    places.push(...spread(here, ...middle, rx * s, ry * s));
  });
  return { places, middle, named: fit.named };
}

// Mesh draws the relay in the middle and the others around it. Who moves glides.
export class Mesh {
  constructor(root) {
    this.root = root;
    this.spokes = root.appendChild(svg("g"));
    this.none = root.appendChild(svg("circle", { class: "none", r: 20 }));
    this.bodies = root.appendChild(svg("g"));
    this.more = root.appendChild(svg("text", { class: "muted more" }));
    this.shown = new Map(); // by name
  }

  draw(nodes, roundTrip) {
    const width = Math.max(this.root.clientWidth, 240), height = Math.max(320, Math.min(width * 0.72, 470));
    this.root.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const relay = nodes.find((n) => n.relay);
    const { places, middle, named } = layout(nodes.length - (relay ? 1 : 0), width, height);
    const others = nodes.filter((n) => !n.relay).sort((a, b) => b.self - a.self).slice(0, places.length);
    this.middle = middle;
    this.none.setAttribute("cx", this.middle[0]);
    this.none.setAttribute("cy", this.middle[1]);
    this.none.style.display = relay ? "none" : "";
    const now = new Set();
    others.forEach((n, i) => this.put(n, places[i], named, roundTrip, now));
    if (relay) this.bodies.append(this.put(relay, this.middle, true, roundTrip, now)); // above all others
    for (const [name, one] of this.shown) {
      if (now.has(name)) continue;
      one.body.remove();
      one.spoke.remove();
      this.shown.delete(name);
    }
    const more = nodes.length - others.length - (relay ? 1 : 0);
    this.more.textContent = more ? `and ${more} more` : "";
    this.more.setAttribute("x", width - 4);
    this.more.setAttribute("y", height - 4);
    this.root.setAttribute("aria-label", (relay ? `relay ${relay.name}` : "no relay") + `, ${others.length} other nodes` + (more ? `, ${more} more not drawn` : ""));
    this.relay = relay && this.shown.get(relay.name);
    const still = reduced.matches || this.size !== `${width} ${height}`; // nobody glides because the window has another size
    this.size = `${width} ${height}`;
    cancelAnimationFrame(this.frame);
    this.glide(still ? Infinity : 0, performance.now());
  }

  put(n, [x, y], named, roundTrip, now) {
    now.add(n.name);
    let one = this.shown.get(n.name);
    if (!one) {
      const body = this.bodies.appendChild(svg("g")), spoke = this.spokes.appendChild(svg("line", { class: "spoke" }));
      one = { body, spoke, x, y, title: svg("title"), ring: svg("circle", { class: "ring" }), disc: svg("circle", { class: "disc" }), name: svg("text", { class: "name" }), time: svg("text", { class: "muted" }) };
      body.append(one.title, one.ring, one.disc, one.name, one.time);
      body.dataset.name = n.name;
      this.shown.set(n.name, one);
    }
    const radius = n.relay ? 20 : named ? 12 : 7;
    one.to = [x, y];
    one.body.setAttribute("class", ["node", n.state, n.relay && "relay", n.self && "self"].filter(Boolean).join(" "));
    one.disc.setAttribute("r", radius);
    one.ring.setAttribute("r", radius + 4);
    one.name.setAttribute("y", radius + 19);
    one.time.setAttribute("y", radius + 33);
    const time = n.self ? "" : roundTrip(n.round_trip_seconds);
    one.name.textContent = named ? short(n.name) : "";
    one.time.textContent = named ? time : "";
    one.title.textContent = [n.name, n.state, time, ...Object.entries(n.tags).map(([k, v]) => `${k}=${v}`)].filter(Boolean).join("\n");
    one.spoke.style.display = n.relay ? "none" : "";
    return one.body;
  }

  // glide moves everybody a part of the way, as much as belongs to so many milliseconds, until all are there.
  glide(past, now) {
    const part = 1 - Math.exp(-past / 90);
    let moving = false;
    for (const one of this.shown.values()) {
      const [x, y] = one.to;
      one.x += (x - one.x) * part;
      one.y += (y - one.y) * part;
      if (Math.hypot(x - one.x, y - one.y) < 0.5) [one.x, one.y] = one.to;
      else moving = true;
    }
    const middle = this.relay ?? { x: this.middle[0], y: this.middle[1] };
    for (const one of this.shown.values()) {
      one.body.setAttribute("transform", `translate(${one.x} ${one.y})`);
      for (const [key, value] of [["x1", middle.x], ["y1", middle.y], ["x2", one.x], ["y2", one.y]]) one.spoke.setAttribute(key, value);
    }
    if (moving) this.frame = requestAnimationFrame((later) => this.glide(Math.max(0, later - now), later));
  }
}

// nice is the next of 1, 2, 5, 10, 20, 50, … that is not smaller.
function nice(value) {
  const ten = 10 ** Math.floor(Math.log10(Math.max(value, 1)));
  return [1, 2, 5, 10].map((f) => f * ten).find((f) => f >= value);
}

const axis = new Intl.NumberFormat("en", { notation: "compact" });

// rates draws the lines of messages a second over the last five minutes.
export function rates(root, history, now) {
  const span = 300e3, width = Math.max(root.clientWidth, 240), height = Math.max(root.clientHeight, 190), left = 44, bottom = height - 22, top = 10;
  root.setAttribute("viewBox", `0 0 ${width} ${height}`);
  const kinds = ["forwarded", "received", "sent"];
  const most = nice(Math.max(1, ...history.flatMap((p) => kinds.map((k) => p[k] ?? 0))));
  const x = (time) => left + (1 - (now - Date.parse(time)) / span) * (width - left), y = (value) => bottom - (value / most) * (bottom - top);
  const parts = [0, 0.5, 1].flatMap((f) => [
    svg("line", { class: "grid", x1: left, x2: width, y1: y(most * f), y2: y(most * f) }),
    svg("text", { class: "muted end", x: left - 8, y: y(most * f) + 4 }, axis.format(most * f)),
  ]);
  parts.push(svg("text", { class: "muted", x: left, y: height - 4 }, "5 minutes ago"), svg("text", { class: "muted end", x: width, y: height - 4 }, "now"));
  for (const kind of kinds) {
    let way = "", pen = "M";
    for (const p of history) {
      if (p[kind] === null || x(p.time) < left) {
        pen = "M";
        continue;
      }
      way += `${pen}${x(p.time).toFixed(1)} ${y(p[kind]).toFixed(1)}`;
      pen = "L";
    }
    parts.push(svg("path", { class: kind, d: way }));
  }
  root.replaceChildren(...parts);
}
