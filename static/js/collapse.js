// Folds long messages to a few lines. What the reader has opened stays open as long as the page.
const MOST_LINES = 6; // To hide fewer than the button takes would help nobody.
const list = document.getElementById("messages");
const opened = new Set();

function toggle(body) {
  const { id } = body.closest("article");
  const button = document.createElement("button");
  button.type = "button";
  button.className = "fold quiet";
  const set = (expanded) => {
    body.classList.toggle("folded", !expanded);
    button.textContent = expanded ? "Show less" : "Show more";
    button.setAttribute("aria-expanded", expanded);
    opened[expanded ? "add" : "delete"](id);
  };
  button.addEventListener("click", () => {
    set(body.classList.contains("folded"));
    body.closest("article").scrollIntoView({ block: "nearest" });
  });
  // The keyboard must not wander among links that nobody sees.
  body.addEventListener("focusin", () => set(true));
  body.addEventListener("open", () => set(true));
  set(opened.has(id));
  return button;
}

function fold(articles) {
  const most = MOST_LINES * parseFloat(getComputedStyle(list).lineHeight) + 4;
  const bodies = articles.map((article) => article.querySelector(".body"));
  for (const body of bodies.filter((body) => body.scrollHeight > most)) body.after(toggle(body));
}

// Whoever follows a link to a message wants to read it.
function openWanted() {
  document.getElementById(location.hash.slice(1))?.querySelector(".body")?.dispatchEvent(new Event("open"));
}

fold([...list.children]);
openWanted();
addEventListener("hashchange", openWanted);
new MutationObserver((changes) => {
  fold(changes.flatMap((change) => [...change.addedNodes]).filter((node) => node.matches?.("article")));
}).observe(list, { childList: true });
