// Folds long messages to a few lines. A message is never drawn again, so it stays as the reader has put it.
const MOST_LINES = 6;
const list = document.getElementById("messages");

function toggle(body) {
  const button = document.createElement("button");
  button.type = "button";
  button.className = "fold quiet";
  const set = (expanded) => {
    body.classList.toggle("folded", !expanded);
    button.textContent = expanded ? "Show less" : "Show more";
    button.setAttribute("aria-expanded", expanded);
  };
  button.addEventListener("click", () => {
    set(body.classList.contains("folded"));
    button.closest("article").scrollIntoView({ block: "nearest" });
  });
  // The keyboard must not wander among links that nobody sees.
  body.addEventListener("focusin", () => set(true));
  set(false);
  return button;
}

function fold(articles) {
  const most = MOST_LINES * parseFloat(getComputedStyle(list).lineHeight) + 4;
  const bodies = articles.map((article) => article.querySelector(".body"));
  for (const body of bodies.filter((body) => body.scrollHeight > most)) body.after(toggle(body));
}

fold([...list.children]);
new MutationObserver((changes) => {
  fold(changes.flatMap((change) => [...change.addedNodes]).filter((node) => node.matches?.("article")));
}).observe(list, { childList: true });
