// The page: asks the server what to judge, shows it, sends each answer as it is given. It knows no truth.
"use strict";

const RETRY_MS = 500;
const PAUSE_MS = 400; // between two images under a time limit: the eye settles, the last one is gone
const BLINK_MS = 150; // no one judges faster: such an answer is the second half of a double click
const rater = location.pathname.match(/^\/rater\/([\w-]+)$/)?.[1];
const $ = (id) => document.getElementById(id);
const sleep = (ms) => new Promise((done) => setTimeout(done, ms));
const painted = () => new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));

let tiles = []; // of this page: {card, figure, image, seen, open}
let current = 0; // the tile that keys judge
let since = null; // when the images appeared, or on a grid when the last answer was given
let pressed = null; // the button of the last answer, so that Tab and Enter go on from the same one
let begun = false; // under a time limit images wait for the rater at first
let sending = Promise.resolve(); // answers go out one after another

// A server that is down or cannot save is asked again: an answer once given is never dropped.
async function call(path, body) {
  const post = { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) };
  for (;;) {
    try {
      const response = await fetch(path, body ? post : {});
      if (response.status < 500) {
        $("notice").textContent = "";
        return response;
      }
      $("notice").textContent = (await response.json()).error + " Trying again…";
    } catch {
      $("notice").textContent = "No connection to the server. Trying again; this page keeps your last answer.";
    }
    await sleep(RETRY_MS);
  }
}

async function update(response) {
  if (response.status === 404) return location.replace("/"); // the server now runs another session
  const state = await response.json();
  if (!response.ok) return ($("notice").textContent = state.error);
  $("progress").hidden = false;
  $("bar").max = state.num;
  $("bar").value = state.judged;
  $("count").textContent = `${state.judged} of ${state.num}`;
  if (state.result) return finish(state);
  if (state.page[0].card !== tiles[0]?.card) return present(state);
  state.page.forEach((card, i) => card.answer && mark(tiles[i], card.answer)); // also those of another tab
}

async function present(state) {
  const limited = state.seconds > 0;
  tiles = state.page.map((card, i) => makeTile(card, i, state));
  $("tiles").className = state.grid ? "grid" : "single";
  $("tiles").replaceChildren(...tiles.map((tile) => tile.figure));
  $("hints").textContent = state.grid
    ? "Arrow keys choose an image; R: real, F: fake."
    : "Keys: R or ← for real, F or → for fake.";
  if (limited && !begun) await ready(state);
  else if (limited) await sleep(PAUSE_MS);
  $("tiles").hidden = $("hints").hidden = false;
  const loaded = await Promise.all(tiles.map((tile) => load(tile.card)));
  await Promise.all(loaded.map((source, i) => appear(tiles[i], source)));
  const shown = tiles;
  await painted();
  since = performance.now();
  if (limited) setTimeout(() => shown.forEach((tile) => tile.seen && cover(tile)), state.seconds * 1000);
  await sleep(BLINK_MS);
  shown.forEach((tile, i) => state.page[i].answer || unlock(tile));
  choose(Math.max(0, tiles.findIndex((tile) => tile.open)));
  if (pressed && !state.grid) tiles[0].figure.querySelector(`[data-answer=${pressed}]`).focus();
}

// A mask of noise, or the afterimage would go on.
function cover(tile) {
  tile.image.src = noise();
}

function makeTile({ card, answer }, i, state) {
  const figure = $("tile").content.firstElementChild.cloneNode(true);
  const tile = { card, figure, image: figure.querySelector("img"), seen: false, open: false };
  figure.setAttribute("aria-label", state.grid ? `Image ${i + 1} of ${state.page.length}` : `Image ${state.judged + 1}`);
  figure.classList.add("blank");
  figure.addEventListener("focusin", () => choose(i, false));
  for (const button of figure.querySelectorAll("button")) {
    button.disabled = true;
    button.addEventListener("click", () => judge(i, button.dataset.answer));
  }
  if (answer) mark(tile, answer);
  return tile;
}

async function ready(state) {
  const what = state.grid ? "Each page of images" : "Each image";
  $("limit").textContent = `${what} is shown for ${state.seconds} s. Then judge from memory.`;
  $("ready").hidden = false;
  $("show").focus();
  await new Promise((done) => $("show").addEventListener("click", done, { once: true }));
  $("ready").hidden = true;
  begun = true;
}

// The image's address for this page, or null where its time was up before a reload.
async function load(card) {
  const response = await call(`/image/${card}`);
  return response.ok ? URL.createObjectURL(await response.blob()) : null;
}

