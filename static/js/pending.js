// How many questions of Codex wait for a human: in the navigation, and in the title, which is seen in the background too.
const MARK = /^⚑ \d+ · /u;
const badge = document.getElementById("pending");
let count = Number(badge?.textContent);

function mark() {
  const plain = document.title.replace(MARK, "");
  const wanted = count ? `⚑ ${count} · ${plain}` : plain;
  if (document.title !== wanted) document.title = wanted;
}

if (badge) {
  // Others write the title as well.
  new MutationObserver(mark).observe(document.querySelector("title"), { childList: true });
  addEventListener("pending", ({ detail }) => {
    count = detail;
    badge.textContent = count;
    badge.hidden = !count;
    mark();
  });
  mark();
}
