// The page of missed calls: who may do what on a card, what a button does at once, and how long claims still hold.
// What is shown before the server has answered is taken back when somebody else was faster.
"use strict";
(() => {
  const board = document.querySelector("[data-board]");
  if (!board) return;
  const { me, csrf, may } = board.dataset;
  const list = board.querySelector("ol.cards");
  const away = board.querySelector("[data-away]");
  const news = board.querySelector("[data-news]");
  const telephone = board.querySelector("[data-telephone]");
  const MINE = "trunkline.telephone";
  const LOOK_MS = 15000;
  const FOLLOW_MS = 1000;
  // As long as an order may wait, and whoever places it may take.
  const FOLLOW_TIMES = 330;
  const following = new Map();
  const words = { claim: "Taking it …", renew: "Asking for longer …", release: "Giving it back …", take: "Taking it away …", call: "Ringing your telephone …", resolve: "Noting it …" };
  const done = { claim: "It is yours.", renew: "You have longer.", release: "Given back.", take: "Taken away.", call: "Your telephone is about to ring.", resolve: "Done." };
  // Claims begin and lapse by the server's clock, whatever this machine believes.
  let ahead = Number(board.dataset.now) / 1000 - Date.now();
  const now = () => Date.now() + ahead;

  function whose(card) {
    if (card.dataset.state !== "claimed") return card.dataset.state;
    return card.dataset.user === me ? "mine" : "theirs";
  }

  function dress(card) {
    const state = whose(card);
    card.dataset.whose = state;
    for (const each of card.querySelectorAll("[data-for]")) {
      const mine = each.dataset.for.split(" ").includes(state);
      each.hidden = !mine || may === "no" || (each.dataset.do === "take" && may !== "all") || (each.dataset.do === "call" && !telephone);
    }
    tick(card);
  }

  function span(ms) {
    const seconds = Math.max(0, Math.floor(ms / 1000));
    if (seconds < 60) return `${seconds} s`;
    if (seconds < 3600) return `${Math.floor(seconds / 60)} min`;
    return `${Math.floor(seconds / 3600)} h ${Math.floor((seconds % 3600) / 60)} min`;
  }

  function tick(card) {
    const ago = card.querySelector("[data-ago]");
    if (ago) ago.textContent = span(now() - Number(ago.dataset.ago) / 1000);
    const left = card.querySelector("[data-left]");
    if (!left) return;
    const rest = Number(left.dataset.left) / 1000 - now();
    left.textContent = rest > 0 ? `${span(rest)} left` : "time is over";
    left.classList.toggle("bad-text", rest < 60000);
  }

  function say(card, text, bad) {
    const line = card.querySelector("[data-keep=said]");
    if (!line) return;
    line.textContent = text;
    line.classList.toggle("bad-text", Boolean(bad));
    if (bad) news.textContent = text;
  }

  // A card as it will look when the event has arrived. The event replaces it.
  function put(id, item) {
    const card = cardOf(id);
    if (!card) return;
    ahead = item.now / 1000 - Date.now();
    if (item.since < Number(card.dataset.since)) return;
    Object.assign(card.dataset, { state: item.state, user: item.user, since: item.since });
    const line = card.querySelector("[data-whose]");
    line.replaceChildren();
    if (item.state === "claimed") {
      const name = document.createElement("b");
      name.textContent = item.name;
      const left = document.createElement("span");
      left.className = "num";
      left.dataset.left = item.until;
      line.append(name, " has it · ", left);
    } else {
      line.textContent = item.state === "open" ? "Waits" : `Done · ${item.name}`;
    }
    const chip = card.querySelector(".chip");
    chip.textContent = { open: "Nobody yet", claimed: "Being called", resolved: "Done" }[item.state];
    const tone = { open: "bad", claimed: "live", resolved: "quiet" }[item.state];
    chip.className = `chip ${tone}`;
    card.classList.remove("tone-bad", "tone-live", "tone-quiet");
    card.classList.add(`tone-${tone}`);
    dress(card);
  }

  // It is most likely ours: show so at once. What comes back takes it back.
  function pretend(card) {
    const line = card.querySelector("[data-whose]");
    const before = { state: card.dataset.state, user: card.dataset.user, nodes: [...line.childNodes] };
    Object.assign(card.dataset, { state: "claimed", user: me });
    line.replaceChildren("You have it");
    dress(card);
    return () => {
      Object.assign(card.dataset, { state: before.state, user: before.user });
      line.replaceChildren(...before.nodes);
      dress(card);
    };
  }

  const cardOf = (id) => [...list.children].find((each) => each.dataset.id === id);

  // The order is stored; what the telephone company makes of it is known a moment later.
  async function follow(id, call) {
    const mine = Symbol(call);
    following.set(id, mine);
    for (let times = 0; times < FOLLOW_TIMES; times += 1) {
      let told = null;
      try {
        const answer = await fetch(`/t/missed/called?id=${encodeURIComponent(call)}`);
        if (answer.ok) told = await answer.json();
      } catch {
        // Not connected: asked again.
      }
      const card = cardOf(id);
      if (!card || following.get(id) !== mine) return;
      if (told) say(card, told.said, told.bad);
      if (told && told.over) return;
      await new Promise((later) => setTimeout(later, FOLLOW_MS));
    }
  }

  async function act(card, did) {
    const id = card.dataset.id;
    following.delete(id);
    const form = new URLSearchParams({ csrf, do: did, id });
    if (did === "resolve") {
      form.set("outcome", card.querySelector("[name=outcome]").value);
      form.set("note", card.querySelector("[name=note]").value);
    }
    if (did === "call") {
      if (!telephone.value) {
        say(card, "Choose your telephone at the top of the page first.", true);
        telephone.focus();
        return;
      }
      form.set("staff", telephone.value);
    }
    const takeBack = did === "claim" ? pretend(card) : () => {};
    card.setAttribute("aria-busy", "true");
    say(card, words[did]);
    let answer;
    let said = {};
    try {
      answer = await fetch("/t/missed/act", { method: "POST", body: form, redirect: "error" });
      if (answer.status === 401) return location.assign("/");
      said = await answer.json().catch(() => ({}));
    } catch {
      answer = null;
    }
    const here = cardOf(id) || card;
    here.removeAttribute("aria-busy");
    if (here === card && !(answer && answer.ok)) takeBack();
    if (said.item) put(id, said.item);
    if (said.away) away.hidden = false;
    if (answer && answer.ok) {
      away.hidden = true;
      say(here, done[did]);
      if (said.call) follow(id, said.call);
      keepFocus(here);
      return;
    }
    say(here, said.problem || (answer ? "Not done: your role does not include this." : "Not sent: no connection. Try again."), true);
    keepFocus(here);
  }

  // The button that was pressed may be gone.
  function keepFocus(card) {
    if (document.activeElement !== document.body && document.activeElement?.offsetParent) return;
    const next = [...card.querySelectorAll("button")].find((each) => !each.hidden);
    (next || card).focus();
  }

  list.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    const card = button && button.closest("[data-id]");
    if (!card || card.getAttribute("aria-busy") === "true") return;
    act(card, button.dataset.do);
  });
  // Enter in the note means: done.
  list.addEventListener("submit", (event) => {
    event.preventDefault();
    const card = event.target.closest("[data-id]");
    if (card && ["open", "mine"].includes(whose(card))) act(card, "resolve");
  });

  // Whose telephone this is stays with this browser.
  if (telephone) {
    const known = localStorage.getItem(MINE);
    if ([...telephone.options].some((each) => each.value === known)) telephone.value = known;
    telephone.addEventListener("change", () => localStorage.setItem(MINE, telephone.value));
  }

  async function look() {
    if (document.hidden) return;
    try {
      const answer = await fetch("/t/missed/router");
      if (answer.ok) away.hidden = (await answer.json()).answers;
    } catch {
      // Not connected: the sign at the top says so.
    }
  }

  document.addEventListener("told", (event) => { ahead = event.detail.now / 1000 - Date.now(); });
  new MutationObserver((changes) => {
    for (const change of changes) for (const node of change.addedNodes) if (node.dataset?.id) dress(node);
  }).observe(list, { childList: true });
  for (const card of list.children) dress(card);
  setInterval(() => { if (!document.hidden) for (const card of list.children) tick(card); }, 1000);
  setInterval(look, LOOK_MS);
})();