async function appear(tile, source) {
  tile.seen = source !== null;
  if (source) tile.image.src = source;
  else cover(tile);
  await tile.image.decode();
  tile.figure.classList.remove("blank");
  if (source) URL.revokeObjectURL(source);
  else $("notice").textContent = "This was shown before the page was reloaded: judge from memory, or guess.";
}

function noise() {
  const canvas = document.createElement("canvas");
  canvas.width = canvas.height = 28;
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(28, 28);
  for (let i = 0; i < pixels.data.length; i += 4) {
    pixels.data.fill(Math.random() < 0.5 ? 0 : 255, i, i + 3);
    pixels.data[i + 3] = 255;
  }
  context.putImageData(pixels, 0, 0);
  return canvas.toDataURL();
}

function unlock(tile) {
  tile.open = true;
  tile.figure.querySelectorAll("button").forEach((button) => (button.disabled = false));
}

function mark(tile, answer) {
  tile.open = false;
  tile.figure.classList.add("judged");
  for (const button of tile.figure.querySelectorAll("button")) {
    button.disabled = true;
    button.setAttribute("aria-pressed", button.dataset.answer === answer);
  }
}

function choose(i, focus = true) {
  tiles[current]?.figure.classList.remove("current");
  current = i;
  tiles[i].figure.classList.add("current");
  if (focus) tiles[i].figure.focus();
}

function judge(i, answer) {
  const tile = tiles[i];
  if (!tile?.open) return;
  const now = performance.now();
  const body = { card: tile.card, answer, response_ms: tile.seen ? now - since : null };
  since = now;
  pressed = tile.figure.contains(document.activeElement) ? document.activeElement.dataset.answer : null;
  mark(tile, answer);
  const after = [...tiles.keys()].map((k) => (i + 1 + k) % tiles.length).find((k) => tiles[k].open);
  if (after !== undefined) choose(after);
  // Where the server's word breaks off, the page begins again with what the server has not got yet.
  sending = sending.then(() => call("/answers", body)).then(update).catch(() => location.reload());
}

function move(key) {
  const columns = tiles.filter((tile) => tile.figure.offsetTop === tiles[0].figure.offsetTop).length;
  const to = current + { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns }[key];
  if (to >= 0 && to < tiles.length) choose(to);
}

document.addEventListener("keydown", (event) => {
  // Not Ctrl+R, which reloads, nor a key held down, which would answer for images not yet looked at.
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || !tiles.length || !$("ready").hidden) return;
  const grid = $("tiles").className === "grid";
  const answers = { r: "real", f: "fake", ...(grid ? {} : { arrowleft: "real", arrowright: "fake" }) };
  const answer = answers[event.key.toLowerCase()];
  if (answer) judge(current, answer);
  else if (grid && event.key.startsWith("Arrow")) move(event.key);
  else return;
  event.preventDefault();
});

function finish({ name, result }) {
  tiles = [];
  $("tiles").hidden = $("hints").hidden = true;
  $("thanked").textContent = name;
  const words = {
    fakes: "Fakes judged real",
    reals: "Reals judged fake",
    errors: "All wrong answers (the HYPE score)",
  };
  const groups = [["You", result.mine], [`All raters (${result.raters})`, result.together]];
  $("shares").replaceChildren(...Object.entries(words).map(([key, title]) => {
    const article = $("share").content.firstElementChild.cloneNode(true);
    article.querySelector("h3").textContent = title;
    for (const [who, shares] of result.raters > 1 ? groups : groups.slice(0, 1))
      article.querySelector("dl").append(...shareRow(who, shares[key]));
    return article;
  }));
  $("caution").textContent = result.caution ?? "";
  $("caution").hidden = !result.caution;
  $("result").hidden = false;
  $("result").querySelector("h2").tabIndex = -1;
  $("result").querySelector("h2").focus();
}

function shareRow(who, { share, low, high, words }) {
  const percent = (part) => `${100 * part}%`;
  const [dt, dd, scale, range, dot] = ["dt", "dd", "div", "i", "b"].map((tag) => document.createElement(tag));
  dt.textContent = who;
  scale.className = "scale";
  range.style.left = percent(low);
  range.style.width = percent(high - low);
  dot.style.left = percent(share);
  scale.append(range, dot);
  dd.append(scale, words);
  return [dt, dd];
}

$("join").addEventListener("submit", async (event) => {
  event.preventDefault();
  const response = await call("/raters", { name: $("name").value });
  const body = await response.json();
  if (response.ok) location.assign(`/rater/${body.rater}`);
  else $("notice").textContent = body.error;
});

if (rater) call(`/rater/${rater}/state`).then(update).catch(() => sleep(RETRY_MS).then(() => location.reload()));
else {
  $("join").hidden = false;
  $("name").focus();
}
