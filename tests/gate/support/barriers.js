// A sentence for each thing on the page that WCAG 2.2 AA forbids and a script can see.

const barriers = [];
const all = (css) => [...document.querySelectorAll(css)].filter((e) => e.checkVisibility({ visibilityProperty: true }));
const name = (e) => e.cloneNode(false).outerHTML.slice(0, 120);
const words = (e) => (e?.textContent ?? "").trim();
const labelled = (e) =>
  words({ textContent: e.getAttribute("aria-label") }) ||
  (e.getAttribute("aria-labelledby") ?? "").split(/\s+/).some((id) => words(document.getElementById(id)));

// The page.
if (!document.documentElement.lang) barriers.push("the page does not say its language");
if (!document.title.trim()) barriers.push("the page has no title");
if (document.compatMode !== "CSS1Compat") barriers.push("the page has no doctype");
if (!/width=device-width/.test(document.querySelector("meta[name=viewport]")?.content ?? ""))
  barriers.push("the page is not laid out for the width of the device");
if (/user-scalable\s*=\s*(no|0)|maximum-scale/.test(document.querySelector("meta[name=viewport]")?.content ?? ""))
  barriers.push("the page cannot be enlarged");
if (document.documentElement.scrollWidth > document.documentElement.clientWidth)
  barriers.push(`the page is ${document.documentElement.scrollWidth} wide in a window of ${document.documentElement.clientWidth}`);
if (all("main").length !== 1) barriers.push(`the page has ${all("main").length} main parts`);
const ids = [...document.querySelectorAll("[id]")].map((e) => e.id);
for (const id of new Set(ids.filter((id, at) => ids.indexOf(id) !== at))) barriers.push(`the id ${id} is there twice`);

// Headings: one of the first level, and none left out on the way down.
const levels = all("h1, h2, h3, h4, h5, h6").map((e) => Number(e.tagName[1]));
const first = levels.filter((level) => level === 1).length;
if (first !== 1) barriers.push(`the page has ${first} headings of the first level`);
levels.forEach((level, at) => {
  if (level > (levels[at - 1] ?? 0) + 1) barriers.push(`a heading of level ${level} follows one of level ${levels[at - 1] ?? 0}`);
});

// Everything that can be used has a name, and a size that a finger can hit unless it stands in a line of text.
for (const e of all("input:not([type=submit], [type=button], [type=reset], [type=image]), select, textarea"))
  if (![...e.labels].some(words) && !labelled(e)) barriers.push(`no label: ${name(e)}`);
for (const e of all("button, a[href], summary, input[type=submit], input[type=button]"))
  if (!words(e) && !labelled(e) && !e.value && ![...e.querySelectorAll("img")].some((image) => image.alt))
    barriers.push(`no name: ${name(e)}`);
for (const e of all("img")) if (!e.hasAttribute("alt")) barriers.push(`no alternative: ${name(e)}`);
for (const e of all("[tabindex]")) if (e.tabIndex > 0) barriers.push(`out of order for the keyboard: ${name(e)}`);
for (const e of all("button, input:not([type=hidden]), select, summary")) {
  const target = [e, ...(e.labels ?? [])].map((part) => part.getBoundingClientRect());
  if (!target.some((box) => box.width >= 24 && box.height >= 24)) barriers.push(`too small for a finger: ${name(e)}`);
}

// Contrast of text and what is behind it, layer upon layer down to the canvas, which is dark where the page agrees to be.
const context = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
const colour = (text) => {
  context.clearRect(0, 0, 1, 1);
  context.fillStyle = text;
  context.fillRect(0, 0, 1, 1);
  const [r, g, b, a] = context.getImageData(0, 0, 1, 1).data;
  return [r, g, b, a / 255];
};
const over = (top, below) => [0, 1, 2].map((at) => top[at] * top[3] + below[at] * (1 - top[3])).concat(1);
const probe = document.documentElement.appendChild(document.createElement("span"));
probe.style.backgroundColor = "Canvas";
const canvas = colour(getComputedStyle(probe).backgroundColor);
probe.remove();
const behind = (e) => (e ? over(colour(getComputedStyle(e).backgroundColor), behind(e.parentElement)) : canvas);
const luminance = (c) =>
  [0.2126, 0.7152, 0.0722].reduce((sum, weight, at) => {
    const part = c[at] / 255;
    return sum + weight * (part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
  }, 0);
for (const e of all("body *")) {
  if (e.disabled || ![...e.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.data.trim())) continue;
  const style = getComputedStyle(e);
  const ground = behind(e);
  const [light, dark] = [luminance(over(colour(style.color), ground)), luminance(ground)].sort((a, b) => b - a);
  const ratio = (light + 0.05) / (dark + 0.05);
  const size = parseFloat(style.fontSize);
  const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
  if (ratio < needed) barriers.push(`contrast of ${ratio.toFixed(1)} where ${needed} is needed: ${name(e)}`);
}
return barriers;
