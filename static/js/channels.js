// The list of channels: small screens choose from it, and it stays as it is under the reader's hand when counts change.
document.addEventListener("change", ({ target }) => {
  if (target.id === "channel-select") target.form.requestSubmit();
});

const items = (list) => [...list.querySelectorAll("[data-count]")];
const names = (list) => items(list).map((item) => item.dataset.channel).join("\n");

addEventListener("replacing", (event) => {
  const { target: list, detail: next } = event;
  if (list.id !== "channels") return;
  event.preventDefault();
  if (names(list) === names(next)) {
    const counts = items(next).map((item) => item.dataset.count);
    items(list).forEach((item, index) => (item.dataset.count = counts[index]));
    return;
  }
  const held = document.activeElement?.closest("#channels a")?.href;
  list.replaceWith(next);
  [...next.querySelectorAll("a")].find((link) => link.href === held)?.focus();
});
