// Copies blocks of code, and lets the keyboard into those that scroll.
const COPIED_MS = 2000;

async function copy(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  // Without https, only the machine itself has a clipboard for pages.
  const area = document.createElement("textarea");
  area.value = text;
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("refused");
}

document.addEventListener("click", async ({ target: button }) => {
  if (!button.matches(".copy")) return;
  const parts = button.parentElement.querySelectorAll("code");
  button.textContent = await copy([...parts].map((code) => code.textContent).join("")).then(
    () => "Copied",
    () => "Not copied",
  );
  button.focus();
  setTimeout(() => (button.textContent = "Copy"), COPIED_MS);
});

const SCROLLING = ".code pre, .prose .table";
const sizes = new ResizeObserver((changes) => {
  for (const block of new Set(changes.map(({ target }) => target.closest(SCROLLING)))) {
    const scrolls = block && (block.scrollWidth > block.clientWidth || block.scrollHeight > block.clientHeight);
    if (scrolls) block.tabIndex = 0;
    else block?.removeAttribute("tabindex");
  }
});
// What is inside may grow as well.
function watch(root) {
  for (const block of root.querySelectorAll(SCROLLING)) [block, ...block.children].forEach((part) => sizes.observe(part));
}

watch(document);
new MutationObserver((changes) => {
  for (const node of changes.flatMap((change) => [...change.addedNodes])) {
    if (node.querySelectorAll) watch(node);
  }
}).observe(document.body, { childList: true, subtree: true });
