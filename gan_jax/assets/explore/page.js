// The page: noise and class are all its state; every control changes them, and `show` draws what they make.
"use strict";

const WALK_MS = 2500; // from one noise to the next
const FILM_MS = 150;
const STRIP = 9; // images on the way from A to B
const PARALLEL = 1e-3; // the sine of an angle below which two noises count as on one line

const facts = JSON.parse(document.getElementById("facts").textContent);
const gan = makeGan(facts);
const $ = (id) => document.getElementById(id);
const [height, width, channels] = facts.shape;
const zDim = facts.generator[0].channels;
const directions = rowsOf(facts.directions);
const samples = rowsOf(facts.samples).map((z, i) => ({ z, shares: only(facts.labels?.[i] ?? 0) }));

let now = samples[0]; // {z, shares}: what is shown
let home = now; // what it was before sliders moved it
let walk = null; // {from, to, share, time} while it goes on
let picked = []; // of the samples, the last two
let drawn = 0; // images so far, for who measures

function rowsOf(text) {
  const all = floatsOf(text);
  return Array.from({ length: all.length / zDim }, (_, i) => all.slice(i * zDim, (i + 1) * zDim));
}

// The shares of the classes of an image of one alone.
function only(label) {
  return Float32Array.from({ length: Math.max(facts.classes, 1) }, (_, k) => (k === label ? 1 : 0));
}

const dot = (a, b) => a.reduce((sum, x, i) => sum + x * b[i], 0);
const mix = (a, b, p, q) => a.map((x, i) => p * x + q * b[i]);

function noise() {
  const one = () => {
    if (facts.uniform) return 2 * Math.random() - 1;
    return Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random()); // Box & Muller
  };
  return Float32Array.from({ length: zDim }, one);
}

// As paths.between in Python: Gaussian noise goes along the sphere, near which it lies.
function between(a, b, share) {
  const shares = mix(a.shares, b.shares, 1 - share, share);
  const cosine = dot(a.z, b.z) / Math.sqrt(dot(a.z, a.z) * dot(b.z, b.z));
  const angle = Math.acos(Math.min(Math.max(cosine, -1), 1));
  const sine = Math.sin(angle);
  if (facts.uniform || !(sine >= PARALLEL)) return { z: mix(a.z, b.z, 1 - share, share), shares };
  return { z: mix(a.z, b.z, Math.sin((1 - share) * angle) / sine, Math.sin(share * angle) / sine), shares };
}

// Draws an image in [-1, 1] at a place of a canvas.
function paint(canvas, image, left = 0) {
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(width, height);
  for (let i = 0; i < width * height; i++) {
    for (let c = 0; c < 3; c++) pixels.data[4 * i + c] = Math.round((image[i * channels + (c % channels)] + 1) * 127.5);
    pixels.data[4 * i + 3] = 255;
  }
  context.putImageData(pixels, left, 0);
}

function show(next) {
  now = next;
  drawn++;
  const image = gan.generate(now.z, now.shares);
  paint($("image"), image);
  const score = gan.score(gan.discriminate(image, now.shares));
  const share = Math.min(Math.max(score, 0), 1); // that of least squares may lie outside
  $("score").ariaValueNow = share.toFixed(2);
  $("score").firstElementChild.style.width = `${100 * share}%`;
  $("said").textContent = written(score, 2);
  directions.forEach((direction, i) => setSlider(sliders[i], dot(now.z, direction)));
  if (facts.classes) $("class").control.value = now.shares.indexOf(1);
}

function setSlider(slider, value) {
  slider.value = value;
  slider.nextElementSibling.textContent = written(value, 1);
}

// A number with so many digits after the point, never −0.
function written(value, digits) {
  const rounded = Math.round(value * 10 ** digits) / 10 ** digits + 0;
  return rounded.toFixed(digits).replace("-", "−");
}

// Something new to start from.
function begin(next) {
  home = next;
  show(next);
}

function makeSlider(direction, i) {
  const most = facts.uniform ? 2 : 4; // standard deviations lie well within
  const label = document.createElement("label");
  label.className = "slider";
  label.innerHTML = `<span>${i + 1}</span><input type="range" min="${-most}" max="${most}" step="0.05"><output aria-live="off"></output>`;
  const slider = label.querySelector("input");
  slider.setAttribute("aria-label", `Direction ${i + 1}`);
  slider.addEventListener("input", () => {
    stop();
    show({ z: mix(now.z, direction, 1, slider.value - dot(now.z, direction)), shares: now.shares });
  });
  $("directions").append(label);
  return slider;
}

function makeThumbnail(sample, i) {
  const button = document.createElement("button");
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = [width, height];
  paint(canvas, gan.generate(sample.z, sample.shares));
  button.append(canvas);
  button.setAttribute("aria-label", `Sample ${i + 1}`);
  button.addEventListener("click", () => pick(i));
  $("samples").append(button);
  return button;
}

function pick(i) {
  stop();
  picked = picked.includes(i) ? picked.filter((k) => k !== i) : [...picked, i].slice(-2);
  thumbnails.forEach((button, k) => {
    const place = picked.indexOf(k);
    button.setAttribute("aria-pressed", place >= 0);
    button.setAttribute("aria-label", `Sample ${k + 1}${place < 0 ? "" : ", picked as " + "AB"[place]}`);
    button.querySelector("b")?.remove();
    if (place >= 0) button.append(Object.assign(document.createElement("b"), { textContent: "AB"[place] }));
  });
  $("between").hidden = picked.length < 2;
  if (picked.length === 2) {
    const [a, b] = picked.map((k) => samples[k]);
    for (let k = 0; k < STRIP; k++) {
      const at = between(a, b, k / (STRIP - 1));
      paint($("strip"), gan.generate(at.z, at.shares), k * width);
    }
    $("share").value = picked[1] === i ? 1 : 0;
  }
  begin(samples[i]);
}

