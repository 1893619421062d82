// Times in the reader's own zone and language; today's without their date.
const today = new Intl.DateTimeFormat(undefined, { timeStyle: "short" });
const toMinutes = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const toSeconds = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

function localize(root) {
  for (const time of root.querySelectorAll("time:not([title])")) {
    time.title = time.dateTime;
    const date = new Date(time.dateTime);
    const isToday = date.toDateString() === new Date().toDateString();
    // In lists the minute will do.
    const format = !time.closest("article") ? toSeconds : isToday ? today : toMinutes;
    time.textContent = format.format(date);
  }
}

localize(document);
new MutationObserver((changes) => {
  for (const node of changes.flatMap((change) => [...change.addedNodes])) {
    if (node.querySelectorAll) localize(node.parentNode ?? node);
  }
}).observe(document.body, { childList: true, subtree: true });
