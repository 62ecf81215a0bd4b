"use strict";
const sides = [48, 64, 96, 128, 160, 224, 320, 448, 640, 896];
const cells = [...document.querySelectorAll("td button")];
const dialog = document.querySelector("dialog");
const slider = document.querySelector("#zoom");
let shown = null;

function zoom(place) {
  const at = Math.max(0, Math.min(sides.length - 1, place));
  slider.value = at;
  document.documentElement.style.setProperty("--side", sides[at] + "px");
  document.body.classList.toggle("big", cells.some((cell) => cell.dataset.width && sides[at] >= 2 * cell.dataset.width));
}

function neighbour(cell, down, across) {
  const { panel, row, column } = cell.dataset;
  const wanted = `td button[data-panel="${panel}"][data-row="${+row + down}"][data-column="${+column + across}"]`;
  return document.querySelector(wanted) || cell;
}

function show(cell) {
  shown = cell;
  const picture = cell.querySelector("img");
  const image = dialog.querySelector("img");
  image.hidden = !picture;
  if (picture) { image.src = picture.src; image.alt = picture.alt; }
  for (const fact of dialog.querySelectorAll("[data-fact]")) fact.textContent = cell.dataset[fact.dataset.fact] || "-";
  if (!dialog.open) dialog.showModal();
}

function copy() {
  const text = shown.dataset.pinned;
  const said = dialog.querySelector("#copied");
  const done = () => { said.textContent = "copied"; };
  if (navigator.clipboard) navigator.clipboard.writeText(text).then(done, () => { said.textContent = text; });
  else said.textContent = text;
}

const moves = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target === slider) return;
  const here = dialog.open ? shown : document.activeElement.closest("td button");
  if (event.key === "+" || event.key === "=") zoom(+slider.value + 1);
  else if (event.key === "-") zoom(+slider.value - 1);
  else if (event.key === "0") zoom(4);
  else if (event.key === "c" && dialog.open) copy();
  else if (moves[event.key] && (here || cells.length)) {
    const next = here ? neighbour(here, ...moves[event.key]) : cells[0];
    next.focus();
    next.scrollIntoView({ block: "nearest", inline: "nearest" });
    if (dialog.open) show(next);
    event.preventDefault();
  }
});
for (const cell of cells) cell.addEventListener("click", () => show(cell));
document.querySelector("#less").addEventListener("click", () => zoom(+slider.value - 1));
document.querySelector("#more").addEventListener("click", () => zoom(+slider.value + 1));
slider.addEventListener("input", () => zoom(+slider.value));
dialog.querySelector("#copy").addEventListener("click", copy);
dialog.querySelector("#close").addEventListener("click", () => dialog.close());
dialog.addEventListener("close", () => { dialog.querySelector("#copied").textContent = ""; if (shown) shown.focus(); });
if (window.matchMedia("(max-width: 600px)").matches) zoom(2); else zoom(4);