function stop() {
  walk = null;
  $("walk").setAttribute("aria-pressed", false);
}

function step(time) {
  if (!walk) return;
  walk.share += Math.min(time - (walk.time ?? time), 100) / WALK_MS;
  walk.time = time;
  if (walk.share >= 1) walk = { from: walk.to, to: { z: noise(), shares: now.shares }, share: walk.share % 1, time };
  begin(between(walk.from, walk.to, walk.share));
  requestAnimationFrame(step);
}

function toggleWalk() {
  if (walk) return stop();
  walk = { from: now, to: { z: noise(), shares: now.shares }, share: 0 };
  $("walk").setAttribute("aria-pressed", true);
  requestAnimationFrame(step);
}

function fresh() {
  stop();
  begin({ z: noise(), shares: now.shares });
}

function makeClasses() {
  $("class").hidden = false;
  const select = $("class").querySelector("select");
  for (let k = 0; k < facts.classes; k++) select.append(new Option(k));
  select.append(Object.assign(new Option("mixed", -1), { disabled: true })); // on the way from one class to another
  select.addEventListener("change", () => {
    const shares = only(Number(select.value));
    if (walk) walk = { ...walk, from: { ...walk.from, shares }, to: { ...walk.to, shares } };
    home = { z: home.z, shares };
    show({ z: now.z, shares });
  });
}

function makeFilm() {
  let playing = null;
  const toFrame = (i) => {
    $("frame").value = i;
    $("grid").src = `data:image/png;base64,${facts.film[i].png}`;
    $("caption").textContent = facts.film[i].caption;
  };
  const pause = () => {
    clearInterval(playing);
    playing = null;
    $("play").setAttribute("aria-pressed", false);
  };
  $("film").hidden = false;
  $("frame").max = facts.film.length - 1;
  $("frame").addEventListener("input", () => (pause(), toFrame(Number($("frame").value))));
  $("play").addEventListener("click", () => {
    if (playing) return pause();
    $("play").setAttribute("aria-pressed", true);
    playing = setInterval(() => toFrame((Number($("frame").value) + 1) % facts.film.length), FILM_MS);
  });
  toFrame(facts.film.length - 1);
}

function makeCurve({ title, steps, low, high, middle, series }) {
  const figure = document.createElement("figure");
  const [first, last] = [steps[0], steps[steps.length - 1]];
  const x = (step) => (last > first ? ((step - first) / (last - first)) * 100 : 50);
  const y = (value) => 100 - ((Math.min(Math.max(value, low), high) - low) / (high - low)) * 100;
  const path = (values) =>
    values.map((value, i) => (value === null ? "" : `${values[i - 1] == null ? "M" : "L"}${x(steps[i])} ${y(value)}`)).join("");
  const lines = series.map(({ values }, k) => `<path d="${path(values)}" style="stroke: var(--curve-${k % 4})"></path>`);
  const half = middle === null ? "" : `<path class="half" d="M0 ${y(middle)}H100"></path>`;
  const short = (value) => Number(value.toPrecision(2)).toString().replace("-", "−");
  figure.innerHTML = `
    <figcaption><span></span></figcaption>
    <div class="axis"><span>${short(high)}</span></div>
    <svg viewBox="0 0 100 100" preserveAspectRatio="none" role="img">${half}${lines.join("")}</svg>
    <div class="axis"><span>${short(low)}</span><span>step ${last.toLocaleString("en")}</span></div>`;
  figure.querySelector("figcaption span").textContent = title;
  figure.querySelector("svg").setAttribute("aria-label", `${title}: ${series.map(({ name }) => name).join(", ")}`);
  series.forEach(({ name }, k) => {
    const key = document.createElement("span");
    key.innerHTML = `<i style="background: var(--curve-${k % 4})"></i>`;
    key.append(name);
    figure.querySelector("figcaption").append(key);
  });
  $("curves").append(figure);
}

document.title = $("title").textContent = facts.title;
$("about").textContent = facts.about;
[$("image").width, $("image").height] = [width, height];
[$("strip").width, $("strip").height] = [STRIP * width, height];
const sliders = directions.map(makeSlider);
const thumbnails = samples.map(makeThumbnail);
if (facts.classes) makeClasses();
if (facts.film.length) makeFilm();
$("curves").hidden = !facts.curves.length;
facts.curves.forEach(makeCurve);

$("new").addEventListener("click", fresh);
$("walk").addEventListener("click", toggleWalk);
$("reset").addEventListener("click", () => (stop(), show(home)));
$("share").addEventListener("input", () => {
  stop();
  const [a, b] = picked.map((k) => samples[k]);
  begin(between(a, b, Number($("share").value)));
});
document.addEventListener("keydown", (event) => {
  // Not in the list of classes, where letters choose.
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.target.tagName === "SELECT") return;
  const act = { n: fresh, w: toggleWalk }[event.key.toLowerCase()];
  if (!act) return;
  event.preventDefault();
  act();
});
begin(now);
