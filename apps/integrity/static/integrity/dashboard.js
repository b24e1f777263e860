// Keeps what is marked `data-live` fresh, every five seconds while somebody looks at it.
// Without it the pages are the same, and are reloaded by hand.
(() => {
  "use strict";
  const EVERY = 5000;
  const fresh = document.getElementById("ix-fresh");
  if (!fresh || !document.querySelector("[data-live]")) return;

  let stopped = false;
  let asking = false;
  const note = document.createElement("span");
  const toggle = document.createElement("button");
  toggle.type = "button";
  toggle.className = "ix-button ix-plain ix-small";
  const label = () => { toggle.textContent = stopped ? "Go on updating" : "Stop updating"; };
  label();
  const told = (text, stale) => {
    note.textContent = text;
    fresh.classList.toggle("ix-stale", stale);
  };
  told(fresh.textContent.trim(), false); // the server's time, with its zone
  fresh.replaceChildren(note, " ", toggle);

  // What somebody is typing into, or has unfolded or ticked, stays as it is.
  const busy = (node) => {
    const focus = document.activeElement;
    const typing = node.contains(focus) && focus.matches("input, select, textarea");
    return typing || node.querySelector("details[open], input:checked") !== null;
  };

  const replace = (node, other) => {
    if (busy(node) || node.innerHTML === other.innerHTML) return;
    if (node.hasAttribute("aria-live")) {
      // Read aloud only when the words have changed.
      if (node.textContent === other.textContent) return;
      node.className = other.className;
      node.replaceChildren(...other.childNodes);
      return;
    }
    const focus = document.activeElement;
    const focused = node.contains(focus) ? focus.id : "";
    const [left, top] = [node.scrollLeft, node.scrollTop];
    node.className = other.className;
    node.replaceChildren(...other.childNodes);
    node.scrollTo(left, top);
    if (focused) document.getElementById(focused)?.focus({ preventScroll: true });
  };

  // A box that ticks all others of its form: of no use without a script, so hidden until now.
  const showAll = () => {
    for (const box of document.querySelectorAll("[data-all]")) box.hidden = false;
  };
  showAll();
  document.addEventListener("change", ({ target }) => {
    if (!target.dataset.all) return;
    for (const box of target.form.elements) {
      if (box.name === target.dataset.all) box.checked = target.checked;
    }
  });

  const refresh = async () => {
    if (stopped || asking || document.hidden) return;
    asking = true;
    try {
      const answer = await fetch(location.href, {
        credentials: "same-origin",
        signal: AbortSignal.timeout(20000),
      });
      if (answer.redirected || !answer.ok) throw new Error("no such page");
      const page = new DOMParser().parseFromString(await answer.text(), "text/html");
      for (const node of document.querySelectorAll("[data-live]")) {
        const other = page.getElementById(node.id);
        if (other) replace(node, other);
      }
      showAll();
      // A page that says that a log does not answer has no figures: those here are of before.
      if (page.getElementById("ix-unanswered")) throw new Error("no answer");
      told(page.getElementById("ix-fresh").textContent.trim(), false);
    } catch {
      const since = note.textContent.replace(/^(As of|Not updated since) /, "");
      told(`Not updated since ${since}`, true);
    } finally {
      asking = false;
    }
  };

  toggle.addEventListener("click", () => {
    stopped = !stopped;
    label();
    refresh();
  });
  document.addEventListener("visibilitychange", refresh);
  setInterval(refresh, EVERY);
})();
