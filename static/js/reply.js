// Answers and quotes messages in the composer of this page; without script, or without a composer, the links do.
const form = document.getElementById("composer");

if (form) {
  const { text, reply_to: field } = form.elements;
  const box = document.getElementById("replying");

  const replyTo = (id, words) => {
    field.value = id;
    document.getElementById("replying-to").textContent = words;
    box.hidden = !id;
    // Who loads the page again is where they were.
    history.replaceState(null, "", form.getAttribute("action") + (id && `?reply=${id}`));
    form.dispatchEvent(new Event("input"));
  };

  const source = async (article) => {
    const selection = getSelection();
    const body = article.querySelector(".body");
    if (String(selection) && body.contains(selection.anchorNode) && body.contains(selection.focusNode)) {
      return String(selection);
    }
    const response = await fetch(`/api/messages/${article.dataset.id}`);
    if (!response.ok) throw new Error(`Request failed with status ${response.status}`);
    return (await response.json()).message.text;
  };

  const quote = async (article) => {
    const lines = (await source(article)).trimEnd().split("\n");
    const before = text.value.trimEnd();
    text.value = `${before}${before && "\n\n"}${lines.map((line) => `> ${line}`.trimEnd()).join("\n")}\n\n`;
    text.setSelectionRange(text.value.length, text.value.length);
    form.dispatchEvent(new Event("input"));
  };

  document.addEventListener("click", (event) => {
    const link = event.target.closest("a.reply, a.quote, #cancel-reply");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const article = link.closest("article");
    const { id, sender } = article?.dataset ?? {};
    if (!article) replyTo("", "");
    else if (link.matches(".quote")) quote(article).catch(() => location.assign(link.href));
    else replyTo(id, `Replying to #${id} ${sender}: ${link.dataset.words}`);
    text.focus();
  });
  form.addEventListener("sent", () => field.value && replyTo("", ""));
}
