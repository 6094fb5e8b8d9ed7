// The dashboard's script: it makes living what pages without it show at rest. Nothing is evaluated, nothing is sent but
// requests for the dashboard's own pages.
"use strict";

const byId = (id) => document.getElementById(id);
let paused = false;

function pausable() {
  const button = byId("pause");
  if (!button) return;
  button.hidden = false;
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Go on" : "Pause";
    document.dispatchEvent(new Event("pause"));
  });
}

async function pageAt(url, signal) {
  const answer = await fetch(url, { signal, headers: { Accept: "text/html" }, credentials: "same-origin" });
  if (!answer.ok) throw new Error(`the gateway answers ${answer.status}`);
  return new DOMParser().parseFromString(await answer.text(), "text/html");
}

// ------------------------------------------------------------------------------------------- overview

function overview(live) {
  const summary = byId("summary");
  const say = (text) => { if (summary.textContent !== text) summary.textContent = text; };
  const again = async () => {
    try {
      const busy = paused || document.hidden || live.contains(document.activeElement);
      if (!busy) {
        const part = (await pageAt(live.dataset.refresh)).querySelector(".part");
        if (!paused && !live.contains(document.activeElement)) live.replaceChildren(part);
        say(part.dataset.summary);
      }
    } catch (error) {
      say(`These numbers are old: ${error.message}.`);
    }
    setTimeout(again, 2000);
  };
  setTimeout(again, 2000);
}

// ------------------------------------------------------------------------------------------- searches

// A search that is not over goes on, a page at a time, until the reader is within it or leaves.
async function search(shown) {
  while (shown.dataset.next) {
    const next = shown.dataset.next;
    let found;
    try {
      found = (await pageAt(next)).getElementById("found");
      if (!found) return;
    } catch {
      return; // the link to go on is still there
    }
    if (shown.contains(document.activeElement)) return;
    shown.replaceChildren(...found.childNodes);
    shown.dataset.next = found.dataset.next || "";
    history.replaceState(null, "", next);
  }
}

// ------------------------------------------------------------------------------------------- versions

function versions(past) {
  let asking = new AbortController();
  const go = async (url, remember) => {
    asking.abort();
    asking = new AbortController();
    try {
      const found = (await pageAt(url, asking.signal)).getElementById("past");
      const slid = document.activeElement === byId("version");
      past.replaceChildren(...found.childNodes);
      if (remember) history.replaceState(null, "", url);
      wire();
      if (slid) byId("version").focus();
    } catch (error) {
      if (error.name !== "AbortError") location.assign(url);
    }
  };
  const wire = () => {
    const slider = byId("version");
    if (!slider) return;
    let waiting = 0;
    slider.addEventListener("input", () => {
      byId("shown").textContent = slider.value;
      clearTimeout(waiting);
      waiting = setTimeout(() => {
        const url = new URL(location.href);
        url.searchParams.set("version", slider.value);
        go(url.href, true);
      }, 120);
    });
  };
  wire();
}

// ------------------------------------------------------------------------------------------- forms

function forms() {
  for (const select of document.querySelectorAll("select[data-edits]")) {
    const button = select.parentElement.querySelector("button[name=edit]");
    button.hidden = true;
    select.addEventListener("change", () => select.form.requestSubmit(button));
  }
  const form = byId("form");
  const wrong = document.querySelector("[aria-invalid=true]");
  if (wrong) wrong.focus();
  else if (byId("outcome")) byId("outcome").focus();
  if (form) form.addEventListener("submit", () => form.setAttribute("aria-busy", "true"));
}

// ------------------------------------------------------------------------------------------- events

const ROWS_MAX = 200;

function events(body) {
  const state = byId("stream-state");
  const actorPage = body.dataset.actor;
  const name = document.title;
  let waiting = [];
  let missed = 0;
  let after = new URL(body.dataset.stream, location.href);
  let source;

  const cell = (row, child, kind) => {
    const made = row.insertCell();
    if (kind) made.className = kind;
    made.append(child);
  };
  const element = (tag, text) => {
    const made = document.createElement(tag);
    made.textContent = text;
    return made;
  };
  const linkTo = (kind, key, version) => {
    const link = element("a", `${kind}/${key}`);
    link.href = `${actorPage}?${new URLSearchParams({ kind, key, ...version })}`;
    return link;
  };
  const unreadable = ({ actor, position }) => {
    const kind = actor.split("/", 1)[0];
    const row = document.createElement("tr");
    const word = element("b", "unreadable");
    word.className = "badly";
    cell(row, "");
    cell(row, linkTo(kind, actor.slice(kind.length + 1)));
    cell(row, "", "n");
    cell(row, word);
    cell(row, element("code", `the commit of ${actor} at position ${position} cannot be read`));
    return row;
  };
  const rowOf = (event) => {
    if (event.position) return unreadable(event);
    const [, , kind, key] = event.source.split("/").map(decodeURIComponent);
    const row = document.createElement("tr");
    const time = element("time", new Date(event.time).toISOString().replace("T", " ").replace("Z", ""));
    time.dateTime = event.time;
    const link = linkTo(kind, key, { version: event.id });
    const text = JSON.stringify(event.data, null, 1).replace(/\n\s*/g, " ").replace(/^([{[]) | ([}\]])$/g, "$1$2");
    cell(row, time);
    cell(row, link);
    cell(row, event.id, "n");
    cell(row, element("b", event.type));
    cell(row, element("code", text.length > 160 ? `${text.slice(0, 160)}… (${text.length} characters)` : text));
    return row;
  };
  // A thousand events a second are shown a few times a second, and only the last ones of them.
  const show = () => {
    if (!paused && waiting.length) {
      const focused = body.contains(document.activeElement);
      const rows = waiting.slice(-ROWS_MAX).reverse().map(rowOf);
      if (rows.length < 10) rows.forEach((row) => row.classList.add("new"));
      body.prepend(...rows);
      while (body.rows.length > ROWS_MAX && !(focused && body.lastElementChild.contains(document.activeElement))) {
        body.lastElementChild.remove();
      }
      waiting = [];
      missed = 0;
      if (byId("none")) byId("none").remove();
    }
    document.title = paused && missed ? `(${missed}) ${name}` : name;
  };
  const open = () => {
    source = new EventSource(after);
    source.onopen = () => { state.textContent = paused ? "paused" : "live"; };
    source.onerror = () => {
      state.textContent = source.readyState === EventSource.CLOSED ? "not connected" : "connecting again";
    };
    source.onmessage = (message) => {
      waiting.push(JSON.parse(message.data));
      missed += 1;
      if (waiting.length > 2 * ROWS_MAX) waiting = waiting.slice(-ROWS_MAX);
    };
    source.addEventListener("aether.unreadable", source.onmessage);
    source.addEventListener("aether.draining", () => { state.textContent = "the gateway is stopping"; });
    for (const end of ["aether.lagged", "aether.regressed"]) {
      source.addEventListener(end, () => {
        source.close();
        state.textContent = "this page was too slow and left events out";
        after.searchParams.delete("after");
        setTimeout(open, 1000);
      });
    }
  };
  document.addEventListener("pause", () => { state.textContent = paused ? "paused" : "live"; });
  setInterval(show, 250);
  open();
}

pausable();
forms();
if (byId("live")) overview(byId("live"));
if (byId("found")) search(byId("found"));
if (byId("past")) versions(byId("past"));
if (byId("events")) events(byId("events"));
