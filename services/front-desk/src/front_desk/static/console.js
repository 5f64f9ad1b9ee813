// Keeps the page up to date: over a WebSocket, else by a stream of server-sent events, else by asking every few
// seconds. Whatever the way, a browser goes on from the cursor that it saw last.
// Cards arrive as HTML that the server escaped; the policy of the page allows no other script than this file.
"use strict";
(() => {
  const POLL_MS = 5000;
  const FAILURES_BEFORE_POLLING = 3;
  const SILENCE_MS = 40000;
  const SESSION_OVER = 4401;
  const lists = document.querySelectorAll("[data-live]");
  const sign = document.querySelector("[data-link]");
  const words = { live: "Live", polling: "Updating", away: "Paused", lost: "Not connected", starting: "Connecting" };
  let cursor = document.body.dataset.cursor;
  let socket = null;
  let silence = 0;
  let refusals = 0;
  let source = null;
  let poll = 0;
  let failures = 0;
  const told = new WeakMap();

  function show(state) {
    if (sign && sign.dataset.state !== state) {
      sign.dataset.state = state;
      sign.textContent = words[state];
    }
  }

  function put(list, change) {
    const holder = document.createElement("template");
    holder.innerHTML = change.html.trim();
    const card = holder.content.firstElementChild;
    const old = [...list.children].find((each) => each.id === change.id);
    if (list.dataset.only && list.dataset.only !== change.facet) {
      if (old) old.remove();
      return;
    }
    if (old && (told.get(old) === change.html || old.outerHTML === card.outerHTML)) return;
    // What was told before something that this page has done itself, or of an older change, comes too late.
    if (old && Number(card.dataset.since || 0) < Number(old.dataset.since || 0)) return;
    told.set(card, change.html);
    const back = old ? carryOver(old, card) : null;
    if (old) old.remove();
    const at = Number(change.at);
    const next = [...list.children].find((each) => Number(each.dataset.at) <= at);
    if (!next && list.children.length >= Number(list.dataset.max)) return;
    card.classList.add("fresh");
    list.insertBefore(card, next || null);
    if (back) back();
    while (list.children.length > Number(list.dataset.max)) list.lastElementChild.remove();
  }

  // What somebody is at stays: what is open, what was typed and said, and where the keyboard is.
  function carryOver(old, card) {
    const was = old.querySelector("details");
    const now = card.querySelector("details");
    if (was && now) now.open = was.open;
    for (const field of old.querySelectorAll("[name]")) {
      const same = card.querySelector(`[name="${field.name}"]`);
      if (same) same.value = field.value;
    }
    for (const kept of old.querySelectorAll("[data-keep]")) {
      const same = card.querySelector(`[data-keep="${kept.dataset.keep}"]`);
      if (same) same.textContent = kept.textContent;
    }
    const here = document.activeElement;
    if (!old.contains(here)) return null;
    const mark = here.dataset.do ? `[data-do="${here.dataset.do}"]` : here.name ? `[name="${here.name}"]` : "";
    return () => {
      const same = mark && card.querySelector(mark);
      if (same && same.offsetParent) same.focus(); else card.focus();
    };
  }

  function markZeros() {
    for (const figure of document.querySelectorAll("[data-count]")) {
      figure.toggleAttribute("data-zero", figure.textContent.trim() === "0");
    }
  }

  function apply(changes) {
    // Oldest first, so that the newest ends on top.
    for (const change of changes.cards.slice().reverse()) {
      for (const list of lists) if (list.dataset.live === change.panel) put(list, change);
    }
    for (const [name, text] of Object.entries(changes.counts)) {
      const figure = document.querySelector(`[data-count="${name}"]`);
      if (figure) figure.textContent = text;
    }
    markZeros();
    cursor = changes.cursor;
    document.dispatchEvent(new CustomEvent("told", { detail: changes }));
  }

  function follow() {
    show("starting");
    if (!window.WebSocket || refusals >= 2) return stream();
    let opened;
    try {
      opened = new WebSocket(`${location.origin.replace(/^http/, "ws")}/t/live?since=${cursor}`);
    } catch {
      return stream();
    }
    let wasOpen = false;
    socket = opened;
    const listen = () => {
      clearTimeout(silence);
      // A line that is cut without a word looks like one on which nothing happens.
      silence = setTimeout(() => { opened.close(); lost(false); }, SILENCE_MS);
    };
    const lost = (refused) => {
      if (socket !== opened) return;
      clearTimeout(silence);
      socket = null;
      show("lost");
      refusals = refused ? refusals + 1 : 0;
      poll = setTimeout(follow, refused ? 500 : 500 + Math.random() * 1500);
    };
    opened.addEventListener("open", () => { wasOpen = true; listen(); });
    opened.addEventListener("message", (event) => {
      if (socket !== opened) return;
      listen();
      show("live");
      refusals = 0;
      const message = JSON.parse(event.data);
      if (message.kind === "changes") apply(message.data);
      if (message.kind === "reload") location.reload();
    });
    opened.addEventListener("close", (event) => {
      if (socket === opened && event.code === SESSION_OVER) return location.assign("/");
      lost(!wasOpen && navigator.onLine);
    });
  }

  function stream() {
    if (!window.EventSource) return pollOn();
    source = new EventSource(`/t/stream?since=${cursor}`);
    source.addEventListener("open", () => { failures = 0; show("live"); });
    source.addEventListener("changes", (event) => { failures = 0; show("live"); apply(JSON.parse(event.data)); });
    source.addEventListener("reload", () => location.reload());
    source.addEventListener("error", () => {
      failures += 1;
      show("lost");
      // The browser comes back by itself from a lost connection, but not from a refusal.
      if (source && (source.readyState === EventSource.CLOSED || failures >= FAILURES_BEFORE_POLLING)) pollOn();
    });
  }

  function pollOn() {
    leave();
    poll = setTimeout(ask, POLL_MS);
  }

  async function ask() {
    try {
      const answer = await fetch(`/t/changes?since=${cursor}`, { headers: { accept: "application/json" } });
      if (answer.status === 401) return location.assign("/");
      if (!answer.ok) throw new Error(String(answer.status));
      apply(await answer.json());
      show("polling");
      failures -= 1;
      // The stream is cheaper for everybody: try it again after a while.
      if (failures < -3) { failures = refusals = 0; return follow(); }
    } catch {
      show("lost");
    }
    poll = setTimeout(ask, POLL_MS);
  }

  function leave() {
    if (socket) socket.close();
    socket = null;
    clearTimeout(silence);
    if (source) source.close();
    source = null;
    clearTimeout(poll);
  }

  markZeros();
  if (lists.length) {
    follow();
    // A tab that nobody looks at costs nothing; it catches up from its cursor when it is looked at.
    document.addEventListener("visibilitychange", () => {
      leave();
      if (document.hidden) show("away"); else follow();
    });
    window.addEventListener("pagehide", leave);
    window.addEventListener("online", () => { leave(); refusals = 0; follow(); });
    window.addEventListener("offline", () => { leave(); show("lost"); });
  } else {
    show("away");
  }
})();
