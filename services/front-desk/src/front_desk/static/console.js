// Keeps the page up to date: by a stream of server-sent events, else by asking every few seconds.
// Cards arrive as HTML that the server escaped; the policy of the page allows no other script than this file.
"use strict";
(() => {
  const POLL_MS = 5000;
  const FAILURES_BEFORE_POLLING = 3;
  const lists = document.querySelectorAll("[data-live]");
  const sign = document.querySelector("[data-link]");
  const words = { live: "Live", polling: "Updating", away: "Paused", lost: "Not connected", starting: "Connecting" };
  let cursor = document.body.dataset.cursor;
  let source = null;
  let poll = 0;
  let failures = 0;

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
    if (old && old.outerHTML === card.outerHTML) return;
    if (old) {
      const was = old.querySelector("details");
      const now = card.querySelector("details");
      if (was && now) now.open = was.open;
      old.remove();
    }
    const at = Number(change.at);
    const next = [...list.children].find((each) => Number(each.dataset.at) <= at);
    if (!next && list.children.length >= Number(list.dataset.max)) return;
    card.classList.add("fresh");
    list.insertBefore(card, next || null);
    while (list.children.length > Number(list.dataset.max)) list.lastElementChild.remove();
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
  }

  function follow() {
    if (!window.EventSource) return pollOn();
    show("starting");
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
      if (failures < -3) { failures = 0; return follow(); }
    } catch {
      show("lost");
    }
    poll = setTimeout(ask, POLL_MS);
  }

  function leave() {
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
  } else {
    show("away");
  }
})();
