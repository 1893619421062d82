// Times in the reader's own zone and language.
const toMinutes = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const toSeconds = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function localize(root) {
  for (const time of root.querySelectorAll("time:not([title])")) {
    time.title = time.dateTime;
    // In lists the minute will do.
    const format = time.closest("article") ? toMinutes : toSeconds;
    time.textContent = format.format(new Date(time.dateTime));
  }
}

localize(document);
new MutationObserver((changes) => {
  for (const node of changes.flatMap((change) => [...change.addedNodes])) {
    if (node.querySelectorAll) localize(node);
  }
}).observe(document.body, { childList: true, subtree: true });
