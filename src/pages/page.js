// What the pages for operators and developers share: texts in two languages, elements, figures and charts.

const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT] = [240, 60];
const POINTS = 120;

export const $ = (id) => document.getElementById(id);

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made[key] = value;
  made.append(...children);
  return made;
}

let language = localStorage.getItem("language") ?? (navigator.language.startsWith("de") ? "de" : "en");
export const locale = () => language;

// The text of a name in a table of [English, German]; `shown` is called when another language is chosen.
export function texts(table, shown) {
  const text = (name) => table[name]?.[language === "de" ? 1 : 0] ?? name;
  const translate = () => {
    document.documentElement.lang = language;
    document.title = text("title");
    $("language").value = language;
    for (const node of document.querySelectorAll("[data-text]")) node.textContent = text(node.dataset.text);
    shown();
  };
  $("language").addEventListener("change", () => {
    language = $("language").value;
    localStorage.setItem("language", language);
    translate();
  });
  return { text, translate };
}

export const whole = (value) => Math.round(value).toLocaleString(language);
export const milliseconds = (seconds) => (seconds === null ? "–" : `${(seconds * 1000).toLocaleString(language, { maximumSignificantDigits: 2 })} ms`);
export function bytes(value) {
  const unit = value >= 1e9 ? ["GB", 1e9] : value >= 1e6 ? ["MB", 1e6] : value >= 1e3 ? ["kB", 1e3] : ["B", 1];
  return `${(value / unit[1]).toLocaleString(language, { maximumFractionDigits: 1 })} ${unit[0]}`;
}

// The lines of the last values over time; a point has one value for each line.
export class Chart {
  points = [];

  constructor(name, write) {
    Object.assign(this, { name, write });
  }

  add(values) {
    this.points.push(values);
    if (this.points.length > POINTS) this.points.shift();
    this.draw();
  }

  figure(title) {
    this.value = element("strong");
    this.svg = document.createElementNS(SVG, "svg");
    this.svg.setAttribute("viewBox", `0 0 ${WIDTH} ${HEIGHT}`);
    this.svg.setAttribute("preserveAspectRatio", "none");
    this.svg.setAttribute("aria-hidden", "true");
    this.draw();
    const caption = element("figcaption", {}, element("span", { textContent: title }), this.value);
    return element("figure", { className: "chart" }, caption, this.svg);
  }

  draw() {
    if (!this.svg) return;
    const newest = this.points.at(-1) ?? [];
    this.value.textContent = newest.map(this.write).join(" · ") || "–";
    const most = Math.max(1e-9, ...this.points.flat().filter((value) => value !== null));
    this.svg.replaceChildren(...newest.map((_, place) => {
      const line = document.createElementNS(SVG, "polyline");
      const start = POINTS - this.points.length;
      const at = (values, index) => `${((start + index) * WIDTH) / (POINTS - 1)},${HEIGHT - 2 - ((values[place] ?? 0) / most) * (HEIGHT - 6)}`;
      line.setAttribute("points", this.points.map(at).join(" "));
      if (place) line.setAttribute("class", "second");
      return line;
    }));
  }
}

// Puts a text on the clipboard; a page served over plain http has none, but selected text can be copied.
export async function copied(value) {
  try {
    await navigator.clipboard.writeText(value);
  } catch {
    const area = element("textarea", { value, className: "offscreen" });
    document.body.append(area);
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}
