"use strict";

const part = (id) => document.getElementById(id);
let asked = 0;
let limit = Infinity;
let prefix = "";

function element(tag, className, text) {
  const made = document.createElement(tag);
  if (className) made.className = className;
  if (text !== undefined) made.textContent = text;
  return made;
}

function problem(words) {
  part("problem").hidden = !words;
  part("problem").textContent = words;
}

async function answer(response) {
  let facts;
  try {
    facts = await response.json();
  } catch {
    throw new Error(`the program answered ${response.status}, which this page does not understand; see its terminal`);
  }
  if (!response.ok) throw new Error(facts.error);
  return facts;
}

async function ask(path, body) {
  const turn = ++asked;
  problem("");
  part("verdict").className = "";
  part("verdict").textContent = "Searching ...";
  try {
    const found = await answer(await fetch(path, { method: "POST", body }));
    if (turn === asked) show(found);
  } catch (error) {
    if (turn !== asked) return;
    part("verdict").textContent = "";
    part("results").replaceChildren();
    part("differences").replaceChildren();
    problem(error instanceof TypeError ? "The program does not answer; is it still running?" : error.message);
  }
}

function show(found) {
  const differ = found.contrasts.some((one) => one.missing.length > 0);
  part("verdict").className = differ ? "differ" : "same";
  part("verdict").textContent = found.verdict.replaceAll(prefix || "\n", "");
  part("results").replaceChildren(...found.answers.map((one, place) => column(found, one, place)));
  const lines = found.contrasts.map((one) => element("li", "", contrast(one)));
  const list = element("ul");
  list.append(...lines);
  part("differences").replaceChildren(...(lines.length ? [list] : []));
}

function short(name) {
  return name.startsWith(prefix) ? name.slice(prefix.length) : name;
}

function contrast(one) {
  const shared = `${short(one.other)} shares ${one.shared} of ${one.returned} photos with ${short(one.first)}`;
  const tie = one.tied ? ` (ties, within ${one.tie_margin})` : "";
  const most = one.score_difference;
  return `${shared}${tie}; scores ${most ? `differ by up to ${Number(most.toPrecision(2))}` : "are equal"}`;
}

function column(found, one, place) {
  const box = element("section", "format");
  const list = element("ol");
  box.append(element("h2", "", short(one.space)));
  box.setAttribute("aria-label", one.space);
  list.append(...one.hits.map((hit) => photo(found, hit, place)));
  box.append(list);
  return box;
}

function photo(found, hit, place) {
  const all = found.union.find((one) => one.photo === hit.photo).places;
  const lacking = all.filter((other) => other.rank === 0 || other.rank > found.top).length;
  const item = element("li", lacking ? "differs" : "");
  const image = element("img");
  image.src = `/thumbnail/${hit.photo}`;
  image.alt = "";
  image.loading = "lazy";
  const what = element("div", "what");
  what.append(element("span", "name", hit.name), element("span", "score", hit.score.toFixed(4)));
  if (hit.is_query) what.append(element("span", "own", "the query itself"));
  if (lacking) what.append(element("span", "mark", `not found by ${lacking} of ${all.length}`));
  item.append(image, what);
  item.dataset.name = hit.name;
  return item;
}

function take(file) {
  if (!file) return;
  const preview = part("preview");
  if (preview.src) URL.revokeObjectURL(preview.src);
  preview.hidden = true;
  preview.onload = () => { preview.hidden = false; };
  preview.onerror = () => { preview.hidden = true; };
  preview.src = URL.createObjectURL(file);
  if (file.size > limit) {
    ++asked;
    part("verdict").textContent = "";
    problem(`${file.name} has ${Math.ceil(file.size / 1048576)} MB; pictures of up to ${limit / 1048576} MB are taken.`);
    return;
  }
  ask(`/search/image?name=${encodeURIComponent(file.name)}`, file);
}

function about(facts) {
  const models = new Set(facts.formats.map((one) => one.name.split("/")[0]));
  if (models.size === 1) prefix = `${[...models][0]}/`;
  const names = facts.formats.length === 1 ? "one file" : `${facts.formats.length} files side by side`;
  const lost = facts.unread ? `; ${facts.unread} could not be read` : "";
  const chance = facts.untrained.length ? ". NOT TRAINED: what is found is chance" : "";
  part("about").textContent = `${facts.photographs} photos in ${facts.folder}, the nearest ${facts.top}, with ${names}${prefix && ` of ${prefix.slice(0, -1)}`}${lost}${chance}.`;
  part("words").hidden = !facts.texts;
  limit = facts.max_upload_bytes;
}

part("file").addEventListener("change", (event) => { take(event.target.files[0]); event.target.value = ""; });
part("words").addEventListener("submit", (event) => {
  event.preventDefault();
  part("preview").hidden = true;
  ask("/search/text", part("text").value);
});
for (const kind of ["dragover", "dragleave", "drop"]) {
  document.addEventListener(kind, (event) => {
    event.preventDefault();
    part("drop").classList.toggle("over", kind === "dragover");
    if (kind === "drop") take(event.dataTransfer.files[0]);
  });
}
fetch("/facts").then(answer).then(about).catch((error) => problem(error.message));
